//! Questions put to a history. One file a check, one line each in [`ALL`].
//!
//! Every check is a [`Fold`]: one pass over the events with a state per step and per slot, kept in vectors in the order of the
//! plan: that is nearly the order in which a history visits them.

mod findings;
mod check;
mod doubt;
mod exclusion;
mod lost_update;
mod created_once;
mod money;
mod fencing;
mod release_safety;
mod exactly_once;
mod conservation;
mod progress;
mod order;
mod pass;

pub use check::{Check, Fold, MustCatch};
pub use findings::{Found, Judgement};
pub use pass::judge;

/// Every check: those of exclusion first, then those of tasks, then those of service.
pub const ALL: &[&Check] = &[
    &exclusion::CHECK,
    &lost_update::CHECK,
    &created_once::CHECK,
    &money::CHECK,
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
