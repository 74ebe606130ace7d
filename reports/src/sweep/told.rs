//! What the cells tell: every contender's figure, and who is better, decided for the whole sweep together.

use harness::record::difference::{Answer, Decided, Rule, Subject, Together, family};
use harness::record::{Better, Estimate, Metric, Reading, RunRecord, Unit};

use super::cells::Sweep;
use crate::format;

/// What a sweep tells.
pub(super) struct Told<'a> {
    pub(super) sweep: &'a Sweep,
    /// By what contenders are told apart.
    pub(super) metrics: Vec<&'static Metric>,
    pub(super) contenders: Vec<&'a str>,
    pub(super) reference: Option<&'a str>,
    /// Those that are compared with the reference.
    pub(super) others: Vec<&'a str>,
    /// Of each cell, other and metric.
    decided: Vec<Vec<Vec<Option<Decided>>>>,
}

/// A figure of a contender in a cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    pub(super) value: f64,
    /// Of 99 %.
    pub(super) interval: Option<(f64, f64)>,
    /// It may be more: part of it has no known end, or a ceiling cut it off.
    pub(super) at_least: bool,
    pub(super) blocks: u32,
}

/// Who is better in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Own,
    Reference,
    Same,
    /// It cannot be told, or one of the two has no figure.
    Untold,
}

impl<'a> Told<'a> {
    pub(super) fn of(sweep: &'a Sweep) -> Self {
        let (contenders, reference) = (sweep.contenders(), sweep.reference());
        let mut metrics = metrics(sweep.record.capacity);
        // What nobody has anywhere tells nothing: too few tasks for a 99th percentile.
        metrics.retain(|metric| {
            (0..sweep.batches.len())
                .any(|cell| contenders.iter().any(|name| figure(metric, &sweep.runs(cell, name)).is_some()))
        });
        let others: Vec<&str> =
            contenders.iter().copied().filter(|name| reference.is_some_and(|other| other != *name)).collect();
        let subjects: Vec<Subject<'_>> = (0..sweep.batches.len())
            .flat_map(|cell| others.iter().map(move |name| (cell, *name)))
            .map(|(cell, name)| Subject {
                own: sweep.runs(cell, name),
                reference: reference.map(|other| sweep.runs(cell, other)).unwrap_or_default(),
                together: Together::OfOneBatch,
            })
            .collect();
        let mut all = family(&subjects, &metrics, &Rule::default()).into_iter();
        let decided = (0..sweep.batches.len()).map(|_| all.by_ref().take(others.len()).collect()).collect();
        Self { sweep, metrics, contenders, reference, others, decided }
    }

    /// Of the valid blocks of a contender in a cell.
    pub(super) fn figure(&self, cell: usize, contender: &str, metric: &Metric) -> Option<Figure> {
        figure(metric, &self.sweep.runs(cell, contender))
    }

    /// An other beside the reference; `None` where too few blocks have the figure.
    pub(super) fn decided(&self, cell: usize, other: usize, metric: usize) -> Option<&Decided> {
        self.decided[cell][other][metric].as_ref()
    }

    pub(super) fn side(&self, cell: usize, other: usize, metric: usize) -> Side {
        let Some(decided) = self.decided(cell, other, metric) else { return Side::Untold };
        let more = decided.ratio.ratio() > 1.0;
        match decided.answer {
            Answer::Different if more == (self.metrics[metric].better == Better::More) => Side::Own,
            Answer::Different => Side::Reference,
            Answer::Same => Side::Same,
            Answer::CannotTell => Side::Untold,
        }
    }
}

/// Where capacities were looked for, these; all else was then at another rate in each cell. Otherwise what contenders are told
/// apart by.
fn metrics(capacity: bool) -> Vec<&'static Metric> {
    match capacity {
        true => Metric::named("capacity").into_iter().collect(),
        false => Metric::primary().collect(),
    }
}

/// Of some valid runs; `None` where none has it.
pub(super) fn figure(metric: &Metric, runs: &[&RunRecord]) -> Option<Figure> {
    if let Some(Estimate { value, interval, blocks }) = Estimate::of(metric, runs) {
        return Some(Figure { value, interval, at_least: false, blocks });
    }
    let least: Vec<f64> = runs.iter().filter_map(|run| (metric.of)(run).map(Reading::least)).collect();
    let blocks = least.len() as u32;
    let value = least.iter().copied().reduce(f64::min)?;
    Some(Figure { value, interval: None, at_least: true, blocks })
}

/// A figure with its unit.
pub(super) fn shown(metric: &Metric, value: f64) -> String {
    match metric.unit {
        Unit::Ns => format::duration(value),
        Unit::PerS => format!("{} /s", format::significant(value)),
        Unit::Count | Unit::Share => metric.unit.show(value),
    }
}
