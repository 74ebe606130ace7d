//! A job as its issuer and its handler see it.

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::future::BoxFuture;

/// Longest name of a queue or of a node, in bytes.
pub const NAME_BYTES: usize = 255;

/// Longest payload and longest result, in bytes.
pub const PAYLOAD_BYTES: usize = 1 << 20;

/// How often a job is started at most that may be started again: what kills the process of its worker would otherwise visit
/// node after node, for ever. The schema has the same number.
pub const ATTEMPTS_MAX: u32 = 5;

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

    pub(super) fn is_sticky(self) -> bool {
        self == Self::Faithful
    }
}

/// What becomes of a job whose worker dies while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OnWorkerLoss {
    /// It is started again elsewhere, [`ATTEMPTS_MAX`] times in all: at least once, so its effects must be idempotent.
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

impl<'a> JobSubmission<'a> {
    /// A job without deadline that is started at most once.
    pub fn new(queue: &'a str, payload: impl Into<Bytes>) -> Self {
        let (payload, on_worker_loss) = (payload.into(), OnWorkerLoss::GiveUp);
        Self { queue, payload, on_worker_loss, deadline_ns: u64::MAX }
    }

    /// The same with a deadline, in ns on the node's clock: [`Now::deadline_in`](crate::Now::deadline_in) makes one.
    pub fn until(self, deadline_ns: u64) -> Self {
        Self { deadline_ns, ..self }
    }

    /// The same, to be started again when its worker dies: its effects must be idempotent.
    pub fn restartable(self) -> Self {
        Self { on_worker_loss: OnWorkerLoss::Restart, ..self }
    }
}

/// How a job ended. Each job has exactly one, written once, whoever dies.
#[must_use = "only the outcome says whether the job was done"]
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
    /// It may be started again, but was [`ATTEMPTS_MAX`] times, and each time its worker died while it ran: it may well be
    /// what kills them. It may have had effects.
    GivenUp,
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
            Self::GivenUp => "given-up",
        }
    }

    /// What its row holds.
    pub(super) fn result(&self) -> Option<&[u8]> {
        match self {
            Self::Completed(result) => Some(result),
            Self::Failed(reason) => Some(reason.as_bytes()),
            Self::WorkerLost | Self::IssuerLost | Self::TimedOut | Self::GivenUp => None,
        }
    }

    /// [`JobOutcome::name`] and [`JobOutcome::result`] reversed.
    pub(super) fn from_row(state: &str, result: Option<Vec<u8>>) -> Option<Self> {
        let result = result.unwrap_or_default();
        Some(match state {
            "completed" => Self::Completed(result.into()),
            "failed" => Self::Failed(String::from_utf8_lossy(&result).into_owned()),
            "worker-lost" => Self::WorkerLost,
            "issuer-lost" => Self::IssuerLost,
            "timed-out" => Self::TimedOut,
            "given-up" => Self::GivenUp,
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
    #[error("a payload has at most {PAYLOAD_BYTES} bytes: send what names it instead")]
    Payload,
    /// In the faithful form an issuer runs the queues that it makes, so it needs workers.
    #[error("a node of the faithful form has at least one worker")]
    NoWorkers,
    /// [`JobNodeOptions::open`](crate::JobNodeOptions::open) submissions wait for their outcome. It was not submitted.
    #[error("too many jobs of this node are open: submit later, or raise JobNodeOptions::open")]
    QueueFull,
    /// The job may have been submitted, may run and may have run: the database, or this node, went away for too long.
    #[error("the job may have run: {0}; look at its effects before you submit it again")]
    Unknown(String),
    /// The node stops. Of a ticket: the job goes on without its issuer.
    #[error("the node is shut down; submit to another one")]
    Shutdown,
    /// Others declared this node dead. It was not submitted; start a new node.
    #[error("this node was declared dead by others; start a new one")]
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

/// A [`JobHandler`] from a closure.
pub fn job_handler_fn<F, W>(run: F) -> impl JobHandler
where
    F: Fn(Job) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Bytes, String>> + Send + 'static,
{
    JobHandlerFn(run)
}

struct JobHandlerFn<F>(F);

impl<F, W> JobHandler for JobHandlerFn<F>
where
    F: Fn(Job) -> W + Send + Sync + 'static,
    W: Future<Output = Result<Bytes, String>> + Send + 'static,
{
    fn run(&self, job: Job) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin((self.0)(job))
    }
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

pub(super) fn check_name(name: &str) -> Result<(), JobError> {
    let fits = (1..=NAME_BYTES).contains(&name.len()) && !name.contains('\0');
    if fits { Ok(()) } else { Err(JobError::Name) }
}
