//! What one contender did in one row.

use harness::record::{Expected, Standing, Verdict};

use crate::format;
use crate::table::{Cell, Mark};
use crate::{Comparison, Row};

/// What was foretold of a contender, and what happened.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) contender: String,
    /// As the scenario has it: `holds`, or which checks it violates, or may.
    pub(super) foretold: String,
    /// What it did, in words.
    pub(super) observed: Cell,
    /// Whether it is what was foretold; `None`: nothing can be said.
    pub(super) as_foretold: Option<bool>,
    /// The same as short as it gets.
    pub(super) short: Cell,
    /// Faults that met something, of those that were planned.
    pub(super) faults: String,
    /// The longest time for which nobody was let in anywhere, of all faults.
    pub(super) unserved_ns: Option<u64>,
    /// The server with its version.
    pub(super) server: String,
}

impl Outcome {
    pub(super) fn of(batch: &Comparison, row: &Row) -> Self {
        let standing = batch.standing_of(row);
        let short = match &standing {
            Standing::Pass => Cell::marked(Mark::Good, "holds"),
            Standing::Foretold(_) => Cell::marked(Mark::Bad, "violated, as foretold"),
            Standing::Violated(_) => Cell::marked(Mark::Bad, "violated, NOT foretold"),
            Standing::Held(_) => Cell::marked(Mark::Doubt, "holds, NOT as foretold"),
            _ => Cell::marked(Mark::Doubt, "not proven"),
        };
        let as_foretold = match &standing {
            Standing::Pass | Standing::Foretold(_) => Some(true),
            Standing::Violated(_) | Standing::Held(_) => Some(false),
            _ => None,
        };
        let reason = || {
            let invalid = row.records.iter().flat_map(|run| run.invalid.iter().cloned());
            let unknown =
                row.records.iter().flat_map(|run| &run.verdicts).filter_map(|answer| match &answer.verdict {
                    Verdict::Unknown { reason } => Some(format!("{}: {reason}", answer.check)),
                    _ => None,
                });
            invalid.chain(unknown).next().unwrap_or_default()
        };
        let observed = match &standing {
            Standing::Pass => short.clone(),
            Standing::Unknown | Standing::NotProven => short.clone().noted(reason()),
            _ => short.clone().noted(Cell::from(standing).text),
        };
        let faults = || row.records.iter().flat_map(|run| &run.faults.faults);
        let planned: u64 = row.records.iter().map(|run| run.faults.planned).sum();
        let effective: u64 = row.records.iter().map(|run| run.faults.effective()).sum();
        let server = row.records.iter().find_map(|run| run.server.as_ref());
        Self {
            contender: row.contender.clone(),
            foretold: foretold(row),
            observed,
            as_foretold,
            short,
            faults: match planned {
                0 => format::MISSING.to_owned(),
                _ => format!("{effective} of {planned}"),
            },
            unserved_ns: faults().filter_map(|fault| fault.unserved_ns).max(),
            server: server
                .map_or(format::MISSING.to_owned(), |server| format!("{} {}", server.name, server.version)),
        }
    }
}

/// What the scenario expects of the checks.
fn foretold(row: &Row) -> String {
    let of = |expected: Expected| {
        let mut checks: Vec<&str> = Vec::new();
        for answer in row.records.iter().flat_map(|run| &run.verdicts) {
            if answer.expected == expected && !checks.contains(&answer.check.as_str()) {
                checks.push(&answer.check);
            }
        }
        checks.join(", ")
    };
    match (of(Expected::Violated), of(Expected::Either)) {
        (violated, _) if !violated.is_empty() => format!("violates {violated}"),
        (_, either) if !either.is_empty() => format!("may violate {either}"),
        _ => "holds".to_owned(),
    }
}
