//! What those who wait and those who hold were told.

use harness::record::{Awareness, Histogram, RunRecord};

use crate::format::{self, MISSING};
use crate::matrix::{by_role, quantile};
use crate::table::{Cell, Head, Table};
use crate::{Comparison, Row};

/// Silence, validity, the knowledge of a loss, and the connections that waiting takes.
pub(crate) fn told(comparison: &Comparison) -> Table {
    let head = vec![
        Head::number("Waited in silence", "no error, nobody served"),
        Head::number("Validity left", "when granted, median"),
        Head::number("Granted too late", "the lease had ended"),
        Head::number("Loss known after", "from the next one's grant, median"),
        Head::number("at the longest", ""),
        Head::number("Connections", "for each that waits"),
    ];
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
            quantile(&knew, 0.5).noted(format!("n = {}", format::count(knew.count()))),
            quantile(&knew, 1.0),
            connections(row),
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
        let table = told(&comparison);
        let row = table.groups[0].rows.iter().find(|row| row.name == "redis-naive").unwrap();
        let cells: Vec<_> = row.cells.iter().map(|cell| cell.text.replace('\u{202f}', " ")).collect();
        assert_eq!(cells, ["0.750 %", "1.00 s", "50.0 %", "≥ 5.00 s", "≥ 5.00 s", "0.250"]);
        assert_eq!(row.cells[0].note, "9 of 1,200");
    }
}
