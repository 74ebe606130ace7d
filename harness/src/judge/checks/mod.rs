//! Questions put to a history. One file a check, one line each in [`ALL`].
//!
//! Every check is one pass over the events with a state per step and per slot, kept in vectors in the order of the
//! plan: that is nearly the order in which a history visits them.

mod findings;
mod exclusion;
mod lost_update;
mod created_once;
mod fencing;
mod release_safety;
mod exactly_once;
mod conservation;
mod progress;
mod order;

pub use findings::Judgement;

use crate::model::{Event, Facts};

/// A question put to a history: a pure function, cheap enough to run after every run.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Name in records and reports.
    pub name: &'static str,
    /// The question.
    pub question: &'static str,
    /// Whether it judges the exclusion that the control `none` lacks, and so must catch it.
    pub must_catch_none: MustCatch,
    /// The answer.
    pub judge: fn(&Facts, &[Event]) -> Judgement,
}

/// Whether the control without exclusion must be caught by a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MustCatch {
    /// It must.
    Yes,
    /// It must, where the plan gives it something to look at.
    WhereItApplies,
    /// The control does nothing wrong that this check could see.
    No,
}

/// Every check: those of exclusion first, then those of tasks, then those of service.
pub const ALL: &[&Check] = &[
    &exclusion::CHECK,
    &lost_update::CHECK,
    &created_once::CHECK,
    &fencing::CHECK,
    &release_safety::CHECK,
    &exactly_once::CHECK,
    &conservation::CHECK,
    &progress::CHECK,
    &order::CHECK,
];

/// The check of a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Check> {
    ALL.iter().copied().find(|check| check.name == name)
}
