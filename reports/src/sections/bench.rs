//! What each run cost this process, and how late it was.

use crate::Comparison;
use crate::format::{MISSING, duration};
use crate::matrix::{by_role, quantile};
use crate::table::{Cell, Head, Table};

/// What each run cost this process, and how late it was.
pub(crate) fn cost(comparison: &Comparison) -> Table {
    let head = vec![
        Head::number("CPU / task", "this process, timer thread apart"),
        Head::number("Timer CPU / task", "it spins before each deadline"),
        Head::number("Start lag p99", "how late tasks started"),
        Head::number("Programmed wait", ""),
        Head::number("Measured wait p50", "start lag taken off"),
    ];
    by_role(comparison, head, |row| {
        let offered = row.total(|run| run.tasks.planned - run.tasks.not_offered.min(run.tasks.planned));
        let per_task = |ns: u64| {
            Cell::number(if offered == 0 { MISSING.to_owned() } else { duration(ns as f64 / offered as f64) })
        };
        vec![
            per_task(row.total(|run| run.process_cpu_ns)),
            per_task(row.total(|run| run.timer_cpu_ns)),
            quantile(&row.latency.lag, 0.99),
            Cell::duration(row.programmed_ns()),
            if row.programmed_ns().is_some() {
                Cell::duration(row.latency.delay_ns())
            } else {
                Cell::number(MISSING)
            },
        ]
    })
}
