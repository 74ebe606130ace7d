//! The figures of a batch as other tools take them: one number a contender and metric.

use harness::record::{Estimate, METRICS, Metric};

use crate::{Comparison, Row};

/// Of every row, every metric that it has a figure of.
pub(crate) fn estimates(comparison: &Comparison) -> impl Iterator<Item = (&Row, &'static Metric, Estimate)> {
    comparison.rows.iter().flat_map(|row| {
        let runs: Vec<_> = row.valid().collect();
        METRICS.iter().filter_map(move |metric| Some((row, metric, Estimate::of(metric, &runs)?)))
    })
}
