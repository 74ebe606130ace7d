//! PostgreSQL: one statement at a time on a connection that whoever asks drives.

use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::Mutex;

use crate::session::{Bare, BoxFuture, Endpoint, LockError, ServerTime, unavailable};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS lockbench_bare (id bigint PRIMARY KEY, n bigint); \
                     INSERT INTO lockbench_bare VALUES (1, 0) ON CONFLICT DO NOTHING";
const PING: &str = "SELECT 1::bigint";
const WRITE: &str = "UPDATE lockbench_bare SET n = n + 1 WHERE id = 1 RETURNING n";
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// A connection without a task of its own: variants with a connection for each holder have none either.
#[derive(Debug)]
pub(super) struct Postgres(Mutex<PgConnection>);

impl Postgres {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let mut connection: PgConnection =
            super::url::options(endpoint)?.connect().await.map_err(unavailable)?;
        sqlx::raw_sql(TABLE).execute(&mut connection).await.map_err(unavailable)?;
        Ok(Self(Mutex::new(connection)))
    }

    async fn ask(&self, sql: &'static str) -> Result<i64, LockError> {
        let mut connection = self.0.lock().await;
        sqlx::query_scalar(sql).fetch_one(&mut *connection).await.map_err(unavailable)
    }
}

impl Bare for Postgres {
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async { self.ask(PING).await.map(drop) })
    }

    fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async { self.ask(WRITE).await.map(drop) })
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<ServerTime>, LockError>> {
        Box::pin(async { Ok(Some(ServerTime { unix_us: self.ask(CLOCK).await?, step_us: 1 })) })
    }
}
