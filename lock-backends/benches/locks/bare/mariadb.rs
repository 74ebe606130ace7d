//! Two statements on one connection.

use std::sync::Arc;

use futures_util::FutureExt;
use lock_backends::BoxFuture;
use sqlx::{Connection, MySqlConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Yardstick;
use crate::lane::Pairs;

pub(super) const YARDSTICK: Yardstick = Yardstick {
    server: "mariadb",
    first: "mysql-get-lock",
    connection_each: &["mysql-get-lock"],
    waiters_max: 4_000,
    connect: |endpoint| async move { Arc::new(Mariadb::connect(endpoint).await) as Arc<dyn Pairs> }.boxed(),
    beside: |_| (),
};

/// One statement at a time on one connection, which a task owns.
struct Mariadb {
    statements: mpsc::Sender<(&'static str, String, oneshot::Sender<i64>)>,
    _owner: JoinSet<()>,
}

const TAKE: &str = "SELECT CAST(GET_LOCK(?, 0) AS SIGNED)";
const GIVE: &str = "SELECT CAST(RELEASE_LOCK(?) AS SIGNED)";

impl Mariadb {
    async fn connect(endpoint: &str) -> Self {
        let mut connection = MySqlConnection::connect(endpoint).await.unwrap();
        let (statements, mut inbox) = mpsc::channel::<(&'static str, String, oneshot::Sender<i64>)>(4096);
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

impl Pairs for Mariadb {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        async move {
            for sql in [TAKE, GIVE] {
                let (reply, row) = oneshot::channel();
                self.statements.send((sql, format!("bare-{caller}"), reply)).await.unwrap();
                assert_eq!(row.await.unwrap(), 1);
            }
            true
        }
        .boxed()
    }
}
