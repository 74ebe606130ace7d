//! MariaDB: tables of all databases that whoever logs in may see, and ours in the one of the URL.

use sqlx::{AssertSqlSafe, ConnectOptions as _, MySqlConnection};
use tokio::sync::Mutex;

use crate::session::{BoxFuture, Contents, Endpoint, Held, LockError, unavailable};

const HELD: &str = "SELECT CAST(COALESCE(SUM(ours), 0) AS SIGNED), CAST(COALESCE(SUM(NOT ours), 0) AS SIGNED) FROM ( \
    SELECT table_schema = DATABASE() AND table_name LIKE 'lockbench\\\\_%' AS ours FROM information_schema.tables \
    WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys')) AS things";

const OURS: &str = "SELECT CAST(table_name AS CHAR) FROM information_schema.tables \
    WHERE table_schema = DATABASE() AND table_name LIKE 'lockbench\\\\_%'";

#[derive(Debug)]
pub(super) struct Mariadb(Mutex<MySqlConnection>);

impl Mariadb {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let connection = super::url::options(endpoint)?.connect().await.map_err(unavailable)?;
        Ok(Self(Mutex::new(connection)))
    }
}

impl Contents for Mariadb {
    fn held(&self) -> BoxFuture<'_, Result<Held, LockError>> {
        Box::pin(async {
            let mut connection = self.0.lock().await;
            let counted: (i64, i64) =
                sqlx::query_as(HELD).fetch_one(&mut *connection).await.map_err(unavailable)?;
            Ok(Held { ours: counted.0.unsigned_abs(), others: Some(counted.1.unsigned_abs()) })
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async {
            let mut connection = self.0.lock().await;
            let ours: Vec<String> =
                sqlx::query_scalar(OURS).fetch_all(&mut *connection).await.map_err(unavailable)?;
            for name in ours {
                let drop = format!("DROP TABLE IF EXISTS `{}`", name.replace('`', "``"));
                let dropped = sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut *connection).await;
                dropped.map_err(unavailable)?;
            }
            Ok(())
        })
    }
}
