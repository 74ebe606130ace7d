//! What contenders are compared by: figures of a run, each with a name, a unit and a direction. One line in [`METRICS`] each;
//! thresholds, comparisons, calibration, history and the formats of other tools walk it.

use super::faults::FaultRecord;
use super::run::{Carries, RunRecord};
use super::unit::Unit;
use crate::model::{Histogram, Quantile};

/// A figure of a run.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name in thresholds, histories and other tools' formats.
    pub name: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it is measured in.
    pub unit: Unit,
    /// Which way is better.
    pub better: Better,
    /// How it strays from run to run.
    pub kind: Kind,
    /// Whether contenders are declared different by it; the others can be asked for.
    pub primary: bool,
    /// Its reading in one run; `None` where there is none.
    pub of: fn(&RunRecord) -> Option<Reading>,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The more the better.
    More,
    /// The less the better.
    Less,
}

/// How a figure strays from run to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By noise, in proportion to itself: judged by its interval over blocks.
    Measured,
    /// Not at all: each run has its own, and the worst counts.
    Counted,
}

/// A reading as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reading {
    /// So much.
    Is(f64),
    /// So much at least: something that is not longer has no known end.
    AtLeast(f64),
}

impl Reading {
    /// What can be compared; a bound cannot.
    #[must_use]
    pub fn known(self) -> Option<f64> {
        match self {
            Self::Is(value) => Some(value),
            Self::AtLeast(_) => None,
        }
    }

    /// What it is at least.
    #[must_use]
    pub fn least(self) -> f64 {
        let (Self::Is(value) | Self::AtLeast(value)) = self;
        value
    }
}

impl Metric {
    /// The metric of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        METRICS.iter().find(|metric| metric.name == name)
    }

    /// Those that contenders are declared different by, fixed here and not chosen afterwards.
    pub fn primary() -> impl Iterator<Item = &'static Self> + Clone {
        METRICS.iter().filter(|metric| metric.primary)
    }

    /// Whether several batches can be compared by it. Those that looked for capacities measured all else at half the least capacity of
    /// each, which is a rate of its own.
    #[must_use]
    pub fn goes_across(&self, looked_for_capacity: bool) -> bool {
        !looked_for_capacity || self.name == "capacity"
    }

    /// Why not.
    pub const RATE_OF_ITS_OWN: &str = "`lockbench capacity` measures it at half the least capacity of the batch, which is another rate in \
                                       each; batches of it can be compared by `capacity`, or run the scenario at one rate with `lockbench run`";

    /// Its reading where it is known whole.
    #[must_use]
    pub fn known(&self, run: &RunRecord) -> Option<f64> {
        (self.of)(run)?.known()
    }
}

/// A duration, less of which is better.
const fn ns(name: &'static str, title: &'static str, of: fn(&RunRecord) -> Option<Reading>) -> Metric {
    Metric { name, title, unit: Unit::Ns, better: Better::Less, kind: Kind::Measured, primary: false, of }
}

/// How many of a run, none of which is best.
const fn count(name: &'static str, title: &'static str, of: fn(&RunRecord) -> Option<Reading>) -> Metric {
    Metric { unit: Unit::Count, kind: Kind::Counted, ..ns(name, title, of) }
}

const fn primary(metric: Metric) -> Metric {
    Metric { primary: true, ..metric }
}

/// All metrics, in the order in which they are shown.
pub const METRICS: &[Metric] = &[
    Metric {
        unit: Unit::PerS,
        better: Better::More,
        ..ns("capacity", "Capacity", |run| run.carries.map(carried))
    },
    primary(Metric {
        unit: Unit::PerS,
        better: Better::More,
        ..ns("goodput", "Goodput", |run| Some(Reading::Is(run.goodput_per_s)))
    }),
    primary(ns("wait_p50", "Wait p50", |run| between_clocks(run, &run.latency.wait, 0.5))),
    ns("wait_p90", "Wait p90", |run| between_clocks(run, &run.latency.wait, 0.9)),
    ns("wait_p99", "Wait p99", |run| between_clocks(run, &run.latency.wait, 0.99)),
    ns("wait_p999", "Wait p99.9", |run| between_clocks(run, &run.latency.wait, 0.999)),
    ns("response_p50", "Response p50", |run| quantile(&run.latency.response, 0.5)),
    primary(ns("response_p99", "Response p99", |run| quantile(&run.latency.response, 0.99))),
    ns("response_p999", "Response p99.9", |run| quantile(&run.latency.response, 0.999)),
    ns("hand_over_p50", "Hand-over p50", |run| quantile(&run.latency.hand_over, 0.5)),
    ns("hand_over_p99", "Hand-over p99", |run| quantile(&run.latency.hand_over, 0.99)),
    ns("release_p50", "Release p50", |run| between_clocks(run, &run.latency.release, 0.5)),
    ns("bystander_p50", "Bystander p50", |run| quantile(&run.latency.bystander, 0.5)),
    ns("bystander_p99", "Bystander p99", |run| quantile(&run.latency.bystander, 0.99)),
    ns("burst_max", "Longest burst", |run| quantile(&run.latency.burst, 1.0)),
    ns("lag_p99", "Lag of the driver p99", |run| quantile(&run.latency.lag, 0.99)),
    ns("cpu_per_task", "CPU per task", |run| per(run.process_cpu_ns, run.tasks.completed)),
    ns("server_cpu_per_grant", "Server CPU per grant", |run| per(run.load_cpu_ns()?, run.grants)),
    Metric {
        kind: Kind::Measured,
        ..count("operations_per_grant", "Operations per grant", |run| per(run.load_operations()?, run.grants))
    },
    Metric {
        unit: Unit::Ns,
        ..count("freed_max", "Key free after a fault", |run| longest(run, |fault| fault.freed_ns))
    },
    Metric {
        unit: Unit::Ns,
        ..count("unserved_max", "Longest without service at a fault", |run| {
            longest(run, |fault| fault.unserved_ns)
        })
    },
    count("peak_connections", "Connections at most", |run| run.peak.connections.map(counted)),
    count("violations", "Violations", |run| {
        Some(counted(run.verdicts.iter().map(|answer| answer.violations).sum()))
    }),
    Metric {
        unit: Unit::Share,
        ..count("updates_lost", "Updates lost, of those acknowledged", |run| {
            let answer = run.verdicts.iter().find(|answer| answer.check == "lost-update")?;
            per(answer.times().min(answer.examined), answer.examined)
        })
    },
    Metric {
        unit: Unit::Share,
        ..count("overtaken", "Holders that were hit, and wrote when others had", |run| {
            per(run.faults.regressed(), run.faults.hit_a_holder())
        })
    },
    count("failed", "Tasks failed", |run| Some(counted(run.tasks.failed))),
    count("timed_out", "Tasks timed out", |run| Some(counted(run.tasks.timed_out))),
    count("unknown", "Tasks unknown", |run| Some(counted(run.tasks.unknown))),
    Metric {
        unit: Unit::Share,
        ..count("not_completed", "Not completed", |run| {
            per(run.tasks.planned.saturating_sub(run.tasks.completed), run.tasks.planned)
        })
    },
];

/// A quantile of what begins by one clock and ends by another; `None` where it is finer than they are known to agree.
fn between_clocks(run: &RunRecord, of: &Histogram, q: f64) -> Option<Reading> {
    quantile(of, q).filter(|reading| reading.least() >= run.clock_bound_ns().unwrap_or(0) as f64)
}

fn quantile(histogram: &Histogram, q: f64) -> Option<Reading> {
    Some(match histogram.quantile(q)? {
        Quantile::Is(ns) => Reading::Is(ns as f64),
        Quantile::AtLeast(ns) => Reading::AtLeast(ns as f64),
    })
}

/// The longest of one of the times of a run's faults.
fn longest(run: &RunRecord, of: fn(&FaultRecord) -> Option<u64>) -> Option<Reading> {
    run.faults.faults.iter().filter_map(of).max().map(counted)
}

fn carried(of: Carries) -> Reading {
    if of.own { Reading::Is(of.per_s) } else { Reading::AtLeast(of.per_s) }
}

fn counted(count: u64) -> Reading {
    Reading::Is(count as f64)
}

fn per(part: u64, whole: u64) -> Option<Reading> {
    (whole > 0).then(|| Reading::Is(part as f64 / whole as f64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_words_of_other_tools() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        let plain =
            |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        assert!(names.iter().all(plain), "{names:?}");
        assert_eq!(Metric::named("wait_p99").map(|metric| metric.title), Some("Wait p99"));
        assert!(Metric::named("wait").is_none());
    }

    #[test]
    fn contenders_are_told_apart_by_three() {
        let names: Vec<_> = Metric::primary().map(|metric| metric.name).collect();
        assert_eq!(names, ["goodput", "wait_p50", "response_p99"]);
    }
}
