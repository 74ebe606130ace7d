//! Whether a probe met the service level.

use std::fmt;

use crate::record::probe::{Probe, ServiceLevel};
use crate::record::run::RunRecord;

/// The part of the tasks that may be late: the level is about the 99th percentile.
pub const MAY_BE_LATE: f64 = 0.01;

/// Why a rate was not carried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Missed {
    /// So many tasks failed, or nobody knows.
    Failed(u64),
    /// The part of the tasks that took longer than the limit beyond their own work, more than one in a hundred.
    Late(f64),
    /// The part of those due in time that completed in the window.
    Incomplete(f64),
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(tasks) => write!(f, "{tasks} tasks did not complete"),
            Self::Late(part) => write!(f, "{:.1} % late", part * 100.0),
            Self::Incomplete(part) => write!(f, "{:.1} % completed in the window", part * 100.0),
        }
    }
}

/// What a probe missed first; `None`: its rate was carried.
#[must_use]
pub fn missed(level: &ServiceLevel, run: &RunRecord, probe: &Probe) -> Option<Missed> {
    let tasks = &run.tasks;
    let late = late(run, probe);
    let completed = match probe.on_time.due {
        0 => 1.0,
        due => probe.on_time.completed as f64 / due as f64,
    };
    // Those that were cut off with the probe did not fail.
    let open = if probe.cut_ns.is_some() { tasks.not_offered + tasks.unfinished } else { 0 };
    let failed = tasks.planned.saturating_sub(tasks.completed + open);
    if late > MAY_BE_LATE {
        Some(Missed::Late(late))
    } else if failed > 0 {
        Some(Missed::Failed(failed))
    } else if completed < level.completed {
        Some(Missed::Incomplete(completed))
    } else {
        None
    }
}

/// The part of all planned tasks that did not come back in time; of a probe that was cut, because the queue before it grew all the
/// time, also those that had not.
///
/// More than one in a hundred is the same as a 99th percentile beyond the limit, but other than a percentile of few and dependent
/// waits, which is mostly too low, its mean over many probes is the true one.
#[must_use]
pub fn late(run: &RunRecord, probe: &Probe) -> f64 {
    let planned = run.tasks.planned.max(1) as f64;
    1.0 - probe.on_time.within as f64 / planned
}

/// The 99th percentile of what a probe's tasks took beyond their own work, in ns, for the eye. One that was cut has seen the
/// beginning of a queue that grows all the time: at its end that would have been as much longer as the window is.
#[must_use]
pub fn excess_p99_ns(run: &RunRecord, probe: &Probe) -> f64 {
    let seen = run.latency.excess.quantile_ns(0.99).unwrap_or(0) as f64;
    match probe.cut_ns {
        Some(cut_ns) => seen * (run.window_ns as f64 / cut_ns.max(1) as f64).max(1.0),
        None => seen,
    }
}
