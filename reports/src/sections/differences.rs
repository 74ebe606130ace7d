//! Which contenders differ from one of them, and by how much.

use harness::record::difference::{Answer, Decided};
use harness::record::{Better, Metric};

use crate::Comparison;
use crate::beside::Beside;
use crate::format::{self, MISSING};
use crate::table::{Cell, Group, Head, Table, TableRow};

/// Every other contender beside the reference, block by block; `None` where there is none, no other, or nothing that can be
/// compared.
pub(crate) fn differences(comparison: &Comparison) -> Option<Table> {
    let beside = Beside::of(comparison)?;
    if beside.others.iter().flat_map(|(_, decided)| decided).all(Option::is_none) {
        return None;
    }
    let rows = beside.others.iter().map(|(row, decided)| TableRow {
        name: row.contender.clone(),
        goes_on: false,
        cells: cells(decided, &beside.metrics),
    });
    let groups = vec![Group { label: "", rows: rows.collect() }];
    Some(Table { head: head(&beside.metrics), groups, ..Table::default() })
}

/// A column for each metric.
pub(crate) fn head(metrics: &[&Metric]) -> Vec<Head> {
    metrics.iter().map(|metric| Head::number(metric.title, "times the reference, 99 % interval")).collect()
}

/// What was decided of each metric.
pub(crate) fn cells(decided: &[Option<Decided>], metrics: &[&Metric]) -> Vec<Cell> {
    let each = decided.iter().zip(metrics);
    each.map(|(decided, metric)| match decided {
        Some(decided) => cell(decided, metric.better),
        None => Cell::number(MISSING),
    })
    .collect()
}

/// One ratio, its interval and what may be said of it.
pub(super) fn cell(decided: &Decided, which: Better) -> Cell {
    let (low, high) = decided.ratio.interval(0.99);
    let [ratio, low, high] = [decided.ratio.ratio(), low, high].map(format::significant);
    let better = (decided.ratio.ratio() > 1.0) == (which == Better::More);
    let words = match decided.answer {
        Answer::Different if better => "better".to_owned(),
        Answer::Different => "worse".to_owned(),
        Answer::Same => "the same".to_owned(),
        Answer::CannotTell => match decided.blocks_that_would_tell() {
            Some(blocks) => format!("cannot tell: {blocks} blocks might"),
            None => "cannot tell".to_owned(),
        },
    };
    Cell::number(format!("{ratio} ({low}–{high})")).noted(words)
}

#[cfg(test)]
mod tests {
    use harness::record::{Histogram, RunRecord};

    use super::*;
    use crate::fixture;

    fn notes(comparison: &Comparison, contender: &str) -> Vec<String> {
        let table = differences(comparison).unwrap();
        let row = table.groups[0].rows.iter().find(|row| row.name == contender).unwrap();
        row.cells.iter().map(|cell| cell.note.clone()).collect()
    }

    /// Each contender takes the same as all others, in every block as long as the block says.
    fn alike(blocks: u32) -> Comparison {
        let mut comparison = fixture::of_blocks(blocks);
        for row in &mut comparison.rows {
            for run in &mut row.records {
                run.goodput_per_s = 100.0 + f64::from(run.block);
                for histogram in [&mut run.latency.wait, &mut run.latency.response] {
                    *histogram = Histogram::default();
                    (0..1000).for_each(|_| histogram.record_ns(1_000_000 * u64::from(run.block)));
                }
            }
        }
        comparison
    }

    fn set(comparison: &mut Comparison, contender: &str, goodput: fn(u32) -> f64) {
        let row = comparison.rows.iter_mut().find(|row| row.contender == contender).unwrap();
        row.records.iter_mut().for_each(|run| run.goodput_per_s *= goodput(run.block));
    }

    #[test]
    fn a_contender_is_better_the_same_or_it_cannot_be_told() {
        let mut comparison = alike(6);
        assert_eq!(notes(&comparison, "ring-queue"), ["the same"; 3]);
        set(&mut comparison, "ring-queue", |block| 1.5 + f64::from(block) / 100.0);
        assert_eq!(notes(&comparison, "ring-queue"), ["better", "the same", "the same"]);
        let mut comparison = alike(6);
        set(&mut comparison, "ring-queue", |block| [0.7, 1.4][block as usize % 2]);
        assert!(notes(&comparison, "ring-queue")[0].starts_with("cannot tell"));
    }

    #[test]
    fn runs_of_different_plans_or_that_prove_nothing_are_not_paired() {
        let pairs_of = |change: fn(&mut RunRecord)| {
            let mut comparison = alike(3);
            let row = comparison.rows.iter_mut().find(|row| row.contender == "ring-queue").unwrap();
            change(&mut row.records[0]);
            change(&mut row.records[1]);
            differences(&comparison).map(|_| notes(&comparison, "ring-queue")[0].clone())
        };
        assert_eq!(pairs_of(|_| {}).as_deref(), Some("the same"));
        assert_eq!(
            pairs_of(|run| run.plan_digest = "another".to_owned()),
            None,
            "nothing is left to compare"
        );
        assert_eq!(pairs_of(|run| run.invalid.push("late".to_owned())), None);
    }
}
