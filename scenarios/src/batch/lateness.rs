//! How late the driver was, and what a run is worth then.

use harness::record::{CheckVerdict, Expected, Latency, Others, RunRecord, TOO_BUSY, Verdict};

/// Median lateness of the driver beyond which it is saturated: it does not keep up with the plan.
const MOST_LAG_P50_NS: u64 = 1_000_000;

/// Lateness at the 99th percentile beyond which the tail of a run is the driver's. A driver that shares its
/// processors with the server under test is late by some milliseconds now and then; that is warned about.
const MOST_LAG_P99_NS: u64 = 10_000_000;

/// Lateness at the 99th percentile that goes without saying.
const USUAL_LAG_P99_NS: u64 = 1_000_000;

/// How late the driver started tasks, with a sentence for the record.
#[derive(Debug)]
enum Lateness {
    None,
    /// Within what is normal where driver and server share processors.
    Slight(String),
    /// On time as a rule, but it stood still for a moment: more than a task in a hundred waited for that.
    Stalled(String),
    /// It does not keep up with the plan.
    Saturated(String),
}

impl Lateness {
    fn of(latency: &Latency) -> Self {
        let [p50_ns, p99_ns] = [0.5, 0.99].map(|quantile| latency.lag.quantile_ns(quantile).unwrap_or(0));
        let late = format!(
            "the driver was {:.1} ms late at the median, {:.1} ms at the 99th percentile",
            p50_ns as f64 / 1e6,
            p99_ns as f64 / 1e6
        );
        match (p50_ns, p99_ns) {
            (MOST_LAG_P50_NS.., _) => Self::Saturated(format!("{late}: it is saturated")),
            (_, MOST_LAG_P99_NS..) => Self::Stalled(format!("{late}: it stood still for a moment")),
            (_, USUAL_LAG_P99_NS..) => Self::Slight(late),
            _ => Self::None,
        }
    }
}

/// What lateness makes of a paced run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// It counts, with this remark.
    Counts(Option<String>),
    /// It proves nothing, for this reason.
    Invalid(String),
}

/// Lateness that the machine's other work explains proves nothing, and may be measured again. Any other is part of the result:
/// a contender whose server takes the processors makes the driver late, and must not be spared its worst moments.
pub(super) fn worth(latency: &Latency, others: Option<&Others>) -> Worth {
    let busy = others.filter(|others| others.share() > Others::MOST_SHARE);
    match (Lateness::of(latency), busy) {
        (Lateness::None, _) => Worth::Counts(None),
        (Lateness::Slight(late), _) => Worth::Counts(Some(format!("{late}; latencies include it"))),
        (Lateness::Stalled(late) | Lateness::Saturated(late), Some(others)) => {
            let percent = |ns: u64| 100.0 * ns as f64 / others.capacity_ns.max(1) as f64;
            let (stolen, foreign) = (percent(others.stolen_ns), percent(others.foreign_ns));
            Worth::Invalid(format!(
                "{TOO_BUSY} ({stolen:.1} % stolen, {foreign:.1} % used by others' processes): {late}"
            ))
        }
        (Lateness::Stalled(late), None) => Worth::Counts(Some(format!(
            "{late}, not by others' work: it is the contender's own, and latencies include it"
        ))),
        (Lateness::Saturated(late), None) => Worth::Invalid(format!(
            "{late}: lower rate_per_s, give it processors of its own (--pin), or use a machine with more of them"
        )),
    }
}

/// Whether nothing is wrong with a run but that the machine was busy with others. A run that shows a violation is never
/// taken for that: a witness stands.
pub(super) fn only_busy(record: &RunRecord) -> bool {
    let broke = |check: &CheckVerdict| {
        matches!(check.verdict, Verdict::Violated { .. }) && check.expected == Expected::Holds
    };
    let busy = |why: &String| why.starts_with(TOO_BUSY);
    !record.invalid.is_empty() && record.invalid.iter().all(busy) && !record.verdicts.iter().any(broke)
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

    #[test]
    fn only_the_work_of_others_excuses_lateness() {
        let others = |foreign_ns| Others { stolen_ns: 1, foreign_ns, capacity_ns: 100 };
        let invalid = |late, others: &Others| match worth(&latency(late), Some(others)) {
            Worth::Invalid(why) => Some(why),
            Worth::Counts(_) => None,
        };
        assert!(invalid(5, &others(2)).unwrap().starts_with(TOO_BUSY));
        assert_eq!(invalid(5, &others(1)), None, "2 % is not above 2 %: its own standstill counts");
        assert!(!invalid(60, &others(0)).unwrap().starts_with(TOO_BUSY), "a driver that does not keep up");
        assert_eq!(invalid(0, &others(50)), None, "whoever was in time has nothing to excuse");
    }
}
