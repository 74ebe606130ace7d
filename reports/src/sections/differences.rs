//! Which contenders differ from one of them, and by how much.

use harness::record::difference::{Answer, Decided, Paired, Rule, decide};
use harness::record::{Histogram, Quantile, Role, RunRecord};

use crate::format::{self, MISSING};
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, Row};

type Figure = fn(&RunRecord) -> Option<f64>;

/// What contenders are compared by, declared here and not chosen afterwards: name, whether more is better, the figure.
const PRIMARY: [(&str, bool, Figure); 3] = [
    ("Goodput", true, |run| Some(run.goodput_per_s)),
    ("Wait p50", false, |run| known(&run.latency.wait, 0.5)),
    ("Response p99", false, |run| known(&run.latency.response, 0.99)),
];

/// What no ratio can be made of is none: a bound, or a quantile of too few.
fn known(histogram: &Histogram, q: f64) -> Option<f64> {
    match histogram.quantile(q) {
        Some(Quantile::Is(ns)) => Some(ns as f64),
        Some(Quantile::AtLeast(_)) | None => None,
    }
}

/// Every other contender beside the reference, block by block; `None` where there is none, or no other.
pub(crate) fn differences(comparison: &Comparison) -> Option<Table> {
    let contenders = || comparison.rows.iter().filter(|row| row.role == Role::Contender);
    let name = comparison.manifest.reference.as_deref()?;
    let reference = contenders().find(|row| row.contender == name)?;
    let others: Vec<&Row> = contenders().filter(|row| row.contender != name).collect();
    let compared: Vec<Option<Paired>> = others
        .iter()
        .flat_map(|row| PRIMARY.map(|(_, _, figure)| Paired::of(pairs(row, reference, figure))))
        .collect();
    let mut decided =
        decide(&compared.iter().flatten().copied().collect::<Vec<_>>(), &Rule::default()).into_iter();
    let mut cells = compared.iter().enumerate().map(|(place, paired)| match paired {
        Some(_) => {
            decided.next().map_or_else(missing, |decided| cell(&decided, PRIMARY[place % PRIMARY.len()].1))
        }
        None => missing(),
    });
    let rows = others.iter().map(|row| TableRow {
        name: row.contender.clone(),
        goes_on: false,
        cells: cells.by_ref().take(PRIMARY.len()).collect(),
    });
    let rows: Vec<_> = rows.collect();
    let head =
        PRIMARY.iter().map(|(name, ..)| Head::number(name, "times the reference, 99 % interval")).collect();
    (!rows.is_empty()).then(|| Table { head, groups: vec![Group { label: "", rows }], ..Table::default() })
}

/// Of the blocks in which both ran the same plan and both runs count.
fn pairs(row: &Row, reference: &Row, figure: Figure) -> Vec<(f64, f64)> {
    let twin = |run: &RunRecord| {
        reference.valid().find(|other| other.block == run.block && other.plan_digest == run.plan_digest)
    };
    row.valid().filter_map(|run| Some((figure(run)?, figure(twin(run)?)?))).collect()
}

fn missing() -> Cell {
    Cell::number(MISSING)
}

fn cell(decided: &Decided, more_is_better: bool) -> Cell {
    let (low, high) = decided.paired.interval(0.99);
    let [ratio, low, high] = [decided.paired.ratio(), low, high].map(format::significant);
    let better = (decided.paired.ratio() > 1.0) == more_is_better;
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
            notes(&comparison, "ring-queue")[0].clone()
        };
        assert_eq!(pairs_of(|_| {}), "the same");
        assert_eq!(pairs_of(|run| run.plan_digest = "another".to_owned()), "");
        assert_eq!(pairs_of(|run| run.invalid.push("late".to_owned())), "");
    }
}
