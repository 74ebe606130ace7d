//! What a contender costs its server and its nodes, and how long a burst of tasks keeps it busy.

use harness::record::{Peak, RunRecord};

use crate::format::{self, MISSING};
use crate::matrix::{by_role, quantile};
use crate::table::{Cell, Head, Table};
use crate::{Comparison, Row};

/// What each task cost the server, and the most that was held at one time.
pub(crate) fn held(comparison: &Comparison) -> Table {
    let head = vec![
        Head::number("Operations / task", "that the nodes sent to the server, of a task that completed"),
        Head::number("Server CPU / task", "of a task that completed"),
        Head::number("Connections", "to the server, at most; looked at every 200 ms"),
        Head::number("Threads", "of the processes that the nodes live in, together, at most"),
        Head::number(
            "Memory of nodes",
            "that the processes which the nodes live in have to themselves, together, at most",
        ),
        Head::number("Memory of server", "that its processes have to themselves, together, at most"),
    ];
    by_role(comparison, head, |row| {
        let most = |of: fn(&Peak) -> Option<u64>| row.records.iter().filter_map(|run| of(&run.peak)).max();
        let bytes = |most: Option<u64>| Cell::number(most.map_or_else(|| MISSING.to_owned(), format::bytes));
        let count = |most: Option<u64>| most.map_or_else(|| Cell::number(MISSING), Cell::count);
        vec![
            per_task(row, RunRecord::load_operations, format::significant),
            per_task(row, RunRecord::load_cpu_ns, format::duration),
            count(most(|peak| peak.connections)),
            count(most(|peak| peak.threads)),
            bytes(most(|peak| peak.node_bytes)),
            bytes(most(|peak| peak.server_bytes)),
        ]
    })
}

fn per_task(row: &Row, part: fn(&RunRecord) -> Option<u64>, text: fn(f64) -> String) -> Cell {
    let completed: u64 = row.valid().map(|run| run.tasks.completed).sum();
    let sum: Option<u64> = row.valid().map(part).sum();
    let per_task = sum.filter(|_| completed > 0).map(|sum| sum as f64 / completed as f64);
    Cell::number(per_task.map_or_else(|| MISSING.to_owned(), text))
}

/// When the last task of a burst was served; `None` where tasks did not come in bursts.
pub(crate) fn bursts(comparison: &Comparison) -> Option<Table> {
    if comparison.rows.iter().all(|row| row.latency.burst.count() == 0) {
        return None;
    }
    let head = vec![
        Head::number("Bursts", "of which a task completed"),
        Head::number("Last task served: p50", "from the burst to its return"),
        Head::number("Last task served: longest", ""),
    ];
    Some(by_role(comparison, head, |row| {
        let burst = &row.latency.burst;
        vec![Cell::count(burst.count()), quantile(burst, 0.5), quantile(burst, 1.0)]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn texts(table: &Table, row: usize) -> Vec<&str> {
        table.groups[0].rows[row].cells.iter().map(|cell| cell.text.as_str()).collect()
    }

    #[test]
    fn costs_are_per_completed_task_and_what_has_no_server_costs_none() {
        let table = held(&fixture::small());
        assert_eq!(
            texts(&table, 0),
            [MISSING, MISSING, MISSING, "18", MISSING, MISSING],
            "a ring has no server"
        );
        // 3 × 16,310 operations and their share of 3 × 96 ms, of 12,000 tasks less 12 + 17 + 22.
        let [operations, cpu, rest @ ..] = &texts(&table, 1)[..] else { panic!("six cells") };
        assert!(operations.starts_with("4.0") || operations.starts_with("4.1"), "{operations}");
        assert!(cpu.starts_with("23.4"), "{cpu}");
        assert_eq!(rest, ["12", "18", MISSING, MISSING]);
    }

    #[test]
    fn bursts_are_of_all_blocks_and_left_out_where_there_are_none() {
        assert!(bursts(&fixture::small()).is_none());
        let table = bursts(&fixture::bursts()).unwrap();
        let cells = texts(&table, 0);
        assert_eq!(cells[0], "3");
        assert!(cells[1].starts_with("200") && cells[2].starts_with("900"), "{cells:?}");
        assert_eq!(texts(&table, 1), ["0", MISSING, MISSING]);
    }
}
