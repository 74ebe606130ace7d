//! What those who wait and those who hold were told.

use harness::record::{Awareness, Histogram, RunRecord};

use crate::format::{self, MISSING};
use crate::matrix::{by_role, counted, quantile};
use crate::table::{Cell, Head, Table};
use crate::{Comparison, Row};

/// Silence, validity, the knowledge of a loss, and the connections that waiting takes; `None` where none of it is known.
pub(crate) fn told(comparison: &Comparison) -> Option<Table> {
    let known = |run: &RunRecord| run.awareness != Awareness::default();
    comparison.records().any(known).then(|| table(comparison))
}

fn table(comparison: &Comparison) -> Table {
    let head = vec![
        Head::number("Waited in silence", "no error, nobody served"),
        Head::number("Validity left", "when granted, median"),
        Head::number("Granted too late", "the lease had ended"),
        Head::number("Loss known after", "from the next one's grant, median"),
        Head::number("Loss known after: longest", ""),
        Head::number("Connections", "for each that waits"),
        Head::number("Memory of nodes", "for each that waits, above noop's"),
    ];
    let bare = bare_bytes(comparison);
    by_role(comparison, head, |row| {
        let [validity, knew] = [merged(row, |told| &told.validity), merged(row, |told| &told.knew)];
        let asked = row.total(|run| run.awareness.asked);
        let expired = match validity.count() {
            0 => Cell::number(MISSING),
            granted => share(row.total(|run| run.awareness.expired), granted),
        };
        vec![
            share(row.total(|run| run.awareness.silent), asked),
            quantile(&validity, 0.5),
            expired,
            counted(&knew, 0.5),
            quantile(&knew, 1.0),
            connections(row),
            memory(row, bare),
        ]
    })
}

fn merged(row: &Row, of: fn(&Awareness) -> &Histogram) -> Histogram {
    let mut all = Histogram::default();
    row.valid().for_each(|run| all.merge(of(&run.awareness)));
    all
}

fn share(part: u64, all: u64) -> Cell {
    if all == 0 {
        return Cell::number(MISSING);
    }
    let percent = format::significant(part as f64 / all as f64 * 100.0);
    Cell::number(format!("{percent}\u{202f}%")).noted(format!(
        "{} of {}",
        format::count(part),
        format::count(all)
    ))
}

/// The most connections at the server beside the most that waited at one time, where anybody did; the worst block.
fn connections(row: &Row) -> Cell {
    let each = |run: &RunRecord| {
        let waited = run.awareness.most_waiting;
        run.peak.connections.filter(|_| waited > 0).map(|connections| connections as f64 / waited as f64)
    };
    match row.valid().filter_map(each).reduce(f64::max) {
        Some(connections) => Cell::number(format::significant(connections)),
        None => Cell::number(MISSING),
    }
}

/// What the nodes held where the same tasks waited for nothing but a timer.
fn bare_bytes(comparison: &Comparison) -> Option<u64> {
    let noop = comparison.records().filter(|run| run.programmed_delay_ns.is_some());
    noop.filter_map(|run| run.peak.node_bytes).min()
}

/// Fewer who wait are lost in what a process takes anyway.
const LEAST_WAITING: u64 = 1_000;

/// The most memory that the nodes held above that, beside the most that waited at one time; the worst block.
fn memory(row: &Row, bare: Option<u64>) -> Cell {
    let each = |run: &RunRecord| {
        let waited = run.awareness.most_waiting;
        let above = run.peak.node_bytes.zip(bare).filter(|_| waited >= LEAST_WAITING);
        above.map(|(bytes, bare)| bytes.saturating_sub(bare) / waited)
    };
    match row.valid().filter_map(each).max() {
        Some(bytes) => Cell::number(format::bytes(bytes)),
        None => Cell::number(MISSING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn what_was_told_is_a_share_and_what_never_was_a_bound() {
        let mut comparison = fixture::small();
        let row = comparison.rows.iter_mut().find(|row| row.contender == "redis-naive").unwrap();
        for run in &mut row.records {
            run.peak.connections = Some(12);
            let told = &mut run.awareness;
            (told.asked, told.silent, told.most_waiting) = (400, 3, 48);
            (0..2).for_each(|_| told.validity.record_ns(1_000_000_000));
            told.expired = 1;
            told.knew.censor_ns(5_000_000_000);
        }
        assert!(told(&fixture::small()).is_none());
        let table = told(&comparison).unwrap();
        let row = table.groups[0].rows.iter().find(|row| row.name == "redis-naive").unwrap();
        let cells: Vec<_> = row.cells.iter().map(|cell| cell.text.replace('\u{202f}', " ")).collect();
        assert_eq!(cells, ["0.750 %", "1.00 s", "50.0 %", "≥ 5.00 s", "≥ 5.00 s", "0.250", MISSING]);
        assert_eq!(row.cells[0].note, "9 of 1,200");
    }

    #[test]
    fn what_waiting_takes_of_the_nodes_is_above_what_the_control_takes_that_waits_for_a_timer() {
        let mut comparison = fixture::small();
        for row in &mut comparison.rows {
            for run in &mut row.records {
                let is_noop = run.programmed_delay_ns.is_some();
                run.awareness.most_waiting = 2_000;
                run.peak.node_bytes = Some(if is_noop { 10_000_000 } else { 16_000_000 });
            }
        }
        let table = told(&comparison).unwrap();
        let row = table.groups[0].rows.iter().find(|row| row.name == "redis-naive").unwrap();
        assert_eq!(row.cells.last().unwrap().text, format::bytes(3_000));
    }
}
