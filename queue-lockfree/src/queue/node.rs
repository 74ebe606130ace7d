//! What all queues of a node share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::ready::Ready;
use super::submission::QueueLimits;
use crate::now::Now;
use crate::sync::{AtomicU64, AtomicUsize};

/// What all shards of a node share.
pub(super) struct NodeWide {
    pub(super) limits: QueueLimits,
    pub(super) now: Arc<dyn Now>,
    /// Spawned tasks that can go on.
    pub(super) ready: Ready,
    /// Sequence of the last token.
    pub(super) sequence: AtomicU64,
    /// Tasks pending in all queues.
    pub(super) pending: AtomicUsize,
    /// What tasks of level 0 are told by.
    pub(super) lost: CancellationToken,
}

impl NodeWide {
    pub(super) fn new(limits: QueueLimits, now: Arc<dyn Now>) -> Self {
        Self {
            limits,
            now,
            ready: Ready::default(),
            sequence: AtomicU64::new(0),
            pending: AtomicUsize::new(0),
            lost: CancellationToken::new(),
        }
    }
}
