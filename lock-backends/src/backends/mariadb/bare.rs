//! MariaDB: one statement at a time on a connection that whoever asks drives.

use sqlx::{ConnectOptions as _, Connection as _, MySqlConnection};
use tokio::sync::Mutex;

use super::url;
use crate::session::{Bare, BoxFuture, Endpoint, LockError, ServerTime, unavailable};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS lockbench_bare (id bigint PRIMARY KEY, n bigint NOT NULL) \
                     ENGINE = InnoDB";
const ROW: &str = "INSERT IGNORE INTO lockbench_bare VALUES (1, 0)";
const WRITE: &str = "UPDATE lockbench_bare SET n = n + 1 WHERE id = 1";
const CLOCK: &str = "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED)";

/// A connection without a task of its own: variants with a connection for each holder have none either.
#[derive(Debug)]
pub(super) struct Mariadb(Mutex<MySqlConnection>);

impl Mariadb {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let mut connection: MySqlConnection = url::options(endpoint)?.connect().await.map_err(unavailable)?;
        for sql in [TABLE, ROW] {
            sqlx::raw_sql(sql).execute(&mut connection).await.map_err(unavailable)?;
        }
        Ok(Self(Mutex::new(connection)))
    }

    async fn ask(&self, sql: &'static str) -> Result<(), LockError> {
        let mut connection = self.0.lock().await;
        sqlx::query(sql).execute(&mut *connection).await.map(drop).map_err(unavailable)
    }
}

impl Bare for Mariadb {
    /// The protocol's own: a query, even `SELECT 1`, costs the server more than taking a lock.
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async { self.0.lock().await.ping().await.map_err(unavailable) })
    }

    fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(self.ask(WRITE))
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<ServerTime>, LockError>> {
        Box::pin(async {
            let mut connection = self.0.lock().await;
            let unix_us: i64 =
                sqlx::query_scalar(CLOCK).fetch_one(&mut *connection).await.map_err(unavailable)?;
            Ok(Some(ServerTime { unix_us, step_us: 1 }))
        })
    }
}
