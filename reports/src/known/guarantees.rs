//! What is claimed of each contender, beside what it did in all rows of the matrix: `guarantees.md`.

use std::collections::BTreeMap;

use harness::record::{CheckVerdict, MatrixRow, Role, RunRecord, Verdict};

use super::claims::CLAIMS;
use super::rows::KnownFailures;
use crate::format;
use crate::markup::{escape, line};

/// What can go wrong, by the check that tells.
const ANOMALIES: &[(&str, &str)] = &[
    ("two inside", "exclusion"),
    ("lost update", "lost-update"),
    ("stale write accepted", "fencing"),
    ("another's lock given back", "release-safety"),
    ("run twice, or not at all", "exactly-once"),
    ("made twice", "created-once"),
    ("not served in time", "progress"),
    ("overtaking", "order"),
];

/// A contender over all rows.
#[derive(Default)]
struct Done<'a> {
    /// By the check, and whether the row was guarded.
    told: BTreeMap<(&'a str, bool), Told<'a>>,
    /// The longest time for which nobody was let in anywhere, and in which row.
    unserved: Option<(u64, &'a str)>,
    /// The longest time until a key was free whose holder was killed.
    freed: Option<(u64, &'a str)>,
    /// Where it was measured.
    servers: Vec<String>,
}

/// What the rows say of one check.
#[derive(Default)]
struct Told<'a> {
    /// How often, in which row.
    violated: Vec<(u64, &'a MatrixRow)>,
    held: u64,
    unknown: u64,
}

impl KnownFailures {
    /// Claimed against actual, as GitHub reads it.
    pub(super) fn guarantees(&self) -> String {
        let mut out = String::new();
        line(&mut out, "# What is claimed of locks, and what they did");
        line(&mut out, "");
        let began = format::utc(&self.record.started_utc);
        let quick = if self.record.quick { ", the quick one" } else { "" };
        line(
            &mut out,
            &format!(
                "From the matrix of known failures of {began}, seed {}{quick}. *As it comes*: holders do not look at their lease, and \
                 resources take every write. *Guarded*: the resource refuses tokens that are stale, or holders stop by their own \
                 clock. A number is how often it was seen, in the row of that name, which a command below runs again; *not seen* is \
                 no promise.",
                self.record.seed
            ),
        );
        for (contender, done) in self.done() {
            line(&mut out, "");
            line(&mut out, &format!("## {}", escape(contender)));
            line(&mut out, "");
            let servers =
                if done.servers.is_empty() { "no server".to_owned() } else { done.servers.join(", ") };
            line(&mut out, &format!("On {}.", escape(&servers)));
            let claims = CLAIMS.iter().filter(|claim| claim.of.iter().any(|of| contender.starts_with(of)));
            for claim in claims {
                line(&mut out, &format!("- claimed: {} <{}>", escape(claim.says), claim.page));
            }
            line(&mut out, "");
            line(&mut out, "| | as it comes | guarded |");
            line(&mut out, "| --- | --- | --- |");
            for (anomaly, check) in ANOMALIES {
                let [bare, guarded] = [false, true].map(|guarded| done.told.get(&(*check, guarded)));
                if bare.is_some() || guarded.is_some() {
                    line(&mut out, &format!("| {anomaly} | {} | {} |", seen(bare), seen(guarded)));
                }
            }
            for (what, longest) in [
                ("longest without service", done.unserved),
                ("longest until a dead holder's key was free", done.freed),
            ] {
                if let Some((ns, row)) = longest {
                    let longest = format!("{} in {}", format::duration(ns as f64), escape(row));
                    line(&mut out, &format!("| {what} | {longest} | |"));
                }
            }
        }
        line(&mut out, "");
        line(&mut out, "## The rows");
        line(&mut out, "");
        for row in &self.record.rows {
            let command = row.command.replace('`', "'");
            line(&mut out, &format!("- **{}**: {}: `{command}`", escape(&row.name), escape(&row.failure)));
        }
        out
    }

    /// Each contender, in the order in which the rows name them.
    fn done(&self) -> Vec<(&str, Done<'_>)> {
        let mut all: Vec<(&str, Done<'_>)> = Vec::new();
        for (row, batch) in self.record.rows.iter().zip(&self.batches) {
            let runs = batch.iter().flat_map(|batch| batch.rows.iter().flat_map(|row| &row.records));
            for run in runs.filter(|run| run.role == Role::Contender) {
                let place = all.iter().position(|(name, _)| *name == run.contender);
                let place = place.unwrap_or_else(|| {
                    all.push((run.contender.as_str(), Done::default()));
                    all.len() - 1
                });
                all[place].1.see(row, run);
            }
        }
        all
    }
}

impl<'a> Done<'a> {
    fn see(&mut self, row: &'a MatrixRow, run: &'a RunRecord) {
        for answer in &run.verdicts {
            self.told.entry((answer.check.as_str(), row.guarded)).or_default().see(row, run, answer);
        }
        let longest = |so_far: &mut Option<(u64, &'a str)>, ns: Option<u64>| {
            if let Some(ns) = ns.filter(|ns| so_far.is_none_or(|(longest, _)| longest < *ns)) {
                *so_far = Some((ns, row.name.as_str()));
            }
        };
        for fault in &run.faults.faults {
            longest(&mut self.unserved, fault.unserved_ns);
            longest(&mut self.freed, fault.freed_ns);
        }
        let server = run.server.as_ref().map(|server| format!("{} {}", server.name, server.version));
        if let Some(server) = server.filter(|server| !self.servers.contains(server)) {
            self.servers.push(server);
        }
    }
}

impl<'a> Told<'a> {
    fn see(&mut self, row: &'a MatrixRow, run: &RunRecord, answer: &CheckVerdict) {
        match &answer.verdict {
            // A witness stands, also in a run that proves nothing else.
            Verdict::Violated { .. } => match self.violated.iter_mut().find(|(_, of)| of.name == row.name) {
                Some((times, _)) => *times += answer.violations.max(1),
                None => self.violated.push((answer.violations.max(1), row)),
            },
            Verdict::Holds if run.invalid.is_empty() => self.held += 1,
            Verdict::Holds | Verdict::Unknown { .. } => self.unknown += 1,
            Verdict::NotApplicable { .. } => {}
        }
    }
}

/// What was seen of an anomaly.
fn seen(told: Option<&Told<'_>>) -> String {
    let Some(Told { violated, held, unknown }) = told else { return format::MISSING.to_owned() };
    if !violated.is_empty() {
        let of_row = |(times, row): &(u64, &MatrixRow)| format!("**{times}** in {}", escape(&row.name));
        return violated.iter().map(of_row).collect::<Vec<_>>().join(", ");
    }
    match (held, unknown) {
        (0, 0) => format::MISSING.to_owned(),
        (0, _) => "cannot tell".to_owned(),
        (held, _) => format!("not seen in {}", format::plural(*held, "run")),
    }
}
