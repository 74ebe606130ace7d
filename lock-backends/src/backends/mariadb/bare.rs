//! MariaDB: one statement at a time on a connection that a task owns.

use sqlx::{ConnectOptions as _, MySqlConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::client;
use crate::session::{Bare, BoxFuture, Endpoint, LockError, unavailable};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS lockbench_bare (id bigint PRIMARY KEY, n bigint NOT NULL) \
                     ENGINE = InnoDB";
const ROW: &str = "INSERT IGNORE INTO lockbench_bare VALUES (1, 0)";
const PING: &str = "SELECT 1";
const WRITE: &str = "UPDATE lockbench_bare SET n = n + 1 WHERE id = 1";

type Answer = Result<(), sqlx::Error>;

/// Statements go to the task that owns the connection.
#[derive(Debug)]
pub(super) struct Mariadb {
    statements: mpsc::Sender<(&'static str, oneshot::Sender<Answer>)>,
    _owner: JoinSet<()>,
}

impl Mariadb {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let mut connection: MySqlConnection =
            client::options(endpoint)?.connect().await.map_err(unavailable)?;
        for sql in [TABLE, ROW] {
            sqlx::raw_sql(sql).execute(&mut connection).await.map_err(unavailable)?;
        }
        let (statements, mut inbox) = mpsc::channel::<(&'static str, oneshot::Sender<Answer>)>(1);
        let mut owner = JoinSet::new();
        owner.spawn(async move {
            while let Some((sql, reply)) = inbox.recv().await {
                let _gone = reply.send(sqlx::query(sql).execute(&mut connection).await.map(drop));
            }
        });
        Ok(Self { statements, _owner: owner })
    }

    async fn ask(&self, sql: &'static str) -> Result<(), LockError> {
        let (reply, answer) = oneshot::channel();
        self.statements.send((sql, reply)).await.map_err(unavailable)?;
        answer.await.map_err(unavailable)?.map_err(unavailable)
    }
}

impl Bare for Mariadb {
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(self.ask(PING))
    }

    fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(self.ask(WRITE))
    }
}
