//! A node of the job queue: what starts its tasks, and what callers ask of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::database::{Database, RETRY, Trouble};
use super::issuer::Issuer;
use super::job::{
    JobError, JobForm, JobHandler, JobOutcome, JobSubmission, OnWorkerLoss, PAYLOAD_BYTES, check_name,
};
use super::liveness::Liveness;
use super::options::JobNodeOptions;
use super::roster::Roster;
use super::rows::Order;
use super::shared::Shared;
use super::ticket::Ticket;
use super::{heartbeat, outcomes, submitter, worker};

/// A node of the job queue: issuer of jobs and, with workers, the one that runs them.
///
/// ```text
/// issuer A   submit ──▶ row: pending                        ┌──▶ outcome told, row removed when A has it
/// worker B              └─▶ running(B, token 7)  ✗ killed   │
/// node C     heartbeat:        B silent, B's row deleted ─▶ pending ─▶ running(C, token 8) ─▶ completed
/// worker B                                             late result with token 7: refused
/// ```
///
/// Invariant: a job's state leaves `pending` and `running` once, and only by the worker whose token it holds, by who
/// took it over, or by its deadline.
///
/// It holds five connections. Several owners of one node share it in an [`Arc`]. Dropping it without [`JobNode::shutdown`] stops it where it is; others take over once it has
/// been silent for long enough.
#[must_use = "a dropped node stops"]
pub struct JobNode {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

impl JobNode {
    /// Brings the schema up to date, enters the node, takes over what its former life and other dead nodes left, and
    /// starts to work. Waits for a database that does not answer, at most [`JobNodeOptions::grace`]. Needs a tokio
    /// runtime, and runs handlers on it.
    ///
    /// # Errors
    ///
    /// [`JobError::Name`]; [`JobError::NoWorkers`]; [`JobError::Database`] when it cannot be reached, refuses the schema, or is in use by nodes of
    /// the other form.
    pub async fn start(options: JobNodeOptions, handler: Arc<dyn JobHandler>) -> Result<Self, JobError> {
        check_name(&options.name)?;
        if options.form.is_sticky() && options.workers == 0 {
            return Err(JobError::NoWorkers);
        }
        let database = Database::new(&options)?;
        let entering = timeout(options.grace, enter(&database, &options));
        let id = entering.await.map_err(|_| JobError::Database("no answer".to_owned()))??;
        let stop = CancellationToken::new();
        let (issuer, orders) = Issuer::new(&options);
        let shared = Arc::new(Shared {
            id,
            database,
            liveness: Liveness::new(&stop),
            issuer,
            roster: Roster::default(),
            draining: stop.child_token(),
            stop: stop.clone(),
            options,
        });
        let tasks = TaskTracker::new();
        tasks.spawn(heartbeat::keep(Arc::clone(&shared)));
        tasks.spawn(outcomes::listen(Arc::clone(&shared)));
        tasks.spawn(submitter::submit(Arc::clone(&shared), orders));
        tasks.spawn(outcomes::collect(Arc::clone(&shared)));
        let (turns, requests) = mpsc::channel(shared.options.workers.max(1));
        tasks.spawn(worker::take_turns(Arc::clone(&shared), requests));
        for slot in 0..shared.options.workers {
            tasks.spawn(worker::work(Arc::clone(&shared), slot, Arc::clone(&handler), turns.clone()));
        }
        tasks.close();
        Ok(Self { shared, tasks, _stop_on_drop: stop.drop_guard() })
    }

    /// Submits a job and waits for its outcome: [`JobNode::enqueue`] and [`Ticket::outcome`] in one.
    ///
    /// Cancel safe: a dropped future leaves a job that was submitted to run without anybody who is told.
    ///
    /// # Errors
    ///
    /// As [`JobNode::enqueue`] and [`Ticket::outcome`].
    pub async fn submit(&self, submission: JobSubmission<'_>) -> Result<JobOutcome, JobError> {
        self.enqueue(submission).await?.outcome().await
    }

    /// Submits a job and returns when the database has it: from then on it ends in exactly one outcome. Jobs that one
    /// caller submits one after the other start in that order.
    ///
    /// Cancel safe: the job is submitted or not, as for [`JobNode::submit`].
    ///
    /// # Errors
    ///
    /// [`JobError::Unknown`] if the node ended meanwhile, or the database gave no answer until grace after the deadline;
    /// the other errors mean that there is no such job.
    pub async fn enqueue(&self, submission: JobSubmission<'_>) -> Result<Ticket, JobError> {
        check_name(submission.queue)?;
        if submission.payload.len() > PAYLOAD_BYTES {
            return Err(JobError::Payload);
        }
        if self.shared.draining.is_cancelled() {
            return Err(self.shared.ended());
        }
        let ticket = Ticket::register(&self.shared, submission.deadline_ns)?;
        let JobSubmission { queue, payload, on_worker_loss, deadline_ns } = submission;
        let (queue, restartable) = (queue.to_owned(), on_worker_loss == OnWorkerLoss::Restart);
        let (reply, entered) = oneshot::channel();
        let order = Order { number: ticket.number(), queue, payload, restartable, deadline_ns, reply };
        if self.shared.issuer.orders.send(order).await.is_err() {
            return Err(self.shared.ended());
        }
        entered.await.unwrap_or_else(|_| Err(JobError::Unknown("the node ended meanwhile".to_owned())))?;
        Ok(ticket)
    }

    /// Results so far that were not written because the job had been taken away from this node.
    pub fn refused_results(&self) -> u64 {
        self.shared.roster.refused()
    }

    /// Statements sent to the database so far, each a round trip and a transaction.
    pub fn operations(&self) -> u64 {
        self.shared.database.operations()
    }

    /// Cancelled when the node has ended: by [`JobNode::shutdown`], or because others declared it dead.
    pub fn ended(&self) -> CancellationToken {
        self.shared.stop.clone()
    }

    /// Starts no more jobs, gives those that run `patience` to end, and leaves: others take over the rest at once.
    pub async fn shutdown(self, patience: Duration) {
        self.shared.draining.cancel();
        self.shared.roster.wake_all();
        let idle = self.shared.stop.run_until_cancelled(self.shared.roster.idle());
        timeout(patience, idle).await.ok();
        self.shared.stop.cancel();
        self.tasks.wait().await;
        let leaving = self.shared.database.leave(self.shared.id, self.shared.options.form);
        if !matches!(timeout(self.shared.options.detect, leaving).await, Ok(Ok(()))) {
            tracing::warn!(node = self.shared.options.name, "did not leave; others will notice its silence");
        }
    }
}

impl fmt::Debug for JobNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.shared.options;
        f.debug_struct("JobNode")
            .field("name", &options.name)
            .field("form", &options.form)
            .finish_non_exhaustive()
    }
}

async fn enter(database: &Database, options: &JobNodeOptions) -> Result<i64, JobError> {
    loop {
        match database.enter(options).await {
            Ok(Some(id)) => return Ok(id),
            Ok(None) => {
                let other = JobForm::ALL.iter().find(|form| **form != options.form).expect("there are two");
                return Err(JobError::Database(format!(
                    "it is in use by nodes of the form {}",
                    other.name()
                )));
            }
            Err(Trouble::Refused(reason)) => return Err(JobError::Database(reason)),
            Err(trouble) => tracing::debug!(%trouble, "cannot enter yet"),
        }
        sleep(RETRY).await;
    }
}
