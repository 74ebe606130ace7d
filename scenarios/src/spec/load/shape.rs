//! What a shape of load is.

use std::fmt;

use harness::model::Closed;
use rand_chacha::ChaCha8Rng;

use crate::spec::error::Wrong;
use crate::spec::fields::ScenarioSpec;

/// The most tasks of one run.
pub(super) const MOST_TASKS: f64 = 10_000_000.0;

/// A shape of load: one file, one line in [`SHAPES`](super::SHAPES).
#[derive(Debug)]
pub struct Shape {
    /// The fields that ask for it, in words.
    pub fields: &'static str,
    /// The load that a scenario asks for; `None` unless it sets these fields and none of another shape.
    pub asked: fn(&ScenarioSpec) -> Option<Box<dyn Load>>,
}

/// When the tasks of a run arrive.
pub trait Load: fmt::Debug {
    /// Refuses sizes that cannot be run.
    ///
    /// # Errors
    /// The first field that is wrong.
    fn validate(&self) -> Result<(), Wrong>;

    /// How long tasks arrive, in ns.
    fn window_ns(&self) -> u64;

    /// Whether each task has a time of its own. The tasks of a burst are late by nature: they are started one after the other.
    fn is_paced(&self) -> bool;

    /// Whether the load is the same from the beginning to the end, so that figures that change are the contender's.
    fn is_steady(&self) -> bool {
        false
    }

    /// Who asks, where tasks do not come by themselves.
    fn closed(&self) -> Option<Closed> {
        None
    }

    /// The starts, in the order of time, drawn one by one. The same generator gives the same starts, and is left at the same
    /// place once all are drawn.
    fn starts<'a>(&'a self, rng: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = Start> + 'a>;
}

/// When a task arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// In ns from the beginning of the window.
    pub at_ns: u64,
    /// The number of its root's resource, before it is brought within their count; `None`: it is drawn.
    pub turn: Option<u32>,
    /// The node where it enters; `None`: it is drawn.
    pub entry: Option<u16>,
}

/// Refuses more tasks than one run may have.
pub(super) fn few(key: &'static str, tasks: f64) -> Result<(), Wrong> {
    let what = || "more than 10 million tasks in one run; lower it or duration_s".to_owned();
    if tasks <= MOST_TASKS { Ok(()) } else { Err(Wrong { key, what: what() }) }
}

/// The longest arrival window: a week.
pub(super) const MOST_WINDOW_S: f64 = 604_800.0;

/// Refuses bursts of impossible size.
pub(super) fn bounded_burst(tasks: u32) -> Result<(), Wrong> {
    let what = || "must be from 1 to 1,000,000".to_owned();
    if (1..=1_000_000).contains(&tasks) { Ok(()) } else { Err(Wrong { key: "burst", what: what() }) }
}
