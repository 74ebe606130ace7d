//! Advisory locks of PostgreSQL as services take them that have a pool of connections: a lock takes one for as long as it is held,
//! and the work that it protects needs another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::{BoxFuture, Clock, Entitlement, Mechanism, NoLease, StepRunner};
use harness::model::{Mode, NodeId, Operations, Outcome, Plan, ReleaseRet, Resource, StepRef};
use harness::record::{Role, Survives};
use harness::servers::ServerKind;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use tokio::time::timeout;

use super::contender::{Contender, Design};
use super::setting::Setting;
use crate::spec::{Class, ScenarioSpec};

/// Connections of a node's pool, as frameworks come with; summaries say so.
const POOL: u32 = 10;

/// For a connection: longer than any task waits, which gives up by its own deadline.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Statements of one step: the transaction begins and ends, how long it waits, the lock, and what the work asks.
const STATEMENTS: u64 = 5;

pub(super) fn contenders() -> Vec<Contender> {
    let contender = |of: Connections, name, summary| Contender {
        name,
        summary,
        role: Role::Contender,
        server: Some(ServerKind::named("postgres")),
        survives: Survives {
            node_crash: "no lease: the server frees the key when the connection ends".to_owned(),
            server_kill: "no: locks are in the server's memory".to_owned(),
            power_loss: "no: locks are in the server's memory".to_owned(),
        },
        design: Arc::new(of),
    };
    vec![
        contender(
            Connections::Shared,
            "pg-pool-shared",
            "pg_advisory_xact_lock on a connection of the node's pool of ten, from which the work takes its own too",
        ),
        contender(
            Connections::Apart,
            "pg-pool-apart",
            "as pg-pool-shared, but locks and work have a pool of ten each",
        ),
        contender(
            Connections::Each,
            "pg-connection-each",
            "pg_advisory_xact_lock on a connection for everybody who waits, as many as the server takes",
        ),
    ]
}

/// From where a lock and the work under it have their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connections {
    Shared,
    Apart,
    Each,
}

impl Design for Connections {
    fn class(&self) -> Class {
        Class::Unleased
    }

    fn refuses(&self, spec: &ScenarioSpec) -> Option<String> {
        if let Some((kind, resource)) = spec.resources.iter().find(|(_, resource)| resource.level != 1) {
            return Some(format!(
                "it locks one by one, and {} has level {}, not 1",
                kind.name(),
                resource.level
            ));
        }
        if spec.tasks.iter().any(|task| task.step.mode == Mode::Shared || !task.step.steps.is_empty()) {
            return Some(
                "it is about steps that are alone and take one lock, so that they need two connections"
                    .to_owned(),
            );
        }
        spec.servers.contains_key("postgres").then(|| {
            "it may take all connections that a server has, and those of others: leave --postgres out"
                .to_owned()
        })
    }

    fn build<'a>(&'a self, setting: &'a Setting) -> BoxFuture<'a, anyhow::Result<Arc<dyn Mechanism>>> {
        Box::pin(async move { Ok(Arc::new(Pooled::of(*self, setting)?) as Arc<dyn Mechanism>) })
    }
}

/// The nodes of one process.
struct Pooled {
    plan: Arc<Plan>,
    clock: Clock,
    /// Of each node: where locks have their connections, and where work has.
    pools: BTreeMap<NodeId, (PgPool, PgPool)>,
    runners: Mutex<BTreeMap<NodeId, Arc<dyn StepRunner>>>,
    asked: AtomicU64,
    probed: AtomicU64,
}

impl fmt::Debug for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pooled").finish_non_exhaustive()
    }
}

impl Pooled {
    fn of(connections: Connections, setting: &Setting) -> anyhow::Result<Self> {
        let between = setting.here.between.as_ref();
        let mut pools = BTreeMap::new();
        for &node in &setting.here.nodes {
            let own = between.and_then(|between| between.endpoints.get(usize::from(node.0)));
            let url = own.or(setting.endpoint.as_ref()).context("pools: no database")?;
            // The library's error could repeat the password.
            let options: PgConnectOptions =
                url.as_str().parse().map_err(|_: sqlx::Error| anyhow::anyhow!("pools: the URL is none"))?;
            let pool = |most: u32| {
                let pool = PgPoolOptions::new().max_connections(most).acquire_timeout(PATIENCE);
                pool.test_before_acquire(false).connect_lazy_with(options.clone().disable_statement_logging())
            };
            pools.insert(
                node,
                match connections {
                    Connections::Shared => {
                        let pool = pool(POOL);
                        (pool.clone(), pool)
                    }
                    Connections::Apart => (pool(POOL), pool(POOL)),
                    Connections::Each => (pool(u32::from(u16::MAX)), pool(POOL)),
                },
            );
        }
        Ok(Self {
            plan: Arc::clone(&setting.plan),
            clock: setting.clock.clone(),
            pools,
            runners: Mutex::default(),
            asked: AtomicU64::new(0),
            probed: AtomicU64::new(0),
        })
    }

    fn left(&self, deadline_ns: u64) -> Duration {
        Duration::from_nanos(deadline_ns.saturating_sub(self.clock.now_ns()))
    }

    /// Locks, works and unlocks, each with what is left until the deadline.
    async fn step(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Outcome {
        let runner = self.runners.lock().unwrap_or_else(PoisonError::into_inner).get(&at).cloned();
        let (Some(runner), Some((locks, work))) = (runner, self.pools.get(&at)) else {
            return Outcome::Refused(format!("node {} is down", at.0));
        };
        let counter = if step.task.is_bystander() { &self.probed } else { &self.asked };
        counter.fetch_add(STATEMENTS, Ordering::Relaxed);
        let mut held = match timeout(self.left(deadline_ns), locks.begin()).await {
            Ok(Ok(held)) => held,
            Ok(Err(error)) => return Outcome::Failed(error.to_string()),
            Err(_) => return Outcome::TimedOut,
        };
        if let Err(error) = lock(&mut held, self.plan.resource(step), self.left(deadline_ns)).await {
            return match is_late(&error) {
                true => Outcome::TimedOut,
                false => Outcome::Failed(error.to_string()),
            };
        }
        let asked = async {
            let mut connection = work.acquire().await?;
            sqlx::raw_sql("SELECT 1").execute(&mut *connection).await.map(|_| connection)
        };
        // The work keeps its connection as long as it lasts. Without one nothing is done, and the lock is given back.
        let outcome = match timeout(self.left(deadline_ns), asked).await {
            Ok(Ok(_connection)) => {
                let entitlement = Entitlement { slot: Some(0), token: None, lease: Arc::new(NoLease) };
                runner.run(step, entitlement).await
            }
            Ok(Err(error)) => return Outcome::Failed(error.to_string()),
            Err(_) => return Outcome::TimedOut,
        };
        runner.release_sent(step);
        let ret = match held.commit().await {
            Ok(()) => ReleaseRet::Released,
            Err(error) => ReleaseRet::Unknown(error.to_string()),
        };
        runner.released(step, ret);
        outcome
    }
}

/// Waits for the lock of a resource, which ends with the transaction.
async fn lock(
    held: &mut sqlx::Transaction<'static, sqlx::Postgres>,
    resource: Resource,
    left: Duration,
) -> sqlx::Result<()> {
    sqlx::query("SELECT set_config('lock_timeout', $1, true)")
        .bind(format!("{}ms", left.as_millis().max(1)))
        .execute(&mut **held)
        .await?;
    let lock = sqlx::query("SELECT pg_advisory_xact_lock($1, $2)");
    lock.bind(resource.kind as i32).bind(resource.id as i32).execute(&mut **held).await.map(drop)
}

/// Whether the lock did not come in time.
fn is_late(error: &sqlx::Error) -> bool {
    /// lock_not_available.
    const LATE: &str = "55P03";
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == LATE)
}

impl Mechanism for Pooled {
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).insert(node, runner);
    }

    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(self.step(at, step, deadline_ns))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.runners.lock().unwrap_or_else(PoisonError::into_inner).clear();
            for (locks, work) in self.pools.values() {
                // Whoever does not answer is gone with the process.
                drop(
                    timeout(Duration::from_secs(5), async { tokio::join!(locks.close(), work.close()) })
                        .await,
                );
            }
        })
    }

    fn operations(&self) -> Option<Operations> {
        let (load, bystander) = (self.asked.load(Ordering::Relaxed), self.probed.load(Ordering::Relaxed));
        Some(Operations { load, bystander, renewal: 0 })
    }

    fn detection(&self) -> String {
        "no lease".to_owned()
    }
}
