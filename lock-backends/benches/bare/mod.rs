//! Clients that do nothing but send the requests of a pair.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, IntoConnectionInfo, Script};
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

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

    pub(crate) async fn pairs(self: Arc<Self>, rounds: u64) {
        let lock = format!("lockbench:lock:bare-{}", number());
        let mut connection = self.connection.clone();
        for _ in 0..rounds {
            let owner = format!("6:b:{};", number());
            let mut acquire = self.acquire.key("lockbench:fence");
            acquire.key(&lock).arg(&owner).arg(10_000).arg("");
            let _: (u32, u64) = acquire.invoke_async(&mut connection).await.unwrap();
            let mut release = self.release.key(&lock);
            release.arg(&owner).arg(&lock);
            let released: u64 = release.invoke_async(&mut connection).await.unwrap();
            assert_eq!(released, 1);
        }
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

    pub(crate) async fn pairs(self: Arc<Self>, rounds: u64) {
        let key = number().cast_signed();
        for _ in 0..rounds {
            for sql in [TAKE, GIVE] {
                let (reply, row) = oneshot::channel();
                self.statements.send((sql, key, reply)).await.unwrap();
                assert!(row.await.unwrap() > 0);
            }
        }
    }
}
