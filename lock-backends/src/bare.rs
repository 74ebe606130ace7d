//! Clients that do nothing but ask, the yardstick of the variants: what a request and a write take on a server, through
//! the detour that the variants take too (a task that drives the connection).

use std::fmt;

use crate::session::{BoxFuture, Endpoint, LockError, Server};

/// A connection to a server, for one request at a time.
pub trait Bare: Send + Sync + fmt::Debug {
    /// A round trip that writes nothing.
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>>;

    /// A small write that the server acknowledges, round trip included.
    fn write(&self) -> BoxFuture<'_, Result<(), LockError>>;
}

/// Connects to a server; `None` where there is none to connect to, in this build or at all. Leaves a small key or table
/// of its own on the server.
///
/// # Errors
/// When the server cannot be reached.
pub async fn connect(server: Server, endpoint: &Endpoint) -> Result<Option<Box<dyn Bare>>, LockError> {
    Ok(match server {
        #[cfg(feature = "redis")]
        Server::Redis => Some(Box::new(redis_server::Redis::connect(endpoint).await?)),
        #[cfg(feature = "postgres")]
        Server::Postgres => Some(Box::new(postgres::Postgres::connect(endpoint).await?)),
        #[cfg(feature = "etcd")]
        Server::Etcd => Some(Box::new(etcd::Etcd::connect(endpoint).await?)),
        #[cfg(feature = "zookeeper")]
        Server::Zookeeper => Some(Box::new(zookeeper::Zookeeper::connect(endpoint).await?)),
        _ => {
            let _ = endpoint;
            None
        }
    })
}

#[cfg(any(feature = "redis", feature = "postgres", feature = "etcd", feature = "zookeeper"))]
fn unavailable(error: impl fmt::Display) -> LockError {
    LockError::Unavailable(error.to_string())
}

#[cfg(feature = "redis")]
mod redis_server {
    use redis::aio::MultiplexedConnection;
    use redis::io::tcp::TcpSettings;
    use redis::{IntoConnectionInfo, cmd};

    use super::{Bare, BoxFuture, Endpoint, LockError, unavailable};

    #[derive(Debug)]
    pub(super) struct Redis(MultiplexedConnection);

    impl Redis {
        pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
            let info = endpoint.0.as_str().into_connection_info().map_err(unavailable)?;
            let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
            let client = redis::Client::open(info).map_err(unavailable)?;
            client.get_multiplexed_async_connection().await.map(Self).map_err(unavailable)
        }
    }

    impl Bare for Redis {
        fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
            Box::pin(async {
                let mut connection = self.0.clone();
                cmd("PING").exec_async(&mut connection).await.map_err(unavailable)
            })
        }

        fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
            Box::pin(async {
                let mut connection = self.0.clone();
                let set = cmd("SET").arg("lockbench:bare").arg("1").exec_async(&mut connection).await;
                set.map_err(unavailable)
            })
        }
    }
}

#[cfg(feature = "postgres")]
mod postgres {
    use std::str::FromStr;

    use sqlx::postgres::PgConnectOptions;
    use sqlx::{ConnectOptions as _, PgConnection};
    use tokio::sync::{mpsc, oneshot};
    use tokio::task::JoinSet;

    use super::{Bare, BoxFuture, Endpoint, LockError, unavailable};

    const TABLE: &str = "CREATE TABLE IF NOT EXISTS lockbench_bare (id bigint PRIMARY KEY, n bigint); \
                         INSERT INTO lockbench_bare VALUES (1, 0) ON CONFLICT DO NOTHING";
    const PING: &str = "SELECT 1::bigint";
    const WRITE: &str = "UPDATE lockbench_bare SET n = n + 1 WHERE id = 1 RETURNING n";

    type Answer = Result<i64, sqlx::Error>;

    /// Statements go to the task that owns the connection.
    #[derive(Debug)]
    pub(super) struct Postgres {
        statements: mpsc::Sender<(&'static str, oneshot::Sender<Answer>)>,
        _owner: JoinSet<()>,
    }

    impl Postgres {
        pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
            let malformed = |_| LockError::Protocol("malformed postgres URL".to_owned());
            let options = PgConnectOptions::from_str(&endpoint.0).map_err(malformed)?;
            let mut connection: PgConnection = options.connect().await.map_err(unavailable)?;
            sqlx::raw_sql(TABLE).execute(&mut connection).await.map_err(unavailable)?;
            let (statements, mut inbox) = mpsc::channel::<(&'static str, oneshot::Sender<Answer>)>(1);
            let mut owner = JoinSet::new();
            owner.spawn(async move {
                while let Some((sql, reply)) = inbox.recv().await {
                    let _gone = reply.send(sqlx::query_scalar(sql).fetch_one(&mut connection).await);
                }
            });
            Ok(Self { statements, _owner: owner })
        }

        async fn ask(&self, sql: &'static str) -> Result<(), LockError> {
            let (reply, answer) = oneshot::channel();
            self.statements.send((sql, reply)).await.map_err(unavailable)?;
            answer.await.map_err(unavailable)?.map(drop).map_err(unavailable)
        }
    }

    impl Bare for Postgres {
        fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
            Box::pin(self.ask(PING))
        }

        fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
            Box::pin(self.ask(WRITE))
        }
    }
}

#[cfg(feature = "etcd")]
mod etcd {
    use std::fmt;

    use etcd_client::{Client, GetOptions, KvClient};

    use super::{Bare, BoxFuture, Endpoint, LockError, unavailable};

    const KEY: &str = "lockbench/bare";

    pub(super) struct Etcd(KvClient);

    impl fmt::Debug for Etcd {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Etcd")
        }
    }

    impl Etcd {
        pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
            let endpoints: Vec<&str> = endpoint.0.split(',').collect();
            let client = Client::connect(endpoints, None).await.map_err(unavailable)?;
            Ok(Self(client.kv_client()))
        }
    }

    impl Bare for Etcd {
        fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
            Box::pin(async {
                let serializable = GetOptions::new().with_serializable();
                let get = self.0.clone().get(KEY, Some(serializable)).await;
                get.map(drop).map_err(unavailable)
            })
        }

        fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
            Box::pin(async { self.0.clone().put(KEY, "1", None).await.map(drop).map_err(unavailable) })
        }
    }
}

#[cfg(feature = "zookeeper")]
mod zookeeper {
    use std::fmt;

    use zookeeper_client::{Acls, Client, CreateMode, Error};

    use super::{Bare, BoxFuture, Endpoint, LockError, unavailable};

    const NODE: &str = "/lockbench-bare";

    pub(super) struct Zookeeper(Client);

    impl fmt::Debug for Zookeeper {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Zookeeper")
        }
    }

    impl Zookeeper {
        pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
            let client = Client::connect(&endpoint.0).await.map_err(unavailable)?;
            let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
            match client.create(NODE, b"", &options).await {
                Ok(_) | Err(Error::NodeExists) => Ok(Self(client)),
                Err(error) => Err(unavailable(error)),
            }
        }
    }

    impl Bare for Zookeeper {
        fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
            Box::pin(async { self.0.check_stat(NODE).await.map(drop).map_err(unavailable) })
        }

        fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
            Box::pin(async { self.0.set_data(NODE, b"1", None).await.map(drop).map_err(unavailable) })
        }
    }
}
