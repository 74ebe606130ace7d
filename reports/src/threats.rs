//! What stands against trusting the figures of a batch, one sentence each, made from what was run.

use harness::record::RunRecord;

use crate::format::duration;
use crate::sentences::blocks_named;
use crate::{Comparison, Row, callers};

/// What stands against trusting the figures: what the run noticed, and what follows from its shape.
pub(crate) fn threats(comparison: &Comparison) -> Vec<String> {
    let manifest = &comparison.manifest;
    let mut all: Vec<String> = callers::omission(comparison).into_iter().collect();
    all.extend(manifest.threats.iter().cloned());
    all.extend(left_out(comparison));
    if manifest.calibration.is_none() {
        all.push(
            "Nobody has measured how much equal contenders differ on such a machine (`lockbench calibrate`)."
                .to_owned(),
        );
    }
    all.extend(too_few(comparison));
    all.extend(foreign(comparison));
    all.extend(clocks(comparison));
    if manifest.plan.saturating {
        all.push(
            "The scenario saturates a resource on purpose: waits grow with the length of the run.".to_owned(),
        );
    }
    for row in &comparison.rows {
        let mut seen: Vec<(&str, Vec<u32>)> = Vec::new();
        for run in &row.records {
            for warning in &run.warnings {
                match seen.iter_mut().find(|(text, _)| text == warning) {
                    Some((_, blocks)) => blocks.push(run.block),
                    None => seen.push((warning, vec![run.block])),
                }
            }
        }
        all.extend(
            seen.iter().map(|(text, blocks)| format!("{}, {}: {text}", row.contender, blocks_named(blocks))),
        );
    }
    all
}

/// Whose blocks are not all in the figures.
fn left_out(comparison: &Comparison) -> Option<String> {
    let rows = comparison.rows.iter().filter_map(|row| {
        let (valid, all) = (row.valid().count(), row.records.len());
        (valid < all).then(|| format!("{} {} of {all}", row.contender, all - valid))
    });
    let rows: Vec<String> = rows.collect();
    (!rows.is_empty()).then(|| format!("Blocks that are INVALID are in no figure: {}.", rows.join(", ")))
}

/// Whose tail nobody can tell of.
fn too_few(comparison: &Comparison) -> Option<String> {
    let few = comparison.contenders().filter(|row| row.latency.wait.quantile(0.999).is_none());
    let few: Vec<&str> = few.map(|row| row.contender.as_str()).collect();
    (!few.is_empty()).then(|| format!("Too few waits to tell their p99.9: {}.", few.join(", ")))
}

/// How well the clocks of several machines are known.
fn clocks(comparison: &Comparison) -> Option<String> {
    let bound_ns = comparison.records().filter_map(RunRecord::clock_bound_ns).max()?;
    Some(format!(
        "Nodes were on other machines, whose clocks are known to within {}: no difference is told between waits that are finer.",
        duration(bound_ns as f64)
    ))
}

/// Whose server may have had others to serve.
fn foreign(comparison: &Comparison) -> Option<String> {
    let others = |row: &&Row| {
        let mut servers = row.records.iter().filter_map(|run| run.server.as_ref());
        servers.any(|server| server.origin.starts_with("already running"))
    };
    let rows: Vec<&str> = comparison.contenders().filter(others).map(|row| row.contender.as_str()).collect();
    (!rows.is_empty()).then(|| {
        format!(
            "Not started for this batch, so that others may use them: the servers of {}.",
            rows.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn what_was_run_and_what_runs_warned_of_are_threats() {
        let mut comparison = fixture::small();
        comparison.rows[1].records[2].invalid.push("late".to_owned());
        let server = comparison.rows[1].records[0].server.as_mut().unwrap();
        server.origin = "already running at redis://10.0.0.7".to_owned();
        let threats = threats(&comparison).join("\n");
        assert!(threats.starts_with("The processor frequency is not pinned."), "{threats}");
        for part in [
            "INVALID are in no figure: redis-naive 1 of 3.",
            "Nobody has measured how much",
            "others may use them: the servers of redis-naive.",
            "redis-naive, block 2: 17 tasks",
        ] {
            assert!(threats.contains(part), "{part} is not in {threats}");
        }
    }
}
