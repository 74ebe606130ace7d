//! The job queue as a mechanism of the harness.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use harness::engine::{BoxFuture, Entitlement, Mechanism, StepRunner};
use harness::model::{NodeId, Operations, Outcome, Plan, Promises, StepRef, Token};
use queue_lockfree::{
    Job, JobError, JobForm, JobHandler, JobNode, JobNodeOptions, JobOutcome, JobSubmission, OnWorkerLoss,
};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use crate::contenders::clock::NodeClock;
use crate::contenders::setting::Setting;
use crate::contenders::travel::{Held, decode, encode};

/// At the end of a run, for what still runs there.
const PATIENCE: Duration = Duration::from_secs(1);

/// In front of a step in a payload: the run's seed.
const SEED_BYTES: usize = 8;

/// A node of the job queue per node that lives here: its own workers and connections.
pub(super) struct JobMechanism {
    plan: Arc<Plan>,
    form: JobForm,
    run_seed: u64,
    detect: Duration,
    nodes: BTreeMap<NodeId, Seat>,
    /// Steps submitted here: of the plan, and of bystanders.
    submitted: (AtomicU64, AtomicU64),
}

/// The lives of one node in the job queue: one that was declared dead is followed by another.
struct Seat {
    options: JobNodeOptions,
    sections: Arc<Sections>,
    /// None before the first and after the last.
    current: Mutex<Option<Arc<JobNode>>>,
    /// Held while one is started.
    starting: tokio::sync::Mutex<()>,
    /// Operations of those that ended.
    operations: AtomicU64,
}

impl fmt::Debug for JobMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobMechanism").field("form", &self.form).finish_non_exhaustive()
    }
}

impl JobMechanism {
    pub(super) async fn start(form: JobForm, setting: &Setting) -> anyhow::Result<Self> {
        let mut nodes = BTreeMap::new();
        for &node in &setting.here.nodes {
            let own = setting.here.between.as_ref();
            let own = own.and_then(|between| between.endpoints.get(usize::from(node.0)));
            let url = own.or(setting.endpoint.as_ref()).context("jobs: no database for the queue")?;
            let now = Arc::new(NodeClock(setting.clock.clone()));
            let options = JobNodeOptions {
                detect: setting.detect,
                ..JobNodeOptions::new(url.as_str(), &format!("node-{}", node.0), form, now)
            };
            let seat = Seat {
                options,
                sections: Arc::new(Sections::new(setting.run_seed)),
                current: Mutex::default(),
                starting: tokio::sync::Mutex::default(),
                operations: AtomicU64::new(0),
            };
            seat.start().await.with_context(|| format!("jobs: cannot start node {}", node.0))?;
            nodes.insert(node, seat);
        }
        let plan = Arc::clone(&setting.plan);
        Ok(Self {
            plan,
            form,
            run_seed: setting.run_seed,
            detect: setting.detect,
            nodes,
            submitted: Default::default(),
        })
    }

    async fn submit(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Outcome {
        let (planned, bystanders) = &self.submitted;
        let submitted = if step.task.is_bystander() { bystanders } else { planned };
        submitted.fetch_add(1, Ordering::Relaxed);
        let down = || Outcome::Refused(format!("node {} is down", at.0));
        let Some(seat) = self.nodes.get(&at) else { return down() };
        let node = match seat.node().await {
            Ok(Some(node)) => node,
            Ok(None) => return down(),
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        // A server that ran before may still have jobs of other runs.
        let queue = format!("{:x}/{}", self.run_seed, self.plan.resource(step).key());
        // What is found or created may be looked for twice; every other step changes something each time.
        let idempotent = self.plan.step(step).create_ns.is_some();
        let on_worker_loss = if idempotent { OnWorkerLoss::Restart } else { OnWorkerLoss::GiveUp };
        let payload = [&self.run_seed.to_le_bytes()[..], &encode(step)].concat().into();
        let submission = JobSubmission { queue: &queue, payload, on_worker_loss, deadline_ns };
        let ticket = match node.enqueue(submission).await {
            Ok(ticket) => ticket,
            Err(error @ JobError::Unknown(_)) => return Outcome::Unknown(error.to_string()),
            Err(error) => return Outcome::Refused(error.to_string()),
        };
        match ticket.outcome().await {
            Ok(JobOutcome::Completed(outcome)) => serde_json::from_slice(&outcome).unwrap_or_else(|error| {
                Outcome::Unknown(format!("the worker's answer is not an outcome: {error}"))
            }),
            Ok(JobOutcome::Failed(reason)) => Outcome::Failed(reason),
            Ok(JobOutcome::TimedOut) => Outcome::TimedOut,
            Ok(lost @ (JobOutcome::WorkerLost | JobOutcome::IssuerLost | JobOutcome::GivenUp)) => {
                Outcome::Unknown(format!("the job ended as {}", lost.name()))
            }
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }
}

impl Seat {
    fn current(&self) -> MutexGuard<'_, Option<Arc<JobNode>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn alive(&self) -> Option<Arc<JobNode>> {
        self.current().clone().filter(|node| !node.ended().is_cancelled())
    }

    /// The node as it lives; a new life where others have declared the last one dead. `None`: it was shut down.
    async fn node(&self) -> Result<Option<Arc<JobNode>>, JobError> {
        if let Some(node) = self.alive() {
            return Ok(Some(node));
        }
        let _one_at_a_time = self.starting.lock().await;
        if self.alive().is_none() && self.current().is_some() {
            self.start().await?;
        }
        Ok(self.alive())
    }

    async fn start(&self) -> Result<(), JobError> {
        let node = JobNode::start(self.options.clone(), Arc::clone(&self.sections) as _).await?;
        let ended = self.current().replace(Arc::new(node));
        if let Some(ended) = ended {
            self.operations.fetch_add(ended.operations(), Ordering::Relaxed);
        }
        Ok(())
    }
}

impl Mechanism for JobMechanism {
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        if let Some(seat) = self.nodes.get(&node) {
            seat.sections.runner.set(runner).expect("a node is registered once");
        }
    }

    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(self.submit(at, step, deadline_ns))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for seat in self.nodes.values() {
                let node = seat.current().take();
                if let Some(node) = node.and_then(Arc::into_inner) {
                    node.shutdown(PATIENCE).await;
                }
                seat.sections.tasks.close();
                timeout(PATIENCE, seat.sections.tasks.wait()).await.ok();
            }
        })
    }

    /// A batch of statements serves whoever came just then, and a heartbeat all: each job's share counts as its own.
    fn operations(&self) -> Option<Operations> {
        let of = |seat: &Seat| {
            let current = seat.current().as_ref().map_or(0, |node| node.operations());
            current + seat.operations.load(Ordering::Relaxed)
        };
        let total: u64 = self.nodes.values().map(of).sum();
        let (planned, bystanders) = &self.submitted;
        let [planned, bystanders] = [planned, bystanders].map(|count| count.load(Ordering::Relaxed));
        let bystander =
            (total as u128 * u128::from(bystanders) / u128::from(planned + bystanders).max(1)) as u64;
        Some(Operations { load: total - bystander, bystander, renewal: 0 })
    }

    fn detection(&self) -> String {
        format!(
            "heartbeats in PostgreSQL every {0} ms, a node is suspected after {1} ms and declared dead {0} ms later",
            self.detect.as_millis() / 6,
            self.detect.as_millis()
        )
    }

    fn promises(&self) -> Promises {
        // Suspected, confirmed a round later, each found a round late at most; then the waiters must be woken.
        let free_within = self.detect + self.detect / 2 + Duration::from_secs(1);
        let free_within_ns = Some(free_within.as_nanos() as u64);
        Promises { free_within_ns, runs_again: true, ..Promises::default() }
    }
}

/// What a worker does with a job: the runner of its node runs the step.
struct Sections {
    runner: OnceLock<Arc<dyn StepRunner>>,
    run_seed: u64,
    /// A worker that is stopped lets go of its job; the section, once inside, goes on to its end all the same.
    tasks: TaskTracker,
}

impl Sections {
    fn new(run_seed: u64) -> Self {
        Self { runner: OnceLock::new(), run_seed, tasks: TaskTracker::new() }
    }
}

impl JobHandler for Sections {
    fn run(&self, job: Job) -> queue_lockfree::BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let of_this_run = |(seed, step): (&[u8; SEED_BYTES], &[u8])| {
                decode(step).filter(|_| u64::from_le_bytes(*seed) == self.run_seed)
            };
            let step = job.payload.split_first_chunk().and_then(of_this_run);
            let (Some(step), Some(runner)) = (step, self.runner.get().cloned()) else {
                return Err("no step of this run".to_owned());
            };
            let token = Token { generation: 0, sequence: job.token };
            let entitlement =
                Entitlement { slot: Some(0), token: Some(token), lease: Arc::new(Held(job.lost)) };
            let section = self.tasks.spawn(async move { runner.run(step, entitlement).await });
            let outcome = section.await.map_err(|error| error.to_string())?;
            Ok(serde_json::to_vec(&outcome).expect("an outcome is plain data").into())
        })
    }
}
