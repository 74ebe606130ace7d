//! What a node knows about its own life.

use std::sync::OnceLock;

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
    /// What the database refuses, which ended the node.
    refused: OnceLock<String>,
    /// Parent of both: the node's stop.
    stop: CancellationToken,
}

impl Liveness {
    pub(super) fn new(stop: &CancellationToken) -> Self {
        let lost = Mutex::new(stop.child_token());
        Self { lost, evicted: CancellationToken::new(), refused: OnceLock::new(), stop: stop.clone() }
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

    /// Ends the node: the database refuses what it would ask again and again, and no retry will change that.
    pub(super) fn refuse(&self, reason: String) {
        tracing::error!(reason, "the database refuses what a node cannot do without; the node ends");
        // The first reason is the one that counts.
        self.refused.set(reason).ok();
        self.stop.cancel();
    }

    pub(super) fn refusal(&self) -> Option<&str> {
        self.refused.get().map(String::as_str)
    }

    pub(super) fn lose(&self) {
        let mut lost = lock(&self.lost);
        std::mem::replace(&mut *lost, self.stop.child_token()).cancel();
    }
}
