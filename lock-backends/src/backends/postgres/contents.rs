//! PostgreSQL: tables, views and sequences of the database, and other databases.

use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection};
use tokio::sync::Mutex;

use crate::session::{BoxFuture, Contents, Endpoint, Held, LockError, unavailable};

/// Ours, and all others with the other databases. A schema that somebody else has called `jobs` has not the tables of the job queue.
const HELD: &str = "WITH things AS ( \
        SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'), \
    sorted AS (SELECT relname LIKE 'lockbench\\_%' OR nspname = 'jobs' AND to_regclass('jobs.migration') IS NOT NULL \
        AND to_regclass('jobs.job') IS NOT NULL AS ours FROM things) \
    SELECT (SELECT count(*) FROM sorted WHERE ours), (SELECT count(*) FROM sorted WHERE NOT ours) \
        + (SELECT count(*) FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', current_database()))";

/// One command a row. Tables take the sequences of their own along, and none takes what others made of it.
const CLEAR: &str = "SELECT format('DROP SCHEMA %I CASCADE', nspname) AS sql, 0 AS place FROM pg_namespace WHERE nspname = 'jobs' \
        AND to_regclass('jobs.migration') IS NOT NULL AND to_regclass('jobs.job') IS NOT NULL \
    UNION ALL SELECT format('DROP %s IF EXISTS %I.%I', CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname, c.relname), \
        CASE c.relkind WHEN 'S' THEN 2 ELSE 1 END \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind IN ('r', 'p', 'S') AND c.relname LIKE 'lockbench\\_%' AND n.nspname !~ '^pg_' ORDER BY place";

#[derive(Debug)]
pub(super) struct Postgres(Mutex<PgConnection>);

impl Postgres {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let connection = super::url::options(endpoint)?.connect().await.map_err(unavailable)?;
        Ok(Self(Mutex::new(connection)))
    }
}

impl Contents for Postgres {
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
            let commands: Vec<(String, i32)> =
                sqlx::query_as(CLEAR).fetch_all(&mut *connection).await.map_err(unavailable)?;
            for (sql, _) in commands {
                let dropped = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
                dropped.map_err(unavailable)?;
            }
            Ok(())
        })
    }
}
