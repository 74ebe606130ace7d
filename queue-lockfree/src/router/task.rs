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
    #[error("the queue is full")]
    QueueFull,
    /// The deadline passed, and the task is proven not to run.
    #[error("the deadline passed before the task was started")]
    TimedOut,
    /// The owner cannot be reached, or stops. The task did not run.
    #[error("node {node} is unavailable")]
    NodeUnavailable {
        /// The owner.
        node: NodeId,
    },
    /// The views of the nodes differ: the owner was not found with one redirect. The task did not run.
    #[error("the owner of the key was not found")]
    WrongOwner,
    /// The task may have run, or may yet run.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// This node stops. The task did not run.
    #[error("the node is shut down")]
    Shutdown,
    /// The handler panicked, the task or its answer is larger than a frame, or its queue was purged.
    #[error("the task failed: {0}")]
    Failed(String),
}
