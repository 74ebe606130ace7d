//! PostgreSQL: one statement at a time on a connection that a task owns.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::session::{Bare, BoxFuture, Endpoint, LockError, unavailable};

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
