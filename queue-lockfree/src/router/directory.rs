//! What one node asks of another, and where nodes of one process find each other.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use bytes::Bytes;

use super::task::SubmitError;
use super::wire::Refusal;
use crate::future::BoxFuture;
use crate::ring::NodeId;

/// A task that was submitted to an owner.
pub(super) struct Errand {
    pub(super) key: String,
    pub(super) level: u32,
    pub(super) payload: Bytes,
    pub(super) deadline_ns: u64,
    /// Of the newest view by which this node was chosen.
    pub(super) epoch: u64,
}

/// Where a key is drained, as an old owner says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// A task of the key runs, or the old owner does not know of the change yet.
    Busy,
    /// No task of the key runs or will.
    Key,
    /// That is so for all keys that it has lost.
    All,
}

/// Another node, asked without network.
pub(super) trait Neighbour: Send + Sync {
    /// Runs a task in its queue. A dropped future cancels it if it has not started.
    fn run(self: Arc<Self>, errand: Errand) -> BoxFuture<'static, Result<Bytes, Refusal>>;

    /// Has it nothing running of `key`, which the view of `epoch` took from it?
    fn drained<'a>(&'a self, epoch: u64, key: &'a str) -> BoxFuture<'a, Drained>;
}

/// How a node reaches others. All nodes of a ring use the same.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Real connections, also between nodes of one process.
    Tcp,
    /// Calls into the owner's queue, without network: a control. Only nodes of one process that share the directory.
    Direct(Directory),
}

/// Where nodes of one process find each other; clones share it.
#[derive(Clone, Default)]
pub struct Directory {
    nodes: Arc<RwLock<HashMap<NodeId, Weak<dyn Neighbour>>>>,
}

impl Directory {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn enter<N: Neighbour + 'static>(&self, id: NodeId, node: &Arc<N>) {
        let node: Weak<N> = Arc::downgrade(node);
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).insert(id, node);
    }

    pub(super) fn leave(&self, id: NodeId) {
        self.nodes.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub(super) fn find(&self, id: NodeId) -> Result<Arc<dyn Neighbour>, SubmitError> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(&id).and_then(Weak::upgrade).ok_or(SubmitError::NodeUnavailable { node: id })
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}
