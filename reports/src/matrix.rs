//! The comparison matrix: one row per contender, controls apart.

use harness::record::capacity::Carried;
use harness::record::{CheckVerdict, Expected, Histogram, Metric, Quantile, Role, RunRecord};

use crate::carries;
use crate::format::{self, MISSING};
use crate::ranks::Ranks;
use crate::table::{Cell, Group, Head, Table, TableRow};
use crate::{Comparison, Row};

/// The label of the rows that are not compared.
pub(crate) const CONTROLS: &str = "Controls: they check the bench and are not compared";

/// What a cell is made from.
struct Batch<'a> {
    comparison: &'a Comparison,
    carried: Vec<Carried>,
}

type Fill = fn(&Batch<'_>, &Row) -> Cell;

/// Columns in order: name, what it says exactly, the cell of a row, and the metric by which places are told, if any.
const COLUMNS: &[(&str, &str, Fill, &str)] = &[
    ("Verdict", "", |batch, row| batch.comparison.standing_of(row).into(), ""),
    ("Violations", "of all checks", |_, row| violations(row), ""),
    ("Capacity\u{a0}/s", "99 % interval", |batch, row| capacity(batch, row), "capacity"),
    ("Goodput\u{a0}/s", "median, range of blocks", |_, row| goodput(row), "goodput"),
    ("Completed", "of planned tasks", |_, row| completed(row), ""),
    ("Backlog", "at the window's end", |_, row| backlog(row), ""),
    ("Wait p50", "of all planned steps", |_, row| counted(&row.latency.wait, 0.5), "wait_p50"),
    ("Wait p99", "", |_, row| quantile(&row.latency.wait, 0.99), "wait_p99"),
    ("Wait p99.9", "", |_, row| quantile(&row.latency.wait, 0.999), ""),
    ("Hand-over p50", "", |_, row| quantile(&row.latency.hand_over, 0.5), "hand_over_p50"),
    ("Hand-over p99", "", |_, row| quantile(&row.latency.hand_over, 0.99), ""),
    ("Release p50", "", |_, row| quantile(&row.latency.release, 0.5), ""),
    ("Response p99", "of all planned tasks", |_, row| counted(&row.latency.response, 0.99), "response_p99"),
    ("Bystander p99", "", |_, row| quantile(&row.latency.bystander, 0.99), ""),
    ("Waited in silence", "of all that asked", |_, row| silent(row), ""),
    ("Without service", "longest, of all faults", |_, row| unserved(row), ""),
    ("Operations / grant", "", |_, row| operations(row), ""),
    ("Server CPU / grant", "", |_, row| server_cpu(row), ""),
    ("Connections", "at most", |_, row| connections(row), ""),
];

/// The matrix over all rows.
pub(crate) fn table(comparison: &Comparison) -> Table {
    let head = COLUMNS.iter().enumerate().map(|(place, (name, hint, ..))| match place {
        0 => Head::text(name),
        _ => Head::number(name, hint),
    });
    let metrics: Vec<&Metric> = COLUMNS.iter().filter_map(|(.., metric)| Metric::named(metric)).collect();
    let ranks = Ranks::of(comparison, &metrics);
    let batch = Batch { comparison, carried: comparison.carried() };
    let ranked = |cell: Cell, rank: Option<String>| match rank {
        Some(rank) if cell.note.is_empty() => cell.noted(rank),
        Some(rank) => {
            let note = format!("{}; {rank}", cell.note);
            cell.noted(note)
        }
        None => cell,
    };
    let table = by_role(comparison, head.collect(), |row| {
        COLUMNS
            .iter()
            .map(|(_, _, fill, metric)| ranked(fill(&batch, row), ranks.words(row, metric)))
            .collect()
    });
    table.without_empty_columns()
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

/// The same with the number of durations that it is of, where there are any.
pub(crate) fn counted(histogram: &Histogram, q: f64) -> Cell {
    match histogram.count() {
        0 => quantile(histogram, q),
        count => quantile(histogram, q).noted(format!("n = {}", format::count(count))),
    }
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

/// What every check counted, over all runs; of a control only where it is judged.
fn violations(row: &Row) -> Cell {
    let judged = |answer: &&CheckVerdict| row.role == Role::Contender || answer.expected != Expected::Either;
    let counted = |run: &RunRecord| run.verdicts.iter().filter(judged).map(|answer| answer.violations).sum();
    Cell::count(row.total(counted))
}

fn capacity(batch: &Batch<'_>, row: &Row) -> Cell {
    let own = batch.carried.iter().find(|carried| carried.contender == row.contender);
    own.map_or_else(|| Cell::number(MISSING), carries::figure)
}

/// The part of those who asked that was told nothing while nobody was served.
fn silent(row: &Row) -> Cell {
    let (silent, asked) = (row.total(|run| run.awareness.silent), row.total(|run| run.awareness.asked));
    if asked == 0 {
        return Cell::number(MISSING);
    }
    Cell::number(format!("{}\u{202f}%", format::significant(100.0 * silent as f64 / asked as f64)))
}

/// The longest time without an entry around a fault.
fn unserved(row: &Row) -> Cell {
    let faults = row.records.iter().flat_map(|run| &run.faults.faults);
    Cell::duration(faults.filter_map(|fault| fault.unserved_ns).max())
}

/// What a grant costs the server; nothing where there is none.
fn operations(row: &Row) -> Cell {
    let of = row.per_grant(RunRecord::load_operations);
    Cell::number(of.map_or_else(|| MISSING.to_owned(), format::significant))
}

fn server_cpu(row: &Row) -> Cell {
    let of = row.per_grant(RunRecord::load_cpu_ns);
    Cell::number(of.map_or_else(|| MISSING.to_owned(), format::duration))
}

fn connections(row: &Row) -> Cell {
    let most = row.valid().filter_map(|run| run.peak.connections).max();
    most.map_or_else(|| Cell::number(MISSING), Cell::count)
}

/// Median of the blocks, with their range.
pub(crate) fn goodput(row: &Row) -> Cell {
    let Some(spread) = row.goodput_per_s else { return Cell::number(MISSING) };
    let [median, min, max] = [spread.median, spread.min, spread.max].map(format::significant);
    let cell = Cell::number(median);
    // Of a single block there is no range.
    if row.valid().count() > 1 { cell.noted(format!("{min}–{max}")) } else { cell }
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
        let operations = table.head.iter().position(|head| head.name == "Operations / grant").unwrap();
        assert_eq!(ring.cells[operations].text, MISSING);
        assert!(table.head.iter().all(|head| !head.name.starts_with("Capacity")), "nobody looked for one");
        assert!(table.groups[0].rows[1].cells[operations].text.starts_with('2'), "redis-naive has a server");
    }

    #[test]
    fn controls_stand_apart() {
        let table = table(&fixture::small());
        let labels: Vec<_> = table.groups.iter().map(|group| (group.label, group.rows.len())).collect();
        assert_eq!(labels, [("", 2), (CONTROLS, 2)]);
    }
}
