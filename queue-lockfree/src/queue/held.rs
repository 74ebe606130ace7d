//! Where a task stands: what its queue gives it to keep, small, since each task has it.

use std::num::NonZeroU64;

use super::submission::Token;

/// How a started task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    Abandoned,
}

/// Where a pending task stands in its shard; small, since each handle of one has it.
pub(super) struct Place {
    pub(super) ticket: NonZeroU64,
    pub(super) hash: u32,
    pub(super) shard: u16,
    /// It has a deadline.
    pub(super) timed: bool,
}

/// Where a started task stands in its shard: its slot, which it has until somebody frees it.
#[derive(Clone, Copy)]
#[must_use = "nobody else frees the slot"]
pub(super) struct Held {
    pub(super) site: Site,
    pub(super) grant: Grant,
}

/// What is known of a task before it starts.
#[derive(Clone, Copy)]
pub(super) struct Site {
    pub(super) generation: u64,
    pub(super) hash: u32,
    pub(super) shard: u16,
}

/// What a task is given when it starts.
#[derive(Clone, Copy)]
pub(super) struct Grant {
    pub(super) sequence: NonZeroU64,
    pub(super) slot: u32,
}

impl Held {
    /// At level 0 a task holds nothing. (No key has so many slots: they would not fit into memory.)
    pub(super) const NONE: u32 = u32::MAX;

    /// Slot and token, unless it has none.
    pub(super) fn slot(&self) -> Option<(u32, Token)> {
        let (Site { generation, .. }, Grant { sequence, slot }) = (self.site, self.grant);
        (slot != Self::NONE).then_some((slot, Token { generation, sequence: sequence.get() }))
    }
}
