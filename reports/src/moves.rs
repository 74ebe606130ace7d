//! What it cost that keys changed their owners: the table that compares takeovers.

use harness::record::FaultRecord;

use crate::Comparison;
use crate::format::{MISSING, count};
use crate::matrix::by_role;
use crate::table::{Cell, Head, Table};

/// The price of moved keys; `None` where no key moved.
pub(crate) fn moves(comparison: &Comparison) -> Option<Table> {
    if comparison.records().flat_map(|run| &run.faults.faults).all(|fault| fault.moved_keys == 0) {
        return None;
    }
    let head = vec![
        Head::number("Keys moved", "entered at another node than before, after a fault"),
        Head::number("Longest stall of one", "somebody waited, nobody was inside"),
        Head::number(
            "Throughput after",
            "completed in the first second of a fault, of those in the second before",
        ),
        Head::number("Rejected", "tasks that the agent refused"),
        Head::number("Refused", "tasks whose owner was not found, or down"),
        Head::number("Failed", "tasks that were told that their key is lost"),
    ];
    Some(by_role(comparison, head, |row| {
        let each = || row.records.iter().flat_map(|run| &run.faults.faults);
        let total = |part: fn(&FaultRecord) -> u64| each().map(part).sum::<u64>();
        let (before, after) = (total(|fault| fault.completed_before), total(|fault| fault.completed_after));
        let ratio = match before {
            0 => MISSING.to_owned(),
            _ => format!("{} %", count((after as f64 / before as f64 * 100.0).round() as u64)),
        };
        vec![
            Cell::count(total(|fault| fault.moved_keys)),
            Cell::duration(each().filter_map(|fault| fault.stall_ns).max()),
            Cell::number(ratio),
            Cell::count(row.total(|run| run.tasks.rejected)),
            Cell::count(row.total(|run| run.tasks.refused)),
            Cell::count(row.total(|run| run.tasks.failed)),
        ]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_price_of_moved_keys_is_over_all_faults_and_left_out_where_none_moved() {
        assert!(moves(&fixture::small()).is_none());
        let table = moves(&fixture::faulted()).unwrap();
        let cells: Vec<_> = table.groups[0].rows[0].cells.iter().map(|cell| cell.text.as_str()).collect();
        // 150 + 190 of 200 + 200.
        assert_eq!(cells[..3], ["3", "250\u{202f}ms", "85 %"]);
        let calm: Vec<_> = table.groups[0].rows[1].cells.iter().map(|cell| cell.text.as_str()).collect();
        assert_eq!(calm[..3], ["0", MISSING, MISSING]);
    }
}
