//! Clients that do nothing but send the requests of a pair.

use etcd_client::{Client, Compare, CompareOp, KvClient, PutOptions, Txn, TxnOp};
use futures_util::FutureExt;
use lock_backends::BoxFuture;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, IntoConnectionInfo, Script};
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use zookeeper_client::{Acls, CreateMode};

use super::lane::Pairs;
use super::number;

/// The scripts of `redis-fenced` on one multiplexed connection.
pub(crate) struct Redis {
    connection: MultiplexedConnection,
    acquire: Script,
    release: Script,
}

const OWNED: &str = include_str!("../../src/backends/redis/lua/owned.lua");
const DRAW: &str = include_str!("../../src/backends/redis/lua/draw.lua");
const ACQUIRE: &str = include_str!("../../src/backends/redis/lua/acquire.lua");
const RELEASE: &str = include_str!("../../src/backends/redis/lua/release.lua");

impl Redis {
    pub(crate) async fn connect(endpoint: &str) -> Self {
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = endpoint.into_connection_info().unwrap().set_tcp_settings(tcp);
        let config = AsyncConnectionConfig::new().set_pipeline_buffer_size(4096);
        let client = redis::Client::open(info).unwrap();
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
        let acquire = Script::new(&[OWNED, DRAW, ACQUIRE].concat());
        let release = Script::new(&[OWNED, RELEASE].concat());
        for script in [&acquire, &release] {
            script.load_async(&mut connection).await.unwrap();
        }
        Self { connection, acquire, release }
    }
}

impl Pairs for Redis {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        async move {
            let mut connection = self.connection.clone();
            let lock = format!("lockbench:lock:bare-{caller}");
            let owner = format!("6:b:{};", number());
            let mut acquire = self.acquire.key("lockbench:fence");
            acquire.key(&lock).arg(&owner).arg(10_000).arg("");
            let _: (u32, u64) = acquire.invoke_async(&mut connection).await.unwrap();
            let mut release = self.release.key(&lock);
            release.arg(&owner).arg(&lock);
            let released: u64 = release.invoke_async(&mut connection).await.unwrap();
            released == 1
        }
        .boxed()
    }
}

/// One statement at a time on one connection, which a task owns.
pub(crate) struct Postgres {
    statements: mpsc::Sender<(&'static str, i64, oneshot::Sender<i64>)>,
    _owner: JoinSet<()>,
}

const TAKE: &str = "SELECT CASE WHEN pg_try_advisory_lock($1) THEN nextval('lockbench_fence') ELSE 0 END";
const GIVE: &str = "SELECT pg_advisory_unlock($1)::int::bigint";

impl Postgres {
    pub(crate) async fn connect(endpoint: &str) -> Self {
        let mut connection = PgConnection::connect(endpoint).await.unwrap();
        let sequence = "CREATE SEQUENCE IF NOT EXISTS lockbench_fence AS bigint NO CYCLE CACHE 1";
        sqlx::raw_sql(sequence).execute(&mut connection).await.unwrap();
        let (statements, mut inbox) = mpsc::channel::<(&'static str, i64, oneshot::Sender<i64>)>(4096);
        let mut owner = JoinSet::new();
        owner.spawn(async move {
            while let Some((sql, key, reply)) = inbox.recv().await {
                let row: i64 = sqlx::query_scalar(sql).bind(key).fetch_one(&mut connection).await.unwrap();
                reply.send(row).unwrap();
            }
        });
        Self { statements, _owner: owner }
    }
}

impl Pairs for Postgres {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        async move {
            for sql in [TAKE, GIVE] {
                let (reply, row) = oneshot::channel();
                self.statements.send((sql, caller as i64, reply)).await.unwrap();
                assert!(row.await.unwrap() > 0);
            }
            true
        }
        .boxed()
    }
}

/// The transactions of `etcd-cas`, one for each caller and step.
pub(crate) struct Etcd {
    client: KvClient,
    lease: i64,
}

impl Etcd {
    pub(crate) async fn connect(endpoint: &str) -> Self {
        let client = Client::connect([endpoint], None).await.unwrap();
        let lease = client.lease_client().grant(3600, None).await.unwrap().id();
        Self { client: client.kv_client(), lease }
    }
}

impl Pairs for Etcd {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        async move {
            let key = format!("lockbench/bare/{caller}");
            let mut client = self.client.clone();
            let absent = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
            let put = TxnOp::put(key.as_str(), "", Some(PutOptions::new().with_lease(self.lease)));
            let taken = client.txn(Txn::new().when([absent]).and_then([put])).await.unwrap();
            let revision = taken.header().unwrap().revision();
            let mine = Compare::create_revision(key.as_str(), CompareOp::Equal, revision);
            let delete = Txn::new().when([mine]).and_then([TxnOp::delete(key, None)]);
            taken.succeeded() && client.txn(delete).await.unwrap().succeeded()
        }
        .boxed()
    }
}

/// Creates and deletes a node in the queue of each caller.
pub(crate) struct Zookeeper(zookeeper_client::Client);

impl Zookeeper {
    pub(crate) async fn connect(endpoint: &str) -> Self {
        let client = zookeeper_client::Client::connect(endpoint).await.unwrap();
        let container = CreateMode::Container.with_acls(Acls::anyone_all());
        for caller in 0..super::CALLERS {
            client.mkdir(&format!("/bare/{caller}"), &container).await.unwrap();
        }
        Self(client)
    }
}

impl Pairs for Zookeeper {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        async move {
            let path = format!("/bare/{caller}/n-");
            let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
            let (_, sequence) = self.0.create(&path, b"", &options).await.unwrap();
            self.0.delete(&format!("{path}{sequence}"), None).await.unwrap();
            true
        }
        .boxed()
    }
}
