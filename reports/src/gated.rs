//! What a gate asked of the figures, and how each threshold came out.

use harness::record::{GateRecord, Kept};

use crate::format::plural;
use crate::table::{Cell, Group, Head, Mark, Table, TableRow};
use crate::{Comparison, aligned};

/// The thresholds of a gate for a terminal; ends with a line feed.
#[must_use]
pub fn gate_table(gate: &GateRecord) -> String {
    aligned::plain("Contender", &table(gate))
}

/// A row a threshold; `None` where the batch was put to no gate.
pub(crate) fn thresholds(comparison: &Comparison) -> Option<Table> {
    comparison.gate.as_ref().map(table)
}

fn table(gate: &GateRecord) -> Table {
    let rows = gate.answers.iter().map(|answer| TableRow {
        name: answer.contender.clone(),
        goes_on: false,
        cells: vec![
            Cell::words(&answer.rule),
            Cell::words(&answer.observed),
            verdict(answer.kept),
            Cell::words(&answer.why),
        ],
    });
    let head = ["Threshold", "Observed, 99 % interval", "Kept", "Why"].map(Head::text);
    Table { head: head.into(), groups: vec![Group { label: "", rows: rows.collect() }], ..Table::default() }
}

/// The answer as a word with its icon.
pub(crate) fn verdict(kept: Kept) -> Cell {
    match kept {
        Kept::Yes => Cell::marked(Mark::Good, "kept"),
        Kept::No => Cell::marked(Mark::Bad, "BROKEN"),
        Kept::CannotTell => Cell::marked(Mark::Doubt, "cannot tell"),
    }
}

/// All thresholds together, in a word and in sentences, what had to be said beforehand first.
pub(crate) fn badge(gate: &GateRecord) -> (Cell, Vec<String>) {
    let [broken, untold] = [Kept::No, Kept::CannotTell].map(|kept| gate.count(kept));
    let asked = gate.answers.len();
    let badge = match (broken, untold) {
        (0, 0) => Cell::marked(Mark::Good, "PASS"),
        (0, _) => Cell::marked(Mark::Doubt, format!("CANNOT TELL {untold}")),
        _ => Cell::marked(Mark::Bad, format!("BROKEN {broken}")),
    };
    let all = plural(asked as u64, "threshold");
    let sentence = format!("{all} of {}: {broken} broken, {untold} that cannot be told.", gate.file);
    (badge, gate.banner.iter().cloned().chain([sentence]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_threshold_is_a_row_with_what_was_asked_and_seen() {
        assert!(thresholds(&fixture::small()).is_none());
        let table = thresholds(&fixture::gated()).unwrap();
        let row = &table.groups[0].rows[0];
        assert_eq!(row.name, "redis-naive");
        assert_eq!(row.cells[0].text, "wait_p99 ≤ 20 ms");
        assert_eq!(row.cells[2].text, "BROKEN");
    }
}
