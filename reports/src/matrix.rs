//! The comparison matrix: one row per contender, controls apart.

use harness::record::{Histogram, Quantile, Role, RunRecord};

use crate::format::{self, MISSING};
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, Row};

/// The label of the rows that are not compared.
pub(crate) const CONTROLS: &str = "Controls: they check the bench and are not compared";

type Fill = fn(&Comparison, &Row) -> Cell;

/// Columns in order: name, what it says exactly, the cell of a row.
const COLUMNS: &[(&str, &str, Fill)] = &[
    ("Verdict", "", |comparison, row| comparison.standing_of(row).into()),
    ("Goodput\u{a0}/s", "median, range of blocks", |_, row| goodput(row)),
    ("Completed", "of planned tasks", |_, row| completed(row)),
    ("Backlog", "at the window's end", |_, row| backlog(row)),
    ("Wait p50", "of all planned steps", |_, row| counted(&row.latency.wait, 0.5)),
    ("Wait p90", "", |_, row| quantile(&row.latency.wait, 0.9)),
    ("Wait p99", "", |_, row| quantile(&row.latency.wait, 0.99)),
    ("Wait p99.9", "", |_, row| quantile(&row.latency.wait, 0.999)),
    ("Hand-over p50", "", |_, row| quantile(&row.latency.hand_over, 0.5)),
    ("Hand-over p99", "", |_, row| quantile(&row.latency.hand_over, 0.99)),
    ("Release p50", "", |_, row| quantile(&row.latency.release, 0.5)),
    ("Response p99", "of all planned tasks", |_, row| counted(&row.latency.response, 0.99)),
    ("Bystander p99", "", |_, row| quantile(&row.latency.bystander, 0.99)),
    ("Per grant", "operations, server CPU", |_, row| per_grant(row)),
];

/// The matrix over all rows.
pub(crate) fn table(comparison: &Comparison) -> Table {
    let head = COLUMNS.iter().enumerate().map(|(place, (name, hint, _))| match place {
        0 => Head::text(name),
        _ => Head::number(name, hint),
    });
    by_role(comparison, head.collect(), |row| {
        COLUMNS.iter().map(|(_, _, fill)| fill(comparison, row)).collect()
    })
}

/// A table with one row per contender, then one per control.
pub(crate) fn by_role(comparison: &Comparison, head: Vec<Head>, cells: impl Fn(&Row) -> Vec<Cell>) -> Table {
    let group = |label, role| Group {
        label,
        rows: comparison
            .rows
            .iter()
            .filter(|row| row.role == role)
            .map(|row| TableRow { name: row.contender.clone(), goes_on: false, cells: cells(row) })
            .collect(),
    };
    let mut groups = vec![group("", Role::Contender), group(CONTROLS, Role::Control)];
    groups.retain(|group| !group.rows.is_empty());
    Table { head, groups, ..Table::default() }
}

/// A quantile of a merged histogram: missing where so few durations do not support it, a bound where what did not finish
/// hides it.
pub(crate) fn quantile(histogram: &Histogram, q: f64) -> Cell {
    match histogram.quantile(q) {
        Some(Quantile::AtLeast(ns)) => Cell::number(format!("≥ {}", format::duration(ns as f64))),
        Some(Quantile::Is(ns)) => Cell::duration(Some(ns)),
        None => Cell::duration(None),
    }
}

/// The same with the number of durations that it is of.
fn counted(histogram: &Histogram, q: f64) -> Cell {
    quantile(histogram, q).noted(format!("n = {}", format::count(histogram.count())))
}

/// Tasks that were due and had not returned at the end of the window, and whether they had become more in its second half.
fn backlog(row: &Row) -> Cell {
    let each = || row.valid().filter_map(|run| run.backlog);
    let runs = each().count() as u64;
    let Some(end) = each().map(|backlog| backlog.end).sum::<u64>().checked_div(runs) else {
        return Cell::number(MISSING);
    };
    let middle = each().map(|backlog| backlog.middle).sum::<u64>() / runs;
    // A few tasks are always under way.
    let grew = end > middle + (middle / 2).max(10);
    Cell::number(format::count(end)).noted(if grew { "growing" } else { "steady" }.to_owned())
}

/// What a grant costs the server; nothing where there is none.
fn per_grant(row: &Row) -> Cell {
    let Some(operations) = row.per_grant(RunRecord::load_operations) else { return Cell::number(MISSING) };
    let cpu = row.per_grant(|run| run.load_cpu_ns()).map(format::duration);
    Cell::number(format::significant(operations)).noted(cpu.unwrap_or_default())
}

/// Median of the blocks, with their range.
pub(crate) fn goodput(row: &Row) -> Cell {
    let Some(spread) = row.goodput_per_s else { return Cell::number(MISSING) };
    Cell::number(format::significant(spread.median)).noted(format!(
        "{}–{}",
        format::significant(spread.min),
        format::significant(spread.max)
    ))
}

/// Completed of planned tasks.
pub(crate) fn completed(row: &Row) -> Cell {
    let (completed, planned) = (row.total(|run| run.tasks.completed), row.total(|run| run.tasks.planned));
    Cell::number(format::count(completed)).noted(format!("of {}", format::count(planned)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn missing_figures_are_dashes_and_never_zero() {
        let table = table(&fixture::small());
        let ring = &table.groups[0].rows[0];
        assert_eq!(ring.name, "ring-queue");
        let operations = COLUMNS.iter().position(|(name, ..)| *name == "Per grant").unwrap();
        assert_eq!(ring.cells[operations].text, MISSING);
        assert_eq!(ring.cells[operations].note, "");
        assert!(table.groups[0].rows[1].cells[operations].text.starts_with('2'), "redis-naive has a server");
    }

    #[test]
    fn controls_stand_apart() {
        let table = table(&fixture::small());
        let labels: Vec<_> = table.groups.iter().map(|group| (group.label, group.rows.len())).collect();
        assert_eq!(labels, [("", 2), (CONTROLS, 2)]);
    }
}
