//! Jobs in the database: order for what no ring can own, because it does not exist yet.
//!
//! The job queue of the original, on Postgres. A job is a queue's name and bytes; it may be submitted at any
//! [`JobNode`], runs at one of them, alone in its queue and in order of submission, and its outcome is told to the
//! issuer. Nodes notice each other's death by a heartbeat on the database's clock, and take over.

mod database;
mod issuer;
mod liveness;
mod outcomes;
mod worker;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::issuer::Ticket;

use self::database::{Database, Trouble};
use self::issuer::{Issuer, Order};
use self::liveness::Liveness;
use self::worker::Roster;
use crate::future::BoxFuture;
use crate::now::Now;

/// Longest name of a queue or of a node, in bytes.
pub const NAME_BYTES: usize = 255;

/// Longest payload and longest result, in bytes.
pub const PAYLOAD_BYTES: usize = 1 << 20;

/// Submissions, and turns of workers, in one transaction.
const BATCH: usize = 64;

/// How the queues are worked through. All nodes on one database use the same form. Submissions of a node that come
/// together share a transaction, and so do the turns of its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobForm {
    /// As the original: one lock for everything, taken to submit jobs and again to start them. The node whose submission
    /// makes a queue runs it until it is drained. When it dies, a survivor becomes the queue's worker; pending jobs of
    /// dead issuers are then dropped.
    Faithful,
    /// A row lock per queue. Each job runs at whichever node finds it first, the oldest job of an idle queue before
    /// others. A job outlives its issuer.
    SkipLocked,
}

impl JobForm {
    /// Both.
    pub const ALL: &[Self] = &[Self::Faithful, Self::SkipLocked];

    /// The word of command lines and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Faithful => "faithful",
            Self::SkipLocked => "skip-locked",
        }
    }

    fn is_sticky(self) -> bool {
        self == Self::Faithful
    }
}

/// What becomes of a job whose worker dies while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnWorkerLoss {
    /// It is started again elsewhere: at least once, so its effects must be idempotent.
    Restart,
    /// It ends as [`JobOutcome::WorkerLost`]: at most once.
    GiveUp,
}

/// What a caller asks of the job queue.
#[derive(Clone, Debug)]
pub struct JobSubmission<'a> {
    /// The queue, 1 to [`NAME_BYTES`] bytes: jobs of one name run one at a time.
    pub queue: &'a str,
    /// What the handler is given, at most [`PAYLOAD_BYTES`].
    pub payload: Bytes,
    /// Whether it may be started twice.
    pub on_worker_loss: OnWorkerLoss,
    /// When the wait for its start ends, in ns on the node's clock; `u64::MAX` = never. A started job is not bound by
    /// it.
    pub deadline_ns: u64,
}

/// How a job ended. Each job has exactly one, written once, whoever dies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobOutcome {
    /// The handler returned this.
    Completed(Bytes),
    /// The handler returned this error, panicked, or returned more than [`PAYLOAD_BYTES`].
    Failed(String),
    /// The worker died while the job ran, and it may not be started again. It may have had effects.
    WorkerLost,
    /// Faithful form: the issuer was declared dead before the job was done, and its queue was taken over.
    IssuerLost,
    /// The deadline passed before it was started; it never is.
    TimedOut,
}

impl JobOutcome {
    /// The word of logs and records.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::WorkerLost => "worker-lost",
            Self::IssuerLost => "issuer-lost",
            Self::TimedOut => "timed-out",
        }
    }

    /// What its row holds.
    fn result(&self) -> Option<&[u8]> {
        match self {
            Self::Completed(result) => Some(result),
            Self::Failed(reason) => Some(reason.as_bytes()),
            Self::WorkerLost | Self::IssuerLost | Self::TimedOut => None,
        }
    }

    /// [`JobOutcome::name`] and [`JobOutcome::result`] reversed.
    fn from_row(state: &str, result: Option<Vec<u8>>) -> Option<Self> {
        let result = result.unwrap_or_default();
        Some(match state {
            "completed" => Self::Completed(result.into()),
            "failed" => Self::Failed(String::from_utf8_lossy(&result).into_owned()),
            "worker-lost" => Self::WorkerLost,
            "issuer-lost" => Self::IssuerLost,
            "timed-out" => Self::TimedOut,
            _ => return None,
        })
    }
}

/// Why a caller does not learn an outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobError {
    /// The queue's name is empty, too long, or holds a NUL. It was not submitted.
    #[error("a queue's name has 1 to {NAME_BYTES} bytes and no NUL")]
    Name,
    /// It was not submitted.
    #[error("a payload has at most {PAYLOAD_BYTES} bytes")]
    Payload,
    /// In the faithful form an issuer runs the queues that it makes, so it needs workers.
    #[error("a node of the faithful form has at least one worker")]
    NoWorkers,
    /// [`JobNodeOptions::open`] submissions wait for their outcome. It was not submitted.
    #[error("too many jobs of this node are open")]
    QueueFull,
    /// The job may have been submitted, may run and may have run: the database, or this node, went away for too long.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The node stops. Of a [`Ticket`]: the job goes on without its issuer.
    #[error("the node is shut down")]
    Shutdown,
    /// Others declared this node dead. It was not submitted; start a new node.
    #[error("this node was declared dead by others")]
    Evicted,
    /// The database refuses what no retry will change.
    #[error("the database refuses: {0}")]
    Database(String),
}

/// What runs jobs; one per node.
pub trait JobHandler: Send + Sync + 'static {
    /// Runs a job. An error or a panic fails this job alone; the queue goes on with the next.
    ///
    /// The future is dropped halfway only when the node is stopped or evicted; the job is then taken over.
    fn run(&self, job: Job) -> BoxFuture<'_, Result<Bytes, String>>;
}

/// A job whose turn has come.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its number in the database; rises within a queue in the order of submission.
    pub id: i64,
    /// Its queue.
    pub queue: String,
    /// As submitted.
    pub payload: Bytes,
    /// 1 at its first start. Above that, an earlier worker died, and may have had effects.
    pub attempt: u32,
    /// Fencing token: rises with every start of a job in this queue.
    pub token: u64,
    /// Cancelled when others may have declared this node dead. The result is then written only if they have not.
    pub lost: CancellationToken,
}

/// How a node is started.
#[derive(Clone, Debug)]
pub struct JobNodeOptions {
    /// `postgres://…`; the role must be allowed to create a schema.
    pub url: String,
    /// The node's name, 1 to [`NAME_BYTES`] bytes. Who starts under a name ends the former life of that name.
    pub name: String,
    /// How queues are worked through.
    pub form: JobForm,
    /// Jobs that run here at a time; 0 = an issuer only, which the faithful form does not have.
    pub workers: usize,
    /// For how long a node may be silent before others suspect it. It is declared dead a sixth of that later, unless
    /// it is heard of.
    pub detect: Duration,
    /// How often to look for work and outcomes of which no notification came.
    pub poll: Duration,
    /// For how long after its deadline a caller waits for a database that does not answer.
    pub grace: Duration,
    /// Submissions that may wait for their outcome.
    pub open: usize,
    /// For how long the outcome of a job is kept whose issuer is dead.
    pub retain: Duration,
    /// The clock that deadlines are on.
    pub now: Arc<dyn Now>,
}

impl JobNodeOptions {
    /// 4 workers, 2 s to detect a death, a look every half second, 5 s of grace, 100,000 open submissions, outcomes of
    /// dead issuers kept for a minute.
    pub fn new(url: &str, name: &str, form: JobForm, now: Arc<dyn Now>) -> Self {
        Self {
            url: url.to_owned(),
            name: name.to_owned(),
            form,
            workers: 4,
            detect: Duration::from_secs(2),
            poll: Duration::from_millis(500),
            grace: Duration::from_secs(5),
            open: 100_000,
            retain: Duration::from_secs(60),
            now,
        }
    }
}

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
/// It holds five connections. Dropping it without [`JobNode::shutdown`] stops it where it is; others take over once it has
/// been silent for long enough.
pub struct JobNode {
    shared: Arc<Shared>,
    tasks: TaskTracker,
    _stop_on_drop: DropGuard,
}

/// What all tasks of a node share.
struct Shared {
    id: i64,
    options: JobNodeOptions,
    database: Database,
    liveness: Liveness,
    issuer: Issuer,
    roster: Roster,
    /// Workers start nothing new.
    draining: CancellationToken,
    /// Everything ends now. Also when others have declared this node dead.
    stop: CancellationToken,
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
        tasks.spawn(liveness::keep(Arc::clone(&shared)));
        tasks.spawn(outcomes::listen(Arc::clone(&shared)));
        tasks.spawn(issuer::submit(Arc::clone(&shared), orders));
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
        let (reply, entered) = tokio::sync::oneshot::channel();
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

impl Shared {
    /// Why a caller gets no answer any more.
    fn ended(&self) -> JobError {
        if self.liveness.is_evicted() { JobError::Evicted } else { JobError::Shutdown }
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
        sleep(database::RETRY).await;
    }
}

fn check_name(name: &str) -> Result<(), JobError> {
    let fits = (1..=NAME_BYTES).contains(&name.len()) && !name.contains('\0');
    if fits { Ok(()) } else { Err(JobError::Name) }
}

/// Fills a batch with what has been sent by then. Who was served together asks again together, given a chance. False:
/// nobody asks any more. Cancel safe: what was taken out is in the batch.
async fn gather<T>(from: &mut mpsc::Receiver<T>, batch: &mut Vec<T>) -> bool {
    if from.recv_many(batch, BATCH).await == 0 {
        return false;
    }
    yield_now().await;
    while batch.len() < BATCH
        && let Ok(next) = from.try_recv()
    {
        batch.push(next);
    }
    true
}
