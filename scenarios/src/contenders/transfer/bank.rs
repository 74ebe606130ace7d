//! Accounts in two databases, and what is written down of transfers between them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::Gate;
use harness::model::{Audit, Plan, ResourceKind, StepRef, TaskId};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Postgres};
use tokio::time::{sleep, timeout};

use crate::contenders::setting::Setting;

/// In each account at the beginning.
const OPENING: i64 = 100;

/// The second database, beside the one that the server comes with.
const SECOND: &str = "lockbench_bank";

/// Who speaks, as the server lists its connections.
const APPLICATION: &str = "lockbench-bank";

/// Held while the accounts are opened, so that one node does it.
const OPENING_LOCK: i64 = 0x6c6f_636b_6261_6e6b;

/// For a connection, and for those of nodes that are gone to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of one process, to each database. Tasks take their turn before they ask for one: who waits for a second connection
/// while he holds one could wait for ever.
const CONNECTIONS: u32 = 2 * TRANSFERS + 4;

/// That one process has under way.
pub(super) const TRANSFERS: u32 = 6;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS account (id bigint PRIMARY KEY, balance bigint NOT NULL);
    CREATE TABLE IF NOT EXISTS moved (task bigint, account bigint, amount bigint NOT NULL, PRIMARY KEY (task, account));
    CREATE TABLE IF NOT EXISTS saga (task bigint PRIMARY KEY, node int NOT NULL, done bool NOT NULL);
    CREATE TABLE IF NOT EXISTS decision (task bigint PRIMARY KEY);
    CREATE TABLE IF NOT EXISTS precommit (task bigint PRIMARY KEY);
";

/// The accounts of a run, as one process reaches them.
pub(super) struct Bank {
    plan: Arc<Plan>,
    pools: [PgPool; 2],
    layout: Layout,
    run_seed: u64,
    node: u16,
    pub(super) gate: Gate,
    operations: AtomicU64,
}

/// Where the accounts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// All in one database.
    One,
    /// Every other one in the second.
    Two,
    /// Each in both: a node reads its own copy, and writes what it made of it into both.
    Mirror,
}

impl fmt::Debug for Bank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bank").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Bank {
    /// Connects, and opens the accounts where nobody has yet: in a node's first life.
    pub(super) async fn open(setting: &Setting, layout: Layout) -> anyhow::Result<Self> {
        let bank = Self::reach(setting, layout)?;
        if setting.here.incarnation > 0 {
            // To look whether they are there would wait for transfers in doubt, which this life of the node is to settle.
            return Ok(bank);
        }
        let opened = timeout(PATIENCE, bank.open_accounts(setting));
        opened
            .await
            .context("the bank's databases do not answer")?
            .context("the accounts cannot be opened")?;
        Ok(bank)
    }

    /// Connects to accounts that have been opened.
    pub(super) fn reach(setting: &Setting, layout: Layout) -> anyhow::Result<Self> {
        let node = setting.here.nodes.first().map_or(0, |node| node.0);
        let pool = |second: bool| {
            let options = options(setting, second, &schema(setting.run_seed))?;
            let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
            anyhow::Ok(pool.test_before_acquire(false).connect_lazy_with(options))
        };
        Ok(Self {
            plan: Arc::clone(&setting.plan),
            pools: [pool(false)?, pool(true)?],
            layout,
            run_seed: setting.run_seed,
            node,
            gate: Gate::default(),
            operations: AtomicU64::new(0),
        })
    }

    async fn open_accounts(&self, setting: &Setting) -> anyhow::Result<()> {
        let mut first = PgConnection::connect_with(&options(setting, false, "public")?).await?;
        sqlx::query("SELECT pg_advisory_lock($1)").bind(OPENING_LOCK).execute(&mut first).await?;
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(SECOND)
            .fetch_one(&mut first)
            .await?;
        if !there {
            sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {SECOND}"))).execute(&mut first).await?;
        }
        let accounts = 0..self.plan.resources.len() as i64;
        for database in 0..2 {
            let mut connection = self.connection(database).await?;
            let create = format!("CREATE SCHEMA IF NOT EXISTS {}", schema(self.run_seed));
            sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut *connection).await?;
            sqlx::raw_sql(TABLES).execute(&mut *connection).await?;
            let here: Vec<i64> =
                accounts.clone().filter(|id| self.databases(*id).contains(&database)).collect();
            sqlx::query("INSERT INTO account SELECT id, $2 FROM unnest($1) AS id ON CONFLICT DO NOTHING")
                .bind(here)
                .bind(OPENING)
                .execute(&mut *connection)
                .await?;
        }
        // Ends with the connection, which lets go of the lock.
        Ok(first.close().await?)
    }

    /// The database of an account, or of the copy of it that this node reads.
    pub(super) fn database(&self, account: i64) -> usize {
        match self.layout {
            Layout::One => 0,
            Layout::Two => (account % 2) as usize,
            Layout::Mirror => usize::from(self.node % 2),
        }
    }

    /// The databases in which an account is, the one that this node reads first.
    fn databases(&self, account: i64) -> Vec<usize> {
        let read = self.database(account);
        match self.layout {
            Layout::One | Layout::Two => vec![read],
            Layout::Mirror => vec![read, 1 - read],
        }
    }

    /// The account of a step.
    pub(super) fn account(&self, step: StepRef) -> i64 {
        i64::from(self.plan.step(step).resource)
    }

    /// Whether a step moves money.
    pub(super) fn moves(&self, step: StepRef) -> bool {
        !step.task.is_bystander() && self.plan.resource(step).kind == ResourceKind::Account
    }

    /// What a step adds to its account: the first pays the second. Always in that direction, so that what is lost at one transfer
    /// is not made up for by another.
    pub(super) fn amount(step: StepRef) -> i64 {
        if step.step == 0 { -1 } else { 1 }
    }

    pub(super) async fn connection(&self, database: usize) -> sqlx::Result<PoolConnection<Postgres>> {
        self.pools[database].acquire().await
    }

    /// Statements sent so far.
    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, statements: u64) {
        self.operations.fetch_add(statements, Ordering::Relaxed);
    }

    /// Reads an account, adds, and writes it, or both its copies, as whoever has excluded all others may: read A, add, write A is
    /// what the lock, or the owner, is for.
    pub(super) async fn add(&self, step: StepRef) -> sqlx::Result<()> {
        let (account, amount) = (self.account(step), Self::amount(step));
        let databases = self.databases(account);
        self.count(1 + databases.len() as u64);
        let balance: i64 = sqlx::query_scalar("SELECT balance FROM account WHERE id = $1")
            .bind(account)
            .fetch_one(&self.pools[databases[0]])
            .await?;
        for database in databases {
            let write = sqlx::query("UPDATE account SET balance = $2 WHERE id = $1");
            write.bind(account).bind(balance + amount).execute(&self.pools[database]).await?;
        }
        Ok(())
    }

    /// The same, once a task, written down together with it; `false` if it was undone before it came.
    pub(super) async fn add_once(&self, step: StepRef) -> sqlx::Result<bool> {
        let (account, amount) = (self.account(step), Self::amount(step));
        let mut connection = self.connection(self.database(account)).await?;
        let mut transaction = connection.begin().await?;
        self.count(4);
        let noted = sqlx::query("INSERT INTO moved VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(i64::from(step.task.0))
            .bind(account)
            .bind(amount)
            .execute(&mut *transaction)
            .await?;
        if noted.rows_affected() == 0 {
            return Ok(false);
        }
        // In one statement: who undoes a transfer of somebody who is gone excludes nobody.
        sqlx::query("UPDATE account SET balance = balance + $2 WHERE id = $1")
            .bind(account)
            .bind(amount)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Writes down that a transfer has begun.
    pub(super) async fn begin(&self, task: TaskId) -> sqlx::Result<()> {
        self.count(1);
        let insert = sqlx::query("INSERT INTO saga VALUES ($1, $2, false) ON CONFLICT DO NOTHING");
        insert.bind(i64::from(task.0)).bind(i32::from(self.node)).execute(&self.pools[0]).await.map(drop)
    }

    /// Writes down that a transfer is over, done or undone.
    pub(super) async fn end(&self, task: i64) -> sqlx::Result<()> {
        self.count(1);
        let update = sqlx::query("UPDATE saga SET done = true WHERE task = $1");
        update.bind(task).execute(&self.pools[0]).await.map(drop)
    }

    /// Undoes what a transfer has done so far, and bars what of it has not come yet.
    pub(super) async fn undo(&self, task: i64) -> sqlx::Result<()> {
        let Ok(number) = u32::try_from(task) else { return Ok(()) };
        let steps = self.plan.task(TaskId(number)).steps().count() as u16;
        for step in (0..steps).map(|step| StepRef { task: TaskId(number), step }) {
            let account = self.account(step);
            let mut connection = self.connection(self.database(account)).await?;
            let mut transaction = connection.begin().await?;
            self.count(5);
            sqlx::query("INSERT INTO moved VALUES ($1, $2, 0) ON CONFLICT DO NOTHING")
                .bind(task)
                .bind(account)
                .execute(&mut *transaction)
                .await?;
            let amount: i64 =
                sqlx::query_scalar("SELECT amount FROM moved WHERE task = $1 AND account = $2 FOR UPDATE")
                    .bind(task)
                    .bind(account)
                    .fetch_one(&mut *transaction)
                    .await?;
            sqlx::query("UPDATE moved SET amount = 0 WHERE task = $1 AND account = $2")
                .bind(task)
                .bind(account)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("UPDATE account SET balance = balance - $2 WHERE id = $1")
                .bind(account)
                .bind(amount)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        }
        self.end(task).await
    }

    /// Transfers that have begun and are neither done nor undone; of this node alone, or of all.
    pub(super) async fn unfinished(&self, own: bool) -> sqlx::Result<Vec<i64>> {
        sqlx::query_scalar("SELECT task FROM saga WHERE NOT done AND (node = $1 OR NOT $2) ORDER BY task")
            .bind(i32::from(self.node))
            .bind(own)
            .fetch_all(&self.pools[0])
            .await
    }

    /// The name of a branch of a transfer, as the databases list it while it is in doubt.
    pub(super) fn name(&self, task: TaskId, account: i64) -> String {
        format!("{}_{}_{account}", self.prefix(true), task.0)
    }

    /// How the names of branches begin: of this node, or of all.
    fn prefix(&self, own: bool) -> String {
        let node = if own { format!("_{}", self.node) } else { String::new() };
        format!("{}{node}", schema(self.run_seed))
    }

    /// Branches in doubt in a database for so long, each with its task.
    pub(super) async fn in_doubt(
        &self,
        database: usize,
        own: bool,
        since: Duration,
    ) -> sqlx::Result<Vec<(String, i64)>> {
        let names: Vec<String> = sqlx::query_scalar(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() AND starts_with(gid, $1) \
             AND prepared <= clock_timestamp() - make_interval(secs => $2) ORDER BY gid",
        )
        .bind(format!("{}_", self.prefix(own)))
        .bind(since.as_secs_f64())
        .fetch_all(&self.pools[database])
        .await?;
        let task = |name: &String| name.rsplit('_').nth(1)?.parse().ok();
        Ok(names.into_iter().filter_map(|name| Some((name.clone(), task(&name)?))).collect())
    }

    /// Commits a branch in doubt, or rolls it back.
    pub(super) async fn settle(&self, database: usize, name: &str, commit: bool) -> sqlx::Result<()> {
        self.count(1);
        let verb = if commit { "COMMIT" } else { "ROLLBACK" };
        // Made of numbers alone.
        let settle = AssertSqlSafe(format!("{verb} PREPARED '{name}'"));
        sqlx::raw_sql(settle).execute(&self.pools[database]).await.map(drop)
    }

    /// Writes down that a transfer is to be done; what is not written down is not.
    pub(super) async fn decide(&self, task: TaskId) -> sqlx::Result<()> {
        self.count(1);
        let insert = sqlx::query("INSERT INTO decision VALUES ($1)");
        insert.bind(i64::from(task.0)).execute(&self.pools[0]).await.map(drop)
    }

    pub(super) async fn is_decided(&self, task: i64) -> sqlx::Result<bool> {
        let exists = sqlx::query_scalar("SELECT EXISTS (SELECT FROM decision WHERE task = $1)");
        exists.bind(task).fetch_one(&self.pools[0]).await
    }

    /// Tells a database that all have promised.
    pub(super) async fn pre_commit(&self, database: usize, task: TaskId) -> sqlx::Result<()> {
        self.count(1);
        let insert = sqlx::query("INSERT INTO precommit VALUES ($1) ON CONFLICT DO NOTHING");
        insert.bind(i64::from(task.0)).execute(&self.pools[database]).await.map(drop)
    }

    pub(super) async fn is_pre_committed(&self, database: usize, task: i64) -> sqlx::Result<bool> {
        let exists = sqlx::query_scalar("SELECT EXISTS (SELECT FROM precommit WHERE task = $1)");
        exists.bind(task).fetch_one(&self.pools[database]).await
    }

    /// What is in all accounts, once nobody of this run is connected any more; so many were stuck until now.
    pub(super) async fn audit(&self, stuck: u64) -> sqlx::Result<Audit> {
        let (mut found, mut accounts) = (0, 0);
        for pool in &self.pools {
            let (sum, count): (i64, i64) =
                sqlx::query_as("SELECT coalesce(sum(balance), 0)::bigint, count(*) FROM account")
                    .fetch_one(pool)
                    .await?;
            (found, accounts) = (found + sum, accounts + count);
        }
        Ok(Audit { expected: OPENING * accounts, found, accounts: accounts.unsigned_abs(), stuck })
    }

    /// Waits until the connections of all others have ended: what a killed node had asked for may still be under way.
    pub(super) async fn is_quiet(&self) -> sqlx::Result<()> {
        let others = || async {
            sqlx::query_scalar::<_, i64>(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND state <> 'idle' \
                 AND pid <> pg_backend_pid()",
            )
            .bind(APPLICATION)
            .fetch_one(&self.pools[0])
            .await
        };
        let quiet = async {
            while others().await? > 0 {
                sleep(Duration::from_millis(20)).await;
            }
            Ok(())
        };
        // Whoever is busy for longer is none of a run that is over.
        timeout(PATIENCE, quiet).await.unwrap_or(Ok(()))
    }

    pub(super) async fn close(&self) {
        for pool in &self.pools {
            drop(timeout(PATIENCE, pool.close()).await);
        }
    }
}

/// Of one run.
fn schema(run_seed: u64) -> String {
    format!("bank_{run_seed:016x}")
}

fn options(setting: &Setting, second: bool, schema: &str) -> anyhow::Result<PgConnectOptions> {
    let first = setting.here.nodes.first().map_or(0, |node| usize::from(node.0));
    let own = setting.here.between.as_ref().and_then(|between| between.endpoints.get(first));
    let url = own.or(setting.endpoint.as_ref()).context("transfers: no database for the accounts")?;
    // The library's error could repeat the password.
    let options: PgConnectOptions =
        url.as_str().parse().map_err(|_: sqlx::Error| anyhow::anyhow!("transfers: the URL is none"))?;
    let options = options.application_name(APPLICATION).options([("search_path", schema)]);
    let options = if second { options.database(SECOND) } else { options };
    Ok(options.disable_statement_logging())
}
