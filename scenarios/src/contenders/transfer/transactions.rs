//! Transfers as transactions of the databases: rows are locked instead of keys, and what ends them is a protocol.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harness::engine::{BoxFuture, Clock, Entitlement, Gate, Mechanism, NoLease, StepRunner};
use harness::model::{NodeId, Operations, Outcome, Point, StepRef, TaskId};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, Postgres};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::bank::{Bank, TRANSFERS};
use crate::contenders::setting::Setting;

/// How the changes of both accounts become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Both are in one database, and in one transaction.
    One,
    /// Both databases promise, then the coordinator writes down that it is to be done; what is in doubt waits for him.
    TwoPhase,
    /// Both promise, are told that both have, and then commit. Who hears no more commits if he was told, else gives up.
    ThreePhase(Participants),
}

/// What participants know of each other when the coordinator is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Participants {
    /// They ask each other: if one was told, both were meant.
    Ask,
    /// They cannot reach each other, and each decides by what it knows itself.
    Apart,
}

/// The coordinator of a process, and the participants' side of databases that only do as they are told.
pub(super) struct Transactions {
    clock: Clock,
    bank: Arc<Bank>,
    protocol: Protocol,
    runners: Mutex<BTreeMap<NodeId, Arc<dyn StepRunner>>>,
    /// What a transfer that is under way has changed so far.
    open: Mutex<HashMap<TaskId, Vec<Branch>>>,
    room: Semaphore,
    participants: Mutex<JoinSet<()>>,
}

impl std::fmt::Debug for Transactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transactions").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

/// The part of a transfer in one transaction.
struct Branch {
    connection: PoolConnection<Postgres>,
    account: i64,
    database: usize,
}

/// Why a branch did not get as far.
enum Trouble {
    /// The row's lock did not come in time.
    Late,
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        /// lock_not_available.
        const LATE: &str = "55P03";
        let late = error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == LATE);
        if late { Self::Late } else { Self::Failed(error) }
    }
}

impl Trouble {
    /// Of what has promised nothing yet.
    fn outcome(self) -> Outcome {
        match self {
            Self::Late => Outcome::TimedOut,
            Self::Failed(error) => Outcome::Failed(error.to_string()),
        }
    }
}

impl Branch {
    async fn begin(bank: &Bank, step: StepRef, left: Duration) -> Result<Self, Trouble> {
        let account = bank.account(step);
        let database = bank.database(account);
        let mut connection = bank.connection(database).await?;
        bank.count(1);
        sqlx::raw_sql("BEGIN").execute(&mut *connection).await?;
        let mut branch = Self { connection, account, database };
        match branch.lock(bank, account, left).await {
            Ok(()) => Ok(branch),
            Err(trouble) => {
                branch.roll_back(bank).await;
                Err(trouble)
            }
        }
    }

    async fn lock(&mut self, bank: &Bank, account: i64, left: Duration) -> Result<(), Trouble> {
        bank.count(2);
        sqlx::query("SELECT set_config('lock_timeout', $1, true)")
            .bind(format!("{}ms", left.as_millis().max(1)))
            .execute(&mut *self.connection)
            .await?;
        let row = sqlx::query("SELECT FROM account WHERE id = $1 FOR UPDATE");
        row.bind(account).execute(&mut *self.connection).await?;
        Ok(())
    }

    async fn change(&mut self, bank: &Bank, account: i64, amount: i64) -> sqlx::Result<()> {
        bank.count(1);
        let update = sqlx::query("UPDATE account SET balance = balance + $2 WHERE id = $1");
        update.bind(account).bind(amount).execute(&mut *self.connection).await.map(drop)
    }

    async fn say(&mut self, bank: &Bank, what: String) -> sqlx::Result<()> {
        bank.count(1);
        // Made of words of ours and of numbers.
        sqlx::raw_sql(AssertSqlSafe(what)).execute(&mut *self.connection).await.map(drop)
    }

    async fn roll_back(mut self, bank: &Bank) {
        if self.say(bank, "ROLLBACK".to_owned()).await.is_err() {
            // The server ends with the connection what it does not hear the end of.
            drop(self.connection.detach());
        }
    }
}

impl Transactions {
    pub(super) async fn start(
        bank: Arc<Bank>,
        protocol: Protocol,
        setting: &Setting,
    ) -> anyhow::Result<Self> {
        if protocol == Protocol::TwoPhase && setting.here.incarnation > 0 {
            settle(&bank, protocol, true, Duration::ZERO).await?;
        }
        let mut participants = JoinSet::new();
        if let Protocol::ThreePhase(_) = protocol {
            let (bank, detect) = (Arc::clone(&bank), setting.detect);
            participants.spawn(async move {
                loop {
                    sleep(detect / 4).await;
                    // A database that cannot be reached is asked again.
                    if let Err(error) = settle(&bank, protocol, false, detect).await {
                        tracing::debug!(%error, "what is in doubt stays so");
                    }
                }
            });
        }
        Ok(Self {
            clock: setting.clock.clone(),
            bank,
            protocol,
            runners: Mutex::default(),
            open: Mutex::default(),
            room: Semaphore::new(TRANSFERS as usize),
            participants: Mutex::new(participants),
        })
    }

    fn open(&self) -> MutexGuard<'_, HashMap<TaskId, Vec<Branch>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runner(&self, at: NodeId) -> Option<Arc<dyn StepRunner>> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).get(&at).cloned()
    }

    fn left(&self, deadline_ns: u64) -> Duration {
        Duration::from_nanos(deadline_ns.saturating_sub(self.clock.now_ns()))
    }

    async fn step(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Outcome {
        let Some(runner) = self.runner(at) else {
            return Outcome::Refused(format!("node {} is down", at.0));
        };
        let alone = || Entitlement { slot: Some(0), token: None, lease: Arc::new(NoLease) };
        if !self.bank.moves(step) {
            // Of a bystander: an answer of the database, and nobody is in its way.
            let asked = async {
                let mut connection = self.bank.connection(0).await?;
                sqlx::raw_sql("SELECT 1").execute(&mut *connection).await
            };
            return match asked.await {
                Ok(_) => runner.run(step, alone()).await,
                Err(error) => Outcome::Failed(error.to_string()),
            };
        }
        if step.step > 0 {
            return self.second(&*runner, step, alone(), deadline_ns).await;
        }
        let Ok(Ok(_turn)) = timeout(self.left(deadline_ns), self.room.acquire()).await else {
            return Outcome::TimedOut;
        };
        let branch = match Branch::begin(&self.bank, step, self.left(deadline_ns)).await {
            Ok(branch) => branch,
            Err(trouble) => return trouble.outcome(),
        };
        self.open().insert(step.task, vec![branch]);
        self.bank.gate.pass(Point::Begun).await;
        let outcome = runner.run(step, alone()).await;
        let branches = self.open().remove(&step.task).unwrap_or_default();
        if outcome != Outcome::Completed {
            self.roll_back(branches).await;
            return outcome;
        }
        self.finish(step, branches).await
    }

    /// The second account: in the transaction of the first where both are in one database, else in one of its own.
    async fn second(
        &self,
        runner: &dyn StepRunner,
        step: StepRef,
        alone: Entitlement,
        deadline_ns: u64,
    ) -> Outcome {
        let (bank, left) = (&*self.bank, self.left(deadline_ns));
        let account = bank.account(step);
        let common = (self.protocol == Protocol::One).then(|| self.open().remove(&step.task)).flatten();
        let begun = match common.and_then(|mut branches| branches.pop()) {
            Some(mut branch) => match branch.lock(bank, account, left).await {
                Ok(()) => Ok(branch),
                Err(trouble) => {
                    branch.roll_back(bank).await;
                    Err(trouble)
                }
            },
            None => Branch::begin(bank, step, left).await,
        };
        let mut branch = match begun {
            Ok(branch) => branch,
            Err(trouble) => return trouble.outcome(),
        };
        let mut outcome = runner.run(step, alone).await;
        if outcome == Outcome::Completed
            && let Err(error) = branch.change(bank, account, Bank::amount(step)).await
        {
            outcome = Outcome::Failed(error.to_string());
        }
        if outcome != Outcome::Completed {
            branch.roll_back(bank).await;
            return outcome;
        }
        self.open().entry(step.task).or_default().push(branch);
        bank.gate.pass(Point::FirstChanged).await;
        outcome
    }

    async fn roll_back(&self, branches: Vec<Branch>) {
        for branch in branches {
            branch.roll_back(&self.bank).await;
        }
    }

    /// Changes the first account, and makes one of both changes.
    async fn finish(&self, step: StepRef, mut branches: Vec<Branch>) -> Outcome {
        let bank = &*self.bank;
        let Some(first) = branches.first_mut() else {
            return Outcome::Failed("its transaction was rolled back".to_owned());
        };
        let changed = first.change(bank, bank.account(step), Bank::amount(step)).await;
        if let Err(error) = changed {
            self.roll_back(branches).await;
            return Outcome::Failed(error.to_string());
        }
        bank.gate.pass(Point::BothChanged).await;
        let ended = match self.protocol {
            Protocol::One => self.commit(branches).await,
            Protocol::TwoPhase | Protocol::ThreePhase(_) => {
                match self.prepare(step.task, &mut branches).await {
                    Ok(()) => self.commit_prepared(step.task, &branches).await,
                    Err(error) => {
                        // Those that have promised are let go of; those that have not end with their connections.
                        for branch in &branches {
                            drop(
                                bank.settle(branch.database, &bank.name(step.task, branch.account), false)
                                    .await,
                            );
                        }
                        self.roll_back(branches).await;
                        return Outcome::Failed(error.to_string());
                    }
                }
            }
        };
        // It may have happened, or will, or not.
        ended.map_or_else(|error| Outcome::Unknown(error.to_string()), |()| Outcome::Completed)
    }

    async fn commit(&self, branches: Vec<Branch>) -> sqlx::Result<()> {
        for mut branch in branches {
            branch.say(&self.bank, "COMMIT".to_owned()).await?;
        }
        Ok(())
    }

    async fn prepare(&self, task: TaskId, branches: &mut [Branch]) -> sqlx::Result<()> {
        let (bank, spans) = (&*self.bank, spans(branches));
        for (branch, then) in branches.iter_mut().zip([Point::FirstPrepared, Point::AllPrepared]) {
            let name = bank.name(task, branch.account);
            branch.say(bank, format!("PREPARE TRANSACTION '{name}'")).await?;
            if spans {
                bank.gate.pass(then).await;
            }
        }
        Ok(())
    }

    async fn commit_prepared(&self, task: TaskId, branches: &[Branch]) -> sqlx::Result<()> {
        let (bank, spans) = (&*self.bank, spans(branches));
        if self.protocol == Protocol::TwoPhase {
            bank.decide(task).await?;
            if spans {
                bank.gate.pass(Point::Decided).await;
            }
        } else {
            for (branch, then) in branches.iter().zip([Point::FirstPreCommitted, Point::AllPreCommitted]) {
                bank.pre_commit(branch.database, task).await?;
                if spans {
                    bank.gate.pass(then).await;
                }
            }
        }
        for (place, branch) in branches.iter().enumerate() {
            bank.settle(branch.database, &bank.name(task, branch.account), true).await?;
            if place == 0 && spans {
                bank.gate.pass(Point::FirstCommitted).await;
            }
        }
        Ok(())
    }
}

/// Whether a transfer is between both databases: one within a single one shows nothing of what can part them.
fn spans(branches: &[Branch]) -> bool {
    branches.windows(2).any(|pair| pair[0].database != pair[1].database)
}

/// Settles what has been in doubt for so long: of this node, or of all; how many transfers.
pub(super) async fn settle(bank: &Bank, protocol: Protocol, own: bool, since: Duration) -> sqlx::Result<u64> {
    let mut tasks = std::collections::BTreeSet::new();
    for database in 0..2 {
        for (name, task) in bank.in_doubt(database, own, since).await? {
            let commit = match protocol {
                Protocol::One => false,
                Protocol::TwoPhase => bank.is_decided(task).await?,
                Protocol::ThreePhase(Participants::Apart) => bank.is_pre_committed(database, task).await?,
                Protocol::ThreePhase(Participants::Ask) => {
                    bank.is_pre_committed(database, task).await?
                        || bank.is_pre_committed(1 - database, task).await?
                }
            };
            // Another node may have done so just now.
            if let Err(error) = bank.settle(database, &name, commit).await {
                tracing::debug!(%error, name, "a branch was settled by somebody else");
            }
            tasks.insert(task);
        }
    }
    Ok(tasks.len() as u64)
}

impl Mechanism for Transactions {
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).insert(node, runner);
    }

    fn gate(&self) -> Option<&Gate> {
        Some(&self.bank.gate)
    }

    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(self.step(at, step, deadline_ns))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.runners.lock().unwrap_or_else(PoisonError::into_inner).clear();
            let mut participants =
                std::mem::take(&mut *self.participants.lock().unwrap_or_else(PoisonError::into_inner));
            participants.shutdown().await;
            // Of tasks that were dropped.
            let left: Vec<Branch> = self.open().drain().flat_map(|(_, branches)| branches).collect();
            self.roll_back(left).await;
            self.bank.close().await;
        })
    }

    fn operations(&self) -> Option<Operations> {
        Some(Operations { load: self.bank.operations(), ..Operations::default() })
    }

    fn detection(&self) -> String {
        match self.protocol {
            Protocol::One => "the database rolls back when a node's connection ends".to_owned(),
            Protocol::TwoPhase => {
                "before it has promised, a database rolls back when the connection ends; after that it waits for the coordinator"
                    .to_owned()
            }
            Protocol::ThreePhase(_) => "a database that has promised and hears no more decides by itself".to_owned(),
        }
    }
}
