//! The operations of the schema, one connection per task that asks, and what their errors mean.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgRow};
use sqlx::query::QueryAs;
use sqlx::{ConnectOptions, Connection, FromRow, Postgres, SqlSafeStr};
use tokio::time::timeout;

use super::job::{JobError, JobForm};
use super::options::JobNodeOptions;
use super::rows::{Done, Order, OutcomeRow, Turn, WorkRow};

/// Between two tries at a database that does not answer.
pub(super) const RETRY: Duration = Duration::from_millis(50);

/// For one statement. A global lock may be long in coming, as long as the original waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// For the server, which gives up before we do, so that nothing runs on that nobody waits for.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(55);

/// For a connection and for setting up the schema.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// All versions of the schema, oldest first.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "jobs", include_str!("../../migrations/jobs/0001_jobs.sql")),
    (2, "attempts", include_str!("../../migrations/jobs/0002_attempts.sql")),
];

/// How a session is opened; the library's `Debug` would show the password.
#[derive(Clone)]
struct Options(PgConnectOptions);

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Options(…)")
    }
}

/// Where the database is.
#[derive(Debug)]
pub(super) struct Database {
    options: Options,
    /// Of all its sessions.
    operations: Arc<AtomicU64>,
}

/// Why an operation has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// It may have had its effect or not; repeat it.
    #[error("{0}")]
    Repeat(sqlx::Error),
    /// This node's row is gone.
    #[error("the node's row is gone")]
    Evicted,
    /// Repeating it is no use.
    #[error("{0}")]
    Refused(String),
}

impl Database {
    pub(super) fn new(options: &JobNodeOptions) -> Result<Self, JobError> {
        // The library's error could repeat the password.
        let connect: PgConnectOptions =
            options.url.parse().map_err(|_: sqlx::Error| JobError::Database("its URL is none".to_owned()))?;
        let connect = connect.application_name("lockbench-jobs").disable_statement_logging().options([
            // Tables that fill and drain in seconds outrun the statistics, and the planner then scans them whole.
            ("enable_seqscan", "off".to_owned()),
            ("plan_cache_mode", "force_generic_plan".to_owned()),
            // Where a table has to be scanned, that setting makes it look so dear that the server compiles the plan: 20 ms
            // each time, for a few rows.
            ("jit", "off".to_owned()),
            ("statement_timeout", STATEMENT_TIMEOUT.as_millis().to_string()),
            ("tcp_user_timeout", PATIENCE.as_millis().to_string()),
        ]);
        Ok(Self { options: Options(connect), operations: Arc::default() })
    }

    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options.0
    }

    /// Statements sent so far.
    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    pub(super) fn session(&self) -> Session {
        let operations = Arc::clone(&self.operations);
        Session { options: self.options.clone(), operations, connection: None }
    }

    /// Brings the schema up to date and enters the node. `None` if the other form is in use.
    pub(super) async fn enter(&self, options: &JobNodeOptions) -> Result<Option<i64>, Trouble> {
        let mut session = self.session();
        let connection = session.connection().await?;
        // Not `run`, whose future the compiler does not see to be `Send`.
        let migrate = async { migrator().run_direct(None, connection, false).await };
        match timeout(CONNECT_PATIENCE, migrate).await.map_err(elapsed)? {
            Ok(()) => {}
            Err(
                sqlx::migrate::MigrateError::Execute(error)
                | sqlx::migrate::MigrateError::ExecuteMigration(error, _),
            ) => {
                return Err(error.into());
            }
            Err(error) => return Err(Trouble::Refused(error.to_string())),
        }
        let entered = sqlx::query_as::<_, (Option<i64>,)>("SELECT jobs.enter($1, $2, $3)")
            .bind(&options.name)
            .bind(options.form.is_sticky())
            .bind(millis(options.detect));
        Ok(session.fetch(entered).await?.first().and_then(|row| row.0))
    }

    /// Takes the node's row away. Others take over what it has.
    pub(super) async fn leave(&self, node: i64, form: JobForm) -> Result<(), Trouble> {
        let left = sqlx::query_as::<_, ((),)>("SELECT jobs.leave($1, $2)").bind(node).bind(form.is_sticky());
        self.session().fetch(left).await.map(drop)
    }
}

fn migrator() -> Migrator {
    let migrations = MIGRATIONS.iter().map(|(version, name, sql)| {
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sql.into_sql_str(), false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    // Others may keep tables, and migrations, in the same database.
    migrator.create_schema("jobs");
    migrator.dangerous_set_table_name("jobs.migration");
    migrator
}

/// One connection, made when it is needed and again when it broke.
#[derive(Debug)]
pub(super) struct Session {
    options: Options,
    operations: Arc<AtomicU64>,
    connection: Option<PgConnection>,
}

impl Session {
    /// Puts the orders into the database. Returns number, job and, if it is this node's to run, queue of each.
    pub(super) async fn submit(
        &mut self,
        node: i64,
        form: JobForm,
        idle: usize,
        orders: &[Order],
        wait_ms: &[Option<i64>],
    ) -> Result<Vec<(i64, i64, Option<i64>)>, Trouble> {
        let column = |of: fn(&Order) -> &str| orders.iter().map(of).collect::<Vec<_>>();
        let payloads: Vec<&[u8]> = orders.iter().map(|order| &order.payload[..]).collect();
        let query = sqlx::query_as("SELECT * FROM jobs.submit($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(node)
            .bind(form.is_sticky())
            .bind(i64::try_from(idle).unwrap_or(i64::MAX))
            .bind(column(|order| &order.queue))
            .bind(orders.iter().map(|order| order.number).collect::<Vec<_>>())
            .bind(payloads)
            .bind(orders.iter().map(|order| order.restartable).collect::<Vec<_>>())
            .bind(wait_ms);
        self.fetch(query).await
    }

    /// Workers' turns; see the schema.
    pub(super) async fn work(
        &mut self,
        node: i64,
        form: JobForm,
        repeated: bool,
        turns: &[Turn],
    ) -> Result<Vec<WorkRow>, Trouble> {
        fn column<'a, T>(turns: &'a [Turn], of: impl Fn(&'a Done) -> T) -> Vec<T> {
            turns.iter().filter_map(|turn| turn.done.as_ref().map(&of)).collect()
        }
        let query = sqlx::query_as("SELECT * FROM jobs.work($1, $2, $3, $4, $5, $6, $7, $8, $9)")
            .bind(node)
            .bind(form.is_sticky())
            .bind(repeated)
            .bind(turns.iter().filter_map(|turn| turn.source).collect::<Vec<_>>())
            .bind(column(turns, |done| done.job))
            .bind(column(turns, |done| done.queue))
            .bind(column(turns, |done| done.token))
            .bind(column(turns, |done| done.outcome.name()))
            .bind(column(turns, |done| done.outcome.result()));
        self.fetch(query).await
    }

    /// Removes acknowledged outcomes and returns those that are not.
    pub(super) async fn collect(
        &mut self,
        node: i64,
        acknowledged: &[i64],
    ) -> Result<Vec<OutcomeRow>, Trouble> {
        self.fetch(sqlx::query_as("SELECT * FROM jobs.collect($1, $2)").bind(node).bind(acknowledged)).await
    }

    /// The outcomes of these jobs, whoever is their issuer.
    pub(super) async fn inquire(&mut self, jobs: &[i64]) -> Result<Vec<OutcomeRow>, Trouble> {
        let query =
            "SELECT number, id, state, result FROM jobs.job WHERE id = ANY ($1) AND finished IS NOT NULL";
        self.fetch(sqlx::query_as(query).bind(jobs)).await
    }

    /// Times out those that have not started.
    pub(super) async fn withdraw(
        &mut self,
        node: i64,
        form: JobForm,
        numbers: &[i64],
    ) -> Result<(), Trouble> {
        let query = sqlx::query_as::<_, ((),)>("SELECT jobs.withdraw($1, $2, $3)");
        self.fetch(query.bind(node).bind(form.is_sticky()).bind(numbers)).await.map(drop)
    }

    /// False: this node was declared dead.
    pub(super) async fn beat(&mut self, node: i64, retain: Duration) -> Result<bool, Trouble> {
        let query = sqlx::query_as::<_, (bool,)>("SELECT jobs.beat($1, $2)").bind(node).bind(millis(retain));
        Ok(self.fetch(query).await?.first().is_some_and(|row| row.0))
    }

    /// Nodes that were not heard of for so long, with their beats.
    pub(super) async fn suspects(&mut self, node: i64, detect: Duration) -> Result<Vec<(i64, i64)>, Trouble> {
        self.fetch(sqlx::query_as("SELECT * FROM jobs.suspects($1, $2)").bind(node).bind(millis(detect)))
            .await
    }

    /// True if the suspect had not been heard of since, and is dead now.
    pub(super) async fn evict(
        &mut self,
        suspect: (i64, i64),
        node: i64,
        form: JobForm,
    ) -> Result<bool, Trouble> {
        let query = sqlx::query_as::<_, (bool,)>("SELECT jobs.evict($1, $2, $3, $4)");
        let query = query.bind(suspect.0).bind(suspect.1).bind(node).bind(form.is_sticky());
        Ok(self.fetch(query).await?.first().is_some_and(|row| row.0))
    }

    /// Takes over what dead nodes left.
    pub(super) async fn take_over(&mut self, node: i64, form: JobForm) -> Result<(), Trouble> {
        let query =
            sqlx::query_as::<_, ((),)>("SELECT jobs.take_over($1, $2)").bind(node).bind(form.is_sticky());
        self.fetch(query).await.map(drop)
    }

    /// Faithful: the queues that are this node's to run.
    pub(super) async fn queues(&mut self, node: i64) -> Result<Vec<(i64,)>, Trouble> {
        self.fetch(sqlx::query_as("SELECT id FROM jobs.queue WHERE worker = $1 ORDER BY id").bind(node)).await
    }

    /// Any error costs the connection: what it was in the middle of is unknown.
    async fn fetch<'q, T>(&mut self, query: QueryAs<'q, Postgres, T, PgArguments>) -> Result<Vec<T>, Trouble>
    where
        T: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.open().await?,
        };
        self.operations.fetch_add(1, Ordering::Relaxed);
        let rows = timeout(PATIENCE, query.fetch_all(&mut connection)).await.map_err(elapsed)??;
        // Not reached when the future is dropped halfway, which would leave the reply in the connection.
        self.connection = Some(connection);
        Ok(rows)
    }

    async fn connection(&mut self) -> Result<&mut PgConnection, Trouble> {
        if self.connection.is_none() {
            self.connection = Some(self.open().await?);
        }
        Ok(self.connection.as_mut().expect("it was just made"))
    }

    async fn open(&self) -> Result<PgConnection, Trouble> {
        let opening = PgConnection::connect_with(&self.options.0);
        Ok(timeout(CONNECT_PATIENCE, opening).await.map_err(elapsed)??)
    }
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        let Some(code) = error.as_database_error().and_then(|error| error.code()) else {
            return match error {
                sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => Self::Repeat(error),
                other => Self::Refused(other.to_string()),
            };
        };
        // Class by class: what `jobs.lives` raises; transaction rollback, resources, operator (a
        // server that stops or starts), object not in state (locks), system errors.
        match &*code {
            "23503" => Self::Evicted,
            code if ["40", "53", "55", "57", "58"].contains(&&code[..2]) => Self::Repeat(error),
            _ => Self::Refused(error.to_string()),
        }
    }
}

fn elapsed(elapsed: tokio::time::error::Elapsed) -> Trouble {
    Trouble::Repeat(sqlx::Error::Io(io::Error::from(elapsed)))
}

/// For the schema's arithmetic, in which a quarter of a million years is as good as for ever.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).min(1 << 52)
}
