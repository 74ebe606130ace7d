//! The comparison matrix: one row per contender, controls apart.

use harness::record::{Histogram, Role};

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
    ("Wait p50", "", |_, row| quantile(&row.latency.wait, 0.5)),
    ("Wait p90", "", |_, row| quantile(&row.latency.wait, 0.9)),
    ("Wait p99", "", |_, row| quantile(&row.latency.wait, 0.99)),
    ("Wait p99.9", "", |_, row| quantile(&row.latency.wait, 0.999)),
    ("Hand-over p50", "", |_, row| quantile(&row.latency.hand_over, 0.5)),
    ("Hand-over p99", "", |_, row| quantile(&row.latency.hand_over, 0.99)),
    ("Release p50", "", |_, row| quantile(&row.latency.release, 0.5)),
    ("Response p99", "", |_, row| quantile(&row.latency.response, 0.99)),
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

/// A quantile of a merged histogram.
pub(crate) fn quantile(histogram: &Histogram, q: f64) -> Cell {
    Cell::duration(histogram.quantile_ns(q))
}

/// What a grant costs the server; nothing where there is none.
fn per_grant(row: &Row) -> Cell {
    let Some(operations) = row.per_grant(|run| run.operations) else { return Cell::number(MISSING) };
    let cpu = row.per_grant(|run| run.server_cpu_ns).map(format::duration);
    Cell::number(format::significant(operations)).noted(cpu.unwrap_or_default())
}

/// Median of the blocks, with their range.
pub(crate) fn goodput(row: &Row) -> Cell {
    let spread = row.goodput_per_s;
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
