//! Runs beside runs, metric by metric: what makes up a family of comparisons.

use super::decide::{Decided, Rule, decide};
use super::ratio::Ratio;
use crate::record::metric::Metric;
use crate::record::run::RunRecord;

/// Which runs of two sides belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Together {
    /// Both are of one batch: those of one block, with the same plan.
    OfOneBatch,
    /// They are of several: those with the same plan, or, where no plan is common to both, none.
    OfSeveral,
}

/// How the runs of one side stand to those of another in a metric; `None` where too few have a figure. Runs that prove
/// nothing are for the caller to leave out.
#[must_use]
pub fn ratio(
    own: &[&RunRecord],
    reference: &[&RunRecord],
    metric: &Metric,
    together: Together,
) -> Option<Ratio> {
    let figures = |runs: &[&RunRecord]| runs.iter().filter_map(|run| metric.known(run)).collect::<Vec<_>>();
    let twins = twins(own, reference, together);
    let pairs: Vec<_> =
        twins.iter().filter_map(|(own, other)| Some((metric.known(own)?, metric.known(other)?))).collect();
    match together {
        Together::OfSeveral if twins.len() < 2 => Ratio::two_samples(figures(own), figures(reference)),
        Together::OfOneBatch | Together::OfSeveral => Ratio::paired(pairs),
    }
}

/// Each run with the one of the reference that had the same plan; no run twice.
fn twins<'a>(
    own: &[&'a RunRecord],
    reference: &[&'a RunRecord],
    together: Together,
) -> Vec<(&'a RunRecord, &'a RunRecord)> {
    let mut left: Vec<&RunRecord> = reference.to_vec();
    let mut twins = Vec::new();
    for run in own {
        let fits = |other: &&RunRecord| {
            other.plan_digest == run.plan_digest
                && (together == Together::OfSeveral || other.block == run.block)
        };
        if let Some(place) = left.iter().position(fits) {
            twins.push((*run, left.remove(place)));
        }
    }
    twins
}

/// The runs of one, and those that they are compared with.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// Its valid runs.
    pub own: Vec<&'a RunRecord>,
    /// The valid runs of its reference.
    pub reference: Vec<&'a RunRecord>,
    /// Which of them belong together.
    pub together: Together,
}

/// Several subjects, each beside its reference in every metric, decided together: a row a subject, a place a metric; `None`
/// where there is nothing to compare.
#[must_use]
pub fn family(subjects: &[Subject<'_>], metrics: &[&Metric], rule: &Rule) -> Vec<Vec<Option<Decided>>> {
    let beside = |of: &Subject<'_>, metric: &Metric| ratio(&of.own, &of.reference, metric, of.together);
    let compared: Vec<Option<Ratio>> =
        subjects.iter().flat_map(|of| metrics.iter().map(|metric| beside(of, metric))).collect();
    let mut decided = decide(&compared.iter().flatten().copied().collect::<Vec<_>>(), rule).into_iter();
    let mut places = compared.iter().map(|ratio| ratio.and_then(|_| decided.next()));
    subjects.iter().map(|_| places.by_ref().take(metrics.len()).collect()).collect()
}
