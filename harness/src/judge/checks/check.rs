//! A check, and how it goes through a history.

use super::findings::Found;
use crate::model::{Event, Facts};

/// A question put to a history: a pure function, cheap enough to run after every run.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Name in records and reports.
    pub name: &'static str,
    /// The question.
    pub question: &'static str,
    /// What its violations are, in the plural, as in `36 updates lost`.
    pub counted: &'static str,
    /// Whether it judges the exclusion that the control `none` lacks, and so must catch it.
    pub must_catch_none: MustCatch,
    /// Begins to put it to the history of a run.
    pub begin: for<'a> fn(&'a Facts) -> Box<dyn Fold + 'a>,
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

/// What sees every event of a history once, in the order of time, and keeps no more of it than its question needs.
pub trait Fold {
    /// The event at a place in the history, from 0.
    fn see(&mut self, at: usize, event: &Event);

    /// The answer, when the history is over.
    fn finish(self: Box<Self>) -> Found;
}
