//! What was broken on purpose, and what came of it.

use harness::record::{FaultFacts, FaultRecord};

use crate::Comparison;
use crate::matrix::by_role;
use crate::table::{Cell, Head, Table};

/// What was broken on purpose and what came of it; `None` where nothing was.
pub(crate) fn faults(comparison: &Comparison) -> Option<Table> {
    if comparison.records().all(|run| run.faults.planned == 0) {
        return None;
    }
    let head = vec![
        Head::number("Planned", ""),
        Head::number("Injected", "whose time came before the end of the run"),
        Head::number("Took effect", "somebody was inside, a key moved, or a task was open, as each is aimed"),
        Head::number("Hit a holder", "a section was inside when its node stood still, or its key moved"),
        Head::number("Missed tries", "it had just left; tried again"),
        Head::number("Token regressions", "of those hit: wrote although a later token had entered"),
        Head::number("Writes refused", "of those hit: the agent refused"),
        Head::number("Key free after: p50", "from the fault to the next entry"),
        Head::number("Key free after: longest", ""),
        Head::number("Without service: p50", "the longest time without an entry, of each fault"),
        Head::number("Without service: longest", ""),
        Head::text("Leaders hit, by member"),
        Head::number("Entries before", "the first fault"),
        Head::text("Last task"),
    ];
    Some(by_role(comparison, head, |row| {
        let total = |part: fn(&FaultFacts) -> u64| Cell::count(row.total(|run| part(&run.faults)));
        let each = || row.records.iter().flat_map(|run| &run.faults.faults);
        let spread = |part: fn(&FaultRecord) -> Option<u64>| {
            let mut spread: Vec<u64> = each().filter_map(part).collect();
            spread.sort_unstable();
            let median = spread.get(spread.len().saturating_sub(1) / 2);
            [median, spread.last()].map(|ns| Cell::duration(ns.copied()))
        };
        let [freed_p50, freed_longest] = spread(|fault| fault.freed_ns);
        let [unserved_p50, unserved_longest] = spread(|fault| fault.unserved_ns);
        let members: Vec<String> =
            each().filter_map(|fault| fault.member).map(|place| place.to_string()).collect();
        let came_back = row.records.iter().all(|run| run.faults.last_completed);
        vec![
            total(|faults| faults.planned),
            total(FaultFacts::injected),
            total(FaultFacts::effective),
            total(FaultFacts::hit_a_holder),
            Cell::count(each().map(|fault| u64::from(fault.misses)).sum()),
            total(FaultFacts::regressed),
            Cell::count(each().map(|fault| fault.rejections).sum()),
            freed_p50,
            freed_longest,
            unserved_p50,
            unserved_longest,
            Cell::words(&members.join(", ")),
            total(|faults| faults.entries_before),
            Cell::text(if came_back { "completed" } else { "did not complete" }),
        ]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn faults_are_counted_over_the_blocks_and_left_out_where_there_are_none() {
        let comparison = fixture::small();
        assert!(faults(&comparison).is_none());
        let comparison = fixture::faulted();
        let table = faults(&comparison).unwrap();
        let cells: Vec<_> = table.groups[0].rows[0].cells.iter().map(|cell| cell.text.as_str()).collect();
        // One of the two faults of the one block hit nobody.
        assert_eq!(cells[..7], ["2", "2", "1", "1", "3", "1", "0"]);
        assert_eq!(cells[7..11], ["2.00\u{202f}s", "2.00\u{202f}s", "300\u{202f}ms", "2.00\u{202f}s"]);
        assert_eq!(table.groups[0].rows[1].cells[7].text, crate::format::MISSING, "nobody was hit");
    }
}
