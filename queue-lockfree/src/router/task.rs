//! A task as its submitter and its handler see it.

use bytes::Bytes;

use crate::future::BoxFuture;
use crate::queue::Entitlement;
use crate::ring::NodeId;

/// What runs a task at its owner; one per node.
pub trait Handler: Send + Sync + 'static {
    /// Runs a task and returns its answer. Called when the task has its slot, which it keeps until the future ends;
    /// submitting other tasks meanwhile, here or elsewhere, is what nested holds are. It must not block: the first poll
    /// may happen where requests are taken in.
    ///
    /// A panic frees the slot and fails the task alone. The future is dropped halfway only when the node is stopped
    /// and does not end in time; the submitter is then told that the outcome is unknown.
    fn run(&self, delivery: Delivery) -> BoxFuture<'_, Bytes>;
}

/// A [`Handler`] from a closure; what `run` returns is the task. See the example of the [crate].
pub fn handler_fn<F, W>(run: F) -> impl Handler
where
    F: Fn(Delivery) -> W + Send + Sync + 'static,
    W: Future<Output = Bytes> + Send + 'static,
{
    HandlerFn(run)
}

struct HandlerFn<F>(F);

impl<F, W> Handler for HandlerFn<F>
where
    F: Fn(Delivery) -> W + Send + Sync + 'static,
    W: Future<Output = Bytes> + Send + 'static,
{
    fn run(&self, delivery: Delivery) -> BoxFuture<'_, Bytes> {
        Box::pin((self.0)(delivery))
    }
}

/// A task whose turn has come.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its key.
    pub key: String,
    /// As submitted.
    pub payload: Bytes,
    /// As submitted, in ns. It bounded the wait; the task may run past it.
    pub deadline_ns: u64,
    /// Epoch of the owner's view when it accepted the task.
    pub epoch: u64,
    /// Slot, token and lost signal.
    pub entitlement: Entitlement,
}

/// Why a task has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// A bound on waiting tasks, or on calls to one node, is reached. It did not run.
    #[error("the queue is full: submit later, or raise QueueLimits or RouterLimits::calls")]
    QueueFull,
    /// The deadline passed, and the task is proven not to run.
    #[error("the deadline passed before the task was started")]
    TimedOut,
    /// The owner cannot be reached, or stops. The task did not run.
    #[error("node {node} is unavailable; submit again once the ring has another owner")]
    NodeUnavailable {
        /// The owner.
        node: NodeId,
    },
    /// The views of the nodes differ: the owner was not found with one redirect. The task did not run.
    #[error("the owner of the key was not found: the views of the nodes differ; submit again shortly")]
    WrongOwner,
    /// The task may have run, or may yet run.
    #[error("the task may have run: {0}; look at its resource before you submit it again")]
    Unknown(String),
    /// This node stops. The task did not run.
    #[error("the node is shut down; submit to another one")]
    Shutdown,
    /// The handler panicked, the task or its answer is larger than a frame, or its queue was purged.
    #[error("the task failed: {0}")]
    Failed(String),
}
