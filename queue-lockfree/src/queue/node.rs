//! What all queues of a node share: bounds, clock, and how many tasks may still come to wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::CancellationToken;

use super::submission::QueueLimits;
use crate::now::Now;
use crate::sync::AtomicUsize;

/// What all shards of a node share.
pub(super) struct NodeWide {
    pub(super) limits: QueueLimits,
    pub(super) now: Arc<dyn Now>,
    /// Whether tasks are stamped when they come and start, for a snapshot to tell their ages.
    pub(super) ages: Ages,
    /// Places for tasks that wait, taken by shards for theirs.
    places: AtomicUsize,
    /// How many of them a shard takes at a time: so few that what 64 shards have left over is below a hundredth of the
    /// bound, and one by one where the bound is small.
    portion: usize,
    /// What tasks of level 0 are told by.
    pub(super) lost: CancellationToken,
}

/// Whether a snapshot tells ages; each is a look at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ages {
    Kept,
    Unknown,
}

impl NodeWide {
    pub(super) fn new(limits: QueueLimits, now: Arc<dyn Now>, ages: Ages) -> Self {
        let portion = (limits.pending / 16_384).clamp(1, 64);
        Self { limits, now, ages, places: AtomicUsize::new(0), portion, lost: CancellationToken::new() }
    }
}

/// A shard's places for tasks that wait. They are taken from the node's in portions, so that shards do not meet at one
/// counter for each task.
#[derive(Default)]
pub(super) struct Places {
    taken: usize,
    used: usize,
}

impl Places {
    /// A place for one more task; false if the node has none left.
    pub(super) fn enter(&mut self, node: &NodeWide) -> bool {
        if self.used == self.taken {
            let (portion, most) = (node.portion, node.limits.pending);
            // Relaxed: a count that nothing else is concluded from.
            let taken = node.places.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                Some(taken.saturating_add(portion).min(most)).filter(|more| *more > taken)
            });
            let Ok(before) = taken else { return false };
            self.taken += portion.min(most - before);
        }
        self.used += 1;
        true
    }

    /// `count` tasks wait no more.
    pub(super) fn leave(&mut self, count: usize, node: &NodeWide) {
        self.used -= count;
        let portion = node.portion;
        let spare = self.taken - self.used;
        if spare >= 2 * portion || (portion == 1 && spare > 0) {
            let back = if portion == 1 { spare } else { spare - portion };
            self.taken -= back;
            node.places.fetch_sub(back, Ordering::Relaxed);
        }
    }
}
