//! A closed loop in words: wherever its figures stand it is said that they are of one, since they mean something else there.

use crate::Comparison;
use crate::format::{duration, plural};

/// Who asked, where no rate was offered: `a closed loop of 64 callers, who think for 10 ms on the mean between two tasks`.
pub(crate) fn who(comparison: &Comparison) -> Option<String> {
    let closed = comparison.manifest.plan.closed?;
    let thought = match closed.think_ns {
        0 => ", who ask again at once".to_owned(),
        ns => format!(", who think for {} on the mean between two tasks", duration(ns as f64)),
    };
    Some(format!("a closed loop of {}{thought}", plural(closed.callers.into(), "caller")))
}

/// The name of the batch's scenario, with its loop where that is a closed one: figures of both must never come under one name.
pub(crate) fn title(comparison: &Comparison) -> String {
    let scenario = &comparison.manifest.scenario;
    match comparison.manifest.plan.closed {
        None => scenario.clone(),
        Some(closed) => format!("{scenario} (closed loop, {})", plural(closed.callers.into(), "caller")),
    }
}

/// What such figures hide.
pub(crate) fn omission(comparison: &Comparison) -> Option<String> {
    let who = who(comparison)?;
    Some(format!(
        "No rate was offered: this is {who}. Whoever is slow is asked less, so that what would have arrived while it stood still is in no \
         figure (coordinated omission): a standstill of a second costs each caller one task, however many users would have met it. \
         Waits count from the moment at which a caller asked. These figures say how much is done by so many callers, and not what a \
         user waits at a rate; they are not compared with those of an open load."
    ))
}
