//! How late the driver was, and what a run is worth then.

use harness::record::{CheckVerdict, Expected, Latency, RunRecord, Verdict};

/// Median lateness of the driver beyond which it is saturated: it does not keep up with the plan.
const MOST_LAG_P50_NS: u64 = 1_000_000;

/// Lateness at the 99th percentile beyond which the tail of a run is the driver's. A driver that shares its
/// processors with the server under test is late by some milliseconds now and then; that is warned about.
const MOST_LAG_P99_NS: u64 = 10_000_000;

/// Lateness at the 99th percentile that goes without saying.
const USUAL_LAG_P99_NS: u64 = 1_000_000;

/// How late the driver started tasks, with a sentence for the record.
#[derive(Debug)]
pub(super) enum Lateness {
    None,
    /// Within what is normal where driver and server share processors.
    Slight(String),
    /// On time as a rule, but the machine stood still for a moment: more than a task in a hundred waited for that.
    Stalled(String),
    /// It does not keep up with the plan.
    Saturated(String),
}

impl Lateness {
    pub(super) fn of(latency: &Latency) -> Self {
        let [p50_ns, p99_ns] = [0.5, 0.99].map(|quantile| latency.lag.quantile_ns(quantile).unwrap_or(0));
        let late = format!(
            "the driver was {:.1} ms late at the median, {:.1} ms at the 99th percentile",
            p50_ns as f64 / 1e6,
            p99_ns as f64 / 1e6
        );
        match (p50_ns, p99_ns) {
            (MOST_LAG_P50_NS.., _) => Self::Saturated(format!("{late}: it is saturated")),
            (_, MOST_LAG_P99_NS..) => {
                Self::Stalled(format!("{late}: the machine stood still under it for a moment"))
            }
            (_, USUAL_LAG_P99_NS..) => Self::Slight(late),
            _ => Self::None,
        }
    }
}

/// Whether nothing is wrong with a run but that the machine stood still under the driver for a moment. A run that shows
/// a violation is never taken for that: a witness stands.
pub(super) fn only_late(record: &RunRecord) -> bool {
    let Lateness::Stalled(late) = Lateness::of(&record.latency) else { return false };
    let broke = |check: &CheckVerdict| {
        matches!(check.verdict, Verdict::Violated { .. }) && check.expected == Expected::Holds
    };
    record.invalid == [late] && !record.verdicts.iter().any(broke)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a hundred tasks the first `late` started 20 ms late, the others in time.
    fn latency(late: u64) -> Latency {
        let mut latency = Latency::default();
        for task in 0..100 {
            latency.lag.record_ns(if task < late { 20_000_000 } else { 10_000 });
        }
        latency
    }

    #[test]
    fn a_moment_is_told_from_a_driver_that_does_not_keep_up() {
        assert!(matches!(Lateness::of(&latency(0)), Lateness::None));
        assert!(matches!(Lateness::of(&latency(5)), Lateness::Stalled(_)));
        assert!(matches!(Lateness::of(&latency(60)), Lateness::Saturated(_)));
    }
}
