//! What a node knows about its own life.

use tokio_util::sync::CancellationToken;

use crate::poison::lock;
use crate::sync::Mutex;

/// Whether the others can have heard of this node.
#[derive(Debug)]
pub(super) struct Liveness {
    /// Cancelled when nobody could have heard of this node for too long, and replaced when it was heard of again.
    lost: Mutex<CancellationToken>,
    /// Cancelled when others have declared this node dead.
    evicted: CancellationToken,
    /// Parent of both: the node's stop.
    stop: CancellationToken,
}

impl Liveness {
    pub(super) fn new(stop: &CancellationToken) -> Self {
        let lost = Mutex::new(stop.child_token());
        Self { lost, evicted: CancellationToken::new(), stop: stop.clone() }
    }

    /// The signal for a job that starts now.
    pub(super) fn lost(&self) -> CancellationToken {
        lock(&self.lost).clone()
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.is_cancelled()
    }

    /// Ends the node.
    pub(super) fn evict(&self) {
        self.evicted.cancel();
        self.stop.cancel();
    }

    pub(super) fn lose(&self) {
        let mut lost = lock(&self.lost);
        std::mem::replace(&mut *lost, self.stop.child_token()).cancel();
    }
}
