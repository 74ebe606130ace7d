//! Two statements on one connection.

use std::sync::Arc;

use futures_util::FutureExt;
use lock_backends::BoxFuture;
use sqlx::{Connection, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Yardstick;
use crate::lane::Pairs;

pub(super) const YARDSTICK: Yardstick = Yardstick {
    server: "postgres",
    first: "pg-mux",
    connection_each: &["pg-session", "pg-xact"],
    waiters_max: 4_000,
    connect: |endpoint| async move { Arc::new(Postgres::connect(endpoint).await) as Arc<dyn Pairs> }.boxed(),
    beside: |_| (),
};

/// One statement at a time on one connection, which a task owns.
struct Postgres {
    statements: mpsc::Sender<(&'static str, i64, oneshot::Sender<i64>)>,
    _owner: JoinSet<()>,
}

const TAKE: &str = "SELECT CASE WHEN pg_try_advisory_lock($1) THEN nextval('lockbench_fence') ELSE 0 END";
const GIVE: &str = "SELECT pg_advisory_unlock($1)::int::bigint";

impl Postgres {
    async fn connect(endpoint: &str) -> Self {
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
