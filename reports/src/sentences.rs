//! One sentence per question, made from the data, each with its condition. No sentence ranks.

use harness::record::{Conclusion, Expected, Promise, Quantile, Standing, Verdict};

use crate::format::{self, duration, plural, significant};
use crate::gated;
use crate::table::{Cell, Mark};
use crate::{Comparison, Row, Spread, carries};

/// Blocks below which ranges are shown, but no difference is claimed.
const FEW_BLOCKS: u32 = 5;

/// The answer to one question about the batch.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) question: &'static str,
    pub(crate) badge: Cell,
    pub(crate) sentences: Vec<String>,
}

/// The strip at the top of every report.
pub(crate) fn findings(comparison: &Comparison) -> Vec<Finding> {
    let mut all = vec![correctness(comparison), validity(comparison), controls(comparison)];
    all.extend(capacity(comparison));
    all.extend([cost(comparison), end(comparison)]);
    all.extend(gate(comparison));
    all.extend(failed(comparison));
    all.extend(skipped(comparison));
    all
}

/// The whole batch in one sentence.
pub(crate) fn overview(comparison: &Comparison) -> String {
    let plan = &comparison.manifest.plan;
    format!(
        "{} and {} under the same {} on {}, {} of {}.",
        plural(comparison.contenders().count() as u64, "contender"),
        plural(comparison.controls().count() as u64, "control"),
        plural(plan.tasks, "task"),
        plural(plan.nodes.into(), "node"),
        plural(comparison.manifest.blocks.into(), "block"),
        duration(plan.window_ns as f64),
    )
}

/// What stands against trusting the figures: what the run noticed, and what follows from its shape.
pub(crate) fn threats(comparison: &Comparison) -> Vec<String> {
    let manifest = &comparison.manifest;
    let mut all = manifest.threats.clone();
    all.push(format!(
        "Nodes, servers and load share one machine ({}) and its loopback: no network lies between them, and they take \
         processor time from each other.",
        plural(manifest.machine.cores.into(), "core")
    ));
    if manifest.blocks < FEW_BLOCKS {
        all.push(format!(
            "{} per contender: the ranges show how runs differ, but are too few for an interval.",
            plural(manifest.blocks.into(), "block")
        ));
    }
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

fn correctness(comparison: &Comparison) -> Finding {
    let standing = comparison.conclusion().standing;
    let mut sentences = Vec::new();
    for row in comparison.contenders() {
        for (promised, verb) in
            [(Expected::Holds, "violated"), (Expected::Violated, "did not show the promised violation of")]
        {
            let mut checks: Vec<&str> = Vec::new();
            let mut blocks = Vec::new();
            for run in &row.records {
                for answer in &run.verdicts {
                    if answer.expected == promised && answer.promise() == Promise::Broken {
                        checks.push(&answer.check);
                        blocks.push(run.block);
                    }
                }
            }
            checks.dedup();
            blocks.dedup();
            if !blocks.is_empty() {
                sentences.push(format!(
                    "{} {verb} {} in {} of {}.",
                    row.contender,
                    list(&checks),
                    blocks.len(),
                    plural(row.records.len() as u64, "run")
                ));
            }
        }
    }
    for row in comparison.contenders() {
        if let standing @ Standing::Foretold(_) = comparison.standing_of(row) {
            sentences.push(format!(
                "{} did what was foretold: {}.",
                row.contender,
                Cell::from(standing).text
            ));
        }
    }
    let held: Vec<&str> = standing_names(comparison, Standing::Pass);
    if !held.is_empty() {
        sentences.push(format!("Everything asked holds for {}.", list(&held)));
    }
    let untold = standing_names(comparison, Standing::Unknown);
    if !untold.is_empty() {
        sentences.push(format!("A check could not tell for {}.", list(&untold)));
    }
    let unproven = standing_names(comparison, Standing::NotProven);
    if !unproven.is_empty() {
        sentences.push(format!(
            "No violation was seen for {}, which proves nothing here: see below.",
            list(&unproven)
        ));
    }
    if sentences.is_empty() {
        sentences.push("No run of a contender was recorded.".to_owned());
    }
    Finding { question: "Correctness", badge: standing.into(), sentences }
}

fn standing_names(comparison: &Comparison, standing: Standing) -> Vec<&str> {
    let rows = comparison.contenders().filter(|row| comparison.standing_of(row) == standing);
    rows.map(|row| row.contender.as_str()).collect()
}

fn validity(comparison: &Comparison) -> Finding {
    let (recorded, expected) = (comparison.records().count(), comparison.runs_expected());
    let mut sentences: Vec<String> = comparison
        .records()
        .filter(|run| !run.invalid.is_empty())
        .map(|run| format!("{}, block {}: {}.", run.contender, run.block, run.invalid.join("; ")))
        .collect();
    let invalid = sentences.len();
    if recorded < expected {
        sentences.push(format!("{recorded} of {expected} runs were recorded."));
    }
    let badge = match (recorded, invalid) {
        (0, _) => Cell::marked(Mark::Doubt, "NO RUNS"),
        (_, 0) => Cell::marked(Mark::Good, "VALID"),
        _ => Cell::marked(Mark::Bad, format!("INVALID {invalid} of {recorded}")),
    };
    if invalid == 0 && recorded > 0 {
        sentences
            .insert(0, format!("None of {} has a reason to be set aside.", plural(recorded as u64, "run")));
    }
    let repeated = comparison.records().filter(|run| !run.repeated.is_empty());
    sentences.extend(repeated.map(|run| {
        let (contender, block, times) =
            (&run.contender, run.block, plural(run.repeated.len() as u64, "attempt"));
        format!(
            "{contender}, block {block}: {times} before this one not counted: {}.",
            run.repeated.join("; ")
        )
    }));
    Finding { question: "Validity", badge, sentences }
}

fn controls(comparison: &Comparison) -> Finding {
    let mut sentences = Vec::new();
    for row in comparison.controls() {
        match comparison.standing_of(row) {
            Standing::Caught(k, n) => sentences.push(format!(
                "{} excludes nothing and was caught in {k} of {}.",
                row.contender,
                plural(n as u64, "block")
            )),
            Standing::Exact(..) => sentences.push(programmed(row)),
            Standing::Violated(_) | Standing::Held(_) => {
                sentences.push(format!("{} broke what it promises: the bench is in doubt.", row.contender));
            }
            Standing::Pass
            | Standing::Foretold(_)
            | Standing::NotJudged
            | Standing::NotProven
            | Standing::Unknown => {}
        }
    }
    if comparison.manifest.plan.unlimited {
        sentences.push(
            "Every resource is of level 0: nothing has to be kept apart, so that nobody can be caught."
                .to_owned(),
        );
    } else if !comparison.controls().any(Row::must_be_caught) {
        sentences.push(
            "No control without exclusion ran, so that nothing shows that the checks can see.".to_owned(),
        );
    }
    let badge = if comparison.conclusion().controls_hold {
        Cell::marked(Mark::Good, "CONTROLS HOLD")
    } else {
        Cell::marked(Mark::Doubt, "NOT PROVEN")
    };
    Finding { question: "Controls", badge, sentences }
}

/// What a control promised and what was measured.
pub(crate) fn programmed(row: &Row) -> String {
    format!(
        "{} was programmed to wait {}; the measured median, start lag taken off, is {}.",
        row.contender,
        format::duration_or_missing(row.programmed_ns()),
        format::duration_or_missing(row.latency.delay_ns()),
    )
}

fn capacity(comparison: &Comparison) -> Option<Finding> {
    let sentences = carries::sentences(comparison)?;
    let blocks = plural(comparison.manifest.blocks.into(), "block");
    Some(Finding { question: "Capacity", badge: Cell::text(blocks), sentences })
}

fn cost(comparison: &Comparison) -> Finding {
    let plan = &comparison.manifest.plan;
    let offered = plan.tasks as f64 * 1e9 / plan.window_ns.max(1) as f64;
    let mut sentences = Vec::new();
    let span = |figure: fn(&Row) -> Option<f64>, show: fn(f64) -> String| {
        let mut known: Vec<(&str, f64)> =
            comparison.contenders().filter_map(|row| Some((row.contender.as_str(), figure(row)?))).collect();
        known.sort_by(|a, b| a.1.total_cmp(&b.1));
        let ((low, least), (high, greatest)) = (*known.first()?, *known.last()?);
        let (least, greatest) = (show(least), show(greatest));
        Some(match least == greatest {
            true => format!("was {least} for all"),
            false => format!("went from {least} ({low}) to {greatest} ({high})"),
        })
    };
    if let Some(goodput) =
        span(|row| row.goodput_per_s.map(|of| of.median), |rate| format!("{} /s", significant(rate)))
    {
        sentences.push(format!(
            "At {} tasks/s offered on {}, median goodput {goodput}{}.",
            significant(offered),
            plural(plan.nodes.into(), "node"),
            if ranges_meet(comparison) { "; all ranges of the blocks overlap" } else { "" },
        ));
    }
    // Nothing is said of one that so few waits do not support, or that what did not finish hides.
    let p99 = |row: &Row| match row.latency.wait.quantile(0.99)? {
        Quantile::Is(ns) => Some(ns as f64),
        Quantile::AtLeast(_) => None,
    };
    let all_known = comparison.contenders().all(|row| p99(row).is_some());
    if let Some(wait) = span(p99, duration).filter(|_| all_known) {
        sentences.push(format!("The 99th percentile of the wait {wait}."));
    }
    if sentences.is_empty() {
        sentences.push("Nothing was measured.".to_owned());
    }
    let blocks = plural(comparison.manifest.blocks.into(), "block");
    Finding { question: "Cost", badge: Cell::text(blocks), sentences }
}

fn ranges_meet(comparison: &Comparison) -> bool {
    let spreads: Vec<Spread> = comparison.contenders().filter_map(|row| row.goodput_per_s).collect();
    spreads.len() > 1 && spreads.iter().all(|a| spreads.iter().all(|b| a.overlaps(b)))
}

fn gate(comparison: &Comparison) -> Option<Finding> {
    let (badge, sentences) = gated::badge(comparison.gate.as_ref()?);
    Some(Finding { question: "Gate", badge, sentences })
}

fn end(comparison: &Comparison) -> Finding {
    let question = "Exit code";
    let mut end = comparison.manifest.end.clone();
    if let (Some(end), Some(_)) = (&mut end, &comparison.gate) {
        // The batch ended before it was put to the gate.
        let Conclusion { exit_code, reasons, .. } = comparison.conclusion();
        (end.exit_code, end.reasons) = (exit_code, reasons);
    }
    match end {
        Some(end) => Finding {
            question,
            badge: Cell::marked(
                if end.exit_code == 0 { Mark::Good } else { Mark::Bad },
                format!("EXIT {}", end.exit_code),
            ),
            sentences: if end.reasons.is_empty() {
                vec!["Nothing speaks against this batch: its runs are valid and every check answered as promised.".to_owned()]
            } else {
                end.reasons
            },
        },
        None => Finding {
            question,
            badge: Cell::marked(Mark::Doubt, "NO END"),
            sentences: vec![
                "The batch still runs or was killed: what follows is what it had recorded.".to_owned(),
            ],
        },
    }
}

fn failed(comparison: &Comparison) -> Option<Finding> {
    let failed = &comparison.manifest.failed;
    (!failed.is_empty()).then(|| Finding {
        question: "Could not be run",
        badge: Cell::marked(Mark::Bad, format!("FAILED {}", failed.len())),
        sentences: failed.iter().map(|each| format!("{} {}", each.contender, each.reason)).collect(),
    })
}

fn skipped(comparison: &Comparison) -> Option<Finding> {
    let skipped = &comparison.manifest.skipped;
    (!skipped.is_empty()).then(|| Finding {
        question: "Skipped",
        badge: Cell::marked(Mark::Doubt, format!("SKIPPED {}", skipped.len())),
        sentences: skipped.iter().map(|each| format!("{}: {}", each.contender, each.reason)).collect(),
    })
}

/// What an answer says, against what was promised, in words.
pub(crate) fn answer(verdict: &Verdict, expected: Expected, apart: bool) -> Cell {
    match (verdict, expected) {
        (Verdict::Holds, Expected::Violated) => Cell::marked(Mark::Bad, "held, violation promised"),
        (Verdict::Holds, _) => Cell::marked(Mark::Good, "holds"),
        (Verdict::Violated { .. }, Expected::Holds) => Cell::marked(Mark::Bad, "violated"),
        (Verdict::Violated { .. }, Expected::Violated) if apart => {
            Cell::marked(Mark::Good, "caught (as it must be)")
        }
        (Verdict::Violated { .. }, Expected::Violated) => Cell::marked(Mark::Bad, "violated (foretold)"),
        (Verdict::Violated { .. }, Expected::Either) => Cell::marked(Mark::Doubt, "violated (not judged)"),
        (Verdict::Unknown { reason }, _) => Cell::marked(Mark::Doubt, "unknown").noted(reason),
        (Verdict::NotApplicable { reason }, _) => Cell::text("not applicable").noted(reason),
    }
}

/// The promise in words.
pub(crate) fn promised(expected: Expected) -> &'static str {
    match expected {
        Expected::Holds => "holds",
        Expected::Violated => "violated",
        Expected::Either => "not judged",
    }
}

/// "block 2", "blocks 1, 3".
pub(crate) fn blocks_named(blocks: &[u32]) -> String {
    let numbers: Vec<String> = blocks.iter().map(u32::to_string).collect();
    format!("block{} {}", if blocks.len() == 1 { "" } else { "s" }, numbers.join(", "))
}

fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn text(comparison: &Comparison) -> String {
        let lines = findings(comparison)
            .into_iter()
            .map(|f| format!("{}: {} {}", f.question, f.badge.text, f.sentences.join(" ")));
        lines.collect::<Vec<_>>().join("\n").replace('\u{202f}', " ")
    }

    #[test]
    fn each_question_is_answered_from_the_data() {
        let text = text(&fixture::small());
        for part in [
            "Correctness: 3 exclusion broken redis-naive violated exclusion in 3 of 3 runs. Everything asked holds for ring-queue.",
            "Validity: VALID None of 12 runs has a reason to be set aside.",
            "Controls: CONTROLS HOLD none excludes nothing and was caught in 3 of 3 blocks. noop was programmed to wait 5.00 ms; the measured median, start lag taken off, is ",
            "Cost: 3 blocks At 400 tasks/s offered on 4 nodes, median goodput went from ",
            "Exit code: EXIT 3 redis-naive violated exclusion, which had to hold",
            "Skipped: SKIPPED 1 zk-seq: no ZooKeeper on this machine",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }

    #[test]
    fn no_sentence_ranks() {
        let text = text(&fixture::rich()).to_lowercase();
        for word in ["fastest", "slowest", "best", "worst", "winner", "faster", "slower", "better"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn a_killed_batch_says_so() {
        let mut killed = fixture::small();
        killed.manifest.end = None;
        killed.rows[0].records.pop();
        let text = text(&killed);
        assert!(text.contains("Exit code: NO END The batch still runs or was killed"), "{text}");
        assert!(text.contains("11 of 12 runs were recorded"), "{text}");
        assert!(text.contains("proves nothing here"), "{text}");
    }

    #[test]
    fn an_invalid_run_is_named_with_its_reason() {
        let mut comparison = fixture::small();
        comparison.rows[1].records[2].invalid.push("the generator was late".to_owned());
        assert!(
            text(&comparison)
                .contains("Validity: INVALID 1 of 12 redis-naive, block 3: the generator was late")
        );
    }

    #[test]
    fn an_attempt_that_was_not_counted_is_disclosed() {
        let mut comparison = fixture::small();
        comparison.rows[1].records[2].repeated.push("20 ms late; kept in late/3-redis-naive-1".to_owned());
        let text = text(&comparison);
        assert!(
            text.contains("redis-naive, block 3: 1 attempt before this one not counted: 20 ms late"),
            "{text}"
        );
    }

    #[test]
    fn few_blocks_and_warnings_of_runs_are_threats() {
        let threats = threats(&fixture::small()).join("\n");
        assert!(threats.starts_with("The processor frequency is not pinned."), "{threats}");
        assert!(
            threats.contains("3 blocks per contender") && threats.contains("redis-naive, block 2: 17 tasks"),
            "{threats}"
        );
    }
}
