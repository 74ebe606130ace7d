//! Where every planned task went.

use harness::record::Tally;

use crate::Comparison;
use crate::format::count;
use crate::matrix::{by_role, quantile};
use crate::table::{Cell, Head, Table};

type Part = (&'static str, fn(&Tally) -> u64);

/// Where a task can end; planned is their sum.
const PARTS: &[Part] = &[
    ("Completed", |tally| tally.completed),
    ("Partial", |tally| tally.partial),
    ("Not offered", |tally| tally.not_offered),
    ("Rejected", |tally| tally.rejected),
    ("Refused", |tally| tally.refused),
    ("Failed", |tally| tally.failed),
    ("Timed out", |tally| tally.timed_out),
    ("Unknown", |tally| tally.unknown),
    ("Unfinished", |tally| tally.unfinished),
];

/// Where every planned task went, and how long those took that did not complete.
pub(crate) fn tally(comparison: &Comparison) -> Table {
    let mut head = vec![Head::number("Planned", "")];
    head.extend(PARTS.iter().map(|(name, _)| Head::number(name, "")));
    head.push(Head::text("Adds up"));
    let diverted = comparison.rows.iter().flat_map(|row| &row.records).any(|run| run.elsewhere.returned > 0);
    if diverted {
        head.push(Head::number("Of these elsewhere", "returned at another node, since theirs was down"));
    }
    head.push(Head::number("Not completed: p50", "intended start to returned"));
    head.push(Head::number("Not completed: p99", ""));
    by_role(comparison, head, |row| {
        let planned = row.total(|run| run.tasks.planned);
        let parts: Vec<u64> = PARTS.iter().map(|(_, part)| row.total(|run| part(&run.tasks))).collect();
        let sum: u64 = parts.iter().sum();
        let mut cells = vec![Cell::count(planned)];
        cells.extend(parts.into_iter().map(Cell::count));
        cells.push(if sum == planned {
            Cell::text("yes")
        } else {
            Cell::text(format!("no: {}", count(sum)))
        });
        if diverted {
            cells.push(Cell::count(row.total(|run| run.elsewhere.returned)));
        }
        cells.extend([0.5, 0.99].map(|q| quantile(&row.latency.response_failed, q)));
        cells
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn who_asked_elsewhere_is_counted_where_anybody_did() {
        let mut comparison = fixture::small();
        let names = |comparison: &Comparison| {
            tally(comparison).head.iter().map(|head| head.name.clone()).collect::<Vec<_>>()
        };
        assert!(!names(&comparison).iter().any(|name| name == "Of these elsewhere"));
        comparison.rows[0].records[0].elsewhere.returned = 12;
        assert!(names(&comparison).iter().any(|name| name == "Of these elsewhere"));
        assert_eq!(tally(&comparison).groups[0].rows[0].cells[11].text, "12");
    }

    #[test]
    fn every_planned_task_is_accounted_for() {
        let mut comparison = fixture::small();
        let adds_up = |comparison: &Comparison| tally(comparison).groups[0].rows[0].cells[10].text.clone();
        assert_eq!(adds_up(&comparison), "yes");
        comparison.rows[0].records[0].tasks.unknown += 1;
        assert_eq!(adds_up(&comparison), "no: 12,001");
    }
}
