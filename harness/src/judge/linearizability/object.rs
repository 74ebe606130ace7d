//! What is asked of an atomic object, and the answer.

use std::hash::Hash;

/// An atomic object: what it does when operations come one at a time.
///
/// To implement it: `initial`, `step`. The others only save time.
pub trait Model: Clone {
    /// An operation together with its answer. Equal operations must have equal effects.
    type Op: Clone + Eq + Hash;
    /// What the object remembers. Cloned and hashed once per place of the search: keep it small.
    type State: Clone + Eq + Hash;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after the operation; `None` when it could not have answered so in this state.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether the operation can ever change what others see. One that only looks joins an order as soon as it can, and
    /// is left out where it need not have happened.
    fn changes(&self, _op: &Self::Op) -> bool {
        true
    }

    /// Whether `op`, in a state that it leaves as it is, could come to do something after `other`. Where nothing that
    /// overlaps it could make it do something, it joins an order as soon as it does nothing.
    fn woken(&self, _op: &Self::Op, _other: &Self::Op) -> bool {
        true
    }

    /// Told once before a search what must happen, and what else may, so that `step` can refuse states from which
    /// something that must happen no longer could.
    fn foresee(&mut self, _must: &[&Self::Op], _may: &[&Self::Op]) {}
}

/// An operation on one object. `a` happened before `b` when `a.ret < b.call`; otherwise they overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<O> {
    /// When it was called: a place in the history or a stamp in ns.
    pub call: u64,
    /// When it returned; `None` = its outcome is unknown: it may have happened at any time since, or never.
    pub ret: Option<u64>,
    /// What it was and how it was answered; for an unknown outcome, what it would have done.
    pub op: O,
}

/// The most that a search may spend before it gives up. Counted, not timed, so that a verdict does not depend on
/// the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Tries of an operation on a state, and comparisons with places seen before; some ten nanoseconds each.
    pub steps: u64,
    /// Memory for the places seen.
    pub bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 2_000_000_000, bytes: 1 << 30 }
    }
}

/// Answer of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none. The operation at this index is the first return that no order gets past.
    Violated {
        /// Index into the operations.
        stuck: usize,
    },
    /// The budget was used up.
    Unknown {
        /// Which part of it.
        reason: String,
    },
}
