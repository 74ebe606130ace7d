//! Capacities in words.

use harness::record::Role;
use harness::record::capacity::{Carried, Ceiling};

use crate::Comparison;
use crate::format::{self, MISSING, duration, significant};
use crate::table::Cell;

/// A capacity in words: the mean, and its interval of 99 % where there are blocks enough.
pub(crate) fn figure(carried: &Carried) -> Cell {
    let Some(rate) = carried.per_s() else {
        return match carried.at_least {
            Some(rate) => Cell::number(format!("≥ {}", format::significant(rate))).noted("no more was tried"),
            None => Cell::number(MISSING).noted("not found"),
        };
    };
    let blocks = format::plural(carried.blocks.len() as u64, "block");
    // Two blocks that are far apart have an interval that is no figure any more.
    let note = match carried.estimate().filter(|estimate| estimate.interval(0.99).1 < 10.0 * rate) {
        Some(estimate) => {
            let (low, high) = estimate.interval(0.99);
            format!("{}–{}, {blocks}", format::significant(low), format::significant(high))
        }
        None => blocks,
    };
    Cell::number(format::significant(rate)).noted(note)
}

/// Whatever a capacity ends at that is not its contender.
pub(crate) fn limit(carried: &Carried) -> Option<&'static str> {
    Some(match carried.limited? {
        Ceiling::Workload => "the workload",
        Ceiling::Bench => "the bench",
    })
}

/// What was asked of a rate, in one paragraph.
pub(crate) fn level(comparison: &Comparison) -> String {
    let Some(level) = &comparison.manifest.service_level else { return String::new() };
    let plan = &comparison.manifest.plan;
    format!(
        "The highest rate at which the 99th percentile of what tasks take beyond their own planned work is at most {}, {:.0} % of \
         those due in time complete within the window, and nothing fails; the geometric mean of the blocks. One that ends at \
         the workload is near what the hottest resource of the plan allows, or near what a lock that costs nothing carries of it; one that \
         ends at the bench near what the best control carries on this machine: neither is its own, and neither is compared. Processors: the part of all that each party had at the \
         highest rate that was carried. All else on this page is at {} tasks/s, the same for all.",
        duration(level.excess_ns as f64),
        100.0 * level.completed,
        significant(plan.tasks as f64 * 1e9 / plan.window_ns.max(1) as f64),
    )
}

/// The same for the top of the page: each contender with its figure; `None` where no capacity was looked for.
pub(crate) fn sentences(comparison: &Comparison) -> Option<Vec<String>> {
    let all = comparison.carried();
    let own: Vec<&Carried> = all.iter().filter(|carried| carried.role == Role::Contender).collect();
    if own.is_empty() {
        return None;
    }
    let figures = own.iter().map(|carried| {
        let Cell { text, note, .. } = figure(carried);
        let ends = limit(carried).map_or_else(String::new, |limit| format!(", ends at {limit}"));
        format!("{} {text} ({note}{ends})", carried.contender)
    });
    let level = comparison.manifest.service_level.unwrap_or_default();
    Some(vec![format!(
        "Tasks a second at which the 99th percentile of what they take beyond their own work stays within {}: {}.",
        duration(level.excess_ns as f64),
        figures.collect::<Vec<_>>().join("; ")
    )])
}
