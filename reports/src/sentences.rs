//! One sentence per question, made from the data, each with its condition. No sentence ranks.

use harness::record::difference::Answer;
use harness::record::{CheckVerdict, Conclusion, Expected, Promise, Quantile, Standing, Verdict};

use crate::beside::Beside;
use crate::folded::folded;
use crate::format::{self, duration, plural, significant};
use crate::gated;
use crate::table::{Cell, Mark, counted};
use crate::{Comparison, Row, callers, carries};

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
    all.push(cost(comparison));
    all.extend(differences(comparison));
    all.push(end(comparison));
    all.extend(gate(comparison));
    all.extend(failed(comparison));
    all.extend(skipped(comparison));
    all
}

/// The whole batch in one sentence.
pub(crate) fn overview(comparison: &Comparison) -> String {
    let plan = &comparison.manifest.plan;
    if let Some(who) = callers::who(comparison) {
        return format!(
            "{} and {} under {who}, on {}, {} of {} at most.",
            plural(comparison.contenders().count() as u64, "contender"),
            plural(comparison.controls().count() as u64, "control"),
            plural(plan.nodes.into(), "node"),
            plural(comparison.manifest.blocks.into(), "block"),
            duration(plan.window_ns as f64),
        );
    }
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

fn correctness(comparison: &Comparison) -> Finding {
    let standing = comparison.conclusion().standing;
    let mut sentences = Vec::new();
    for row in comparison.contenders() {
        for (promised, verb) in
            [(Expected::Holds, "violated"), (Expected::Violated, "did not show the promised violation of")]
        {
            let broken =
                |answer: &&CheckVerdict| answer.expected == promised && answer.promise() == Promise::Broken;
            let mut checks: Vec<&str> = Vec::new();
            for answer in row.records.iter().flat_map(|run| &run.verdicts).filter(broken) {
                if !checks.contains(&answer.check.as_str()) {
                    checks.push(&answer.check);
                }
            }
            let runs = row.records.iter().filter(|run| run.verdicts.iter().any(|answer| broken(&answer)));
            if !checks.is_empty() {
                sentences.push(format!(
                    "{} {verb} {} in {} of {}.",
                    row.contender,
                    list(&checks),
                    runs.count(),
                    plural(row.records.len() as u64, "run")
                ));
            }
        }
    }
    for row in comparison.contenders() {
        if let Standing::Foretold(deeds) = comparison.standing_of(row) {
            let deeds: Vec<String> = deeds.iter().map(counted).collect();
            sentences.push(format!("{} did what was foretold: {}.", row.contender, deeds.join(", ")));
        }
    }
    let held: Vec<&str> = standing_names(comparison, Standing::Pass);
    if !held.is_empty() {
        sentences.push(format!("Everything asked holds for {}, {}.", list(&held), condition(comparison)));
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

/// Under what a contender's answers were given.
fn condition(comparison: &Comparison) -> String {
    let mut kinds: Vec<String> = Vec::new();
    let faults = || comparison.contenders().flat_map(|row| &row.records).flat_map(|run| &run.faults.faults);
    for fault in faults().filter(|fault| fault.effective) {
        let kind = format!("{} {}", fault.verb, fault.target);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    match faults().filter(|fault| fault.effective).count() as u64 {
        0 => "while nothing was broken on purpose".to_owned(),
        n => format!("under {} that took effect ({})", plural(n, "fault"), kinds.join(", ")),
    }
}

fn standing_names(comparison: &Comparison, standing: Standing) -> Vec<&str> {
    let rows = comparison.contenders().filter(|row| comparison.standing_of(row) == standing);
    rows.map(|row| row.contender.as_str()).collect()
}

fn validity(comparison: &Comparison) -> Finding {
    let (recorded, expected) = (comparison.records().count(), comparison.runs_expected());
    let each: Vec<String> = comparison
        .records()
        .filter(|run| !run.invalid.is_empty())
        .map(|run| format!("{}, block {}: {}.", run.contender, run.block, run.invalid.join("; ")))
        .collect();
    let invalid = each.len();
    let mut sentences = folded(&each);
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
    let programmed = format::duration_or_missing(row.programmed_ns());
    match row.latency.delay_ns() {
        Some(ns) => format!(
            "{} was programmed to wait {programmed}; the measured median, start lag taken off, is {}.",
            row.contender,
            format::duration(ns as f64)
        ),
        None => format!("{} was programmed to wait {programmed}; nothing valid was measured.", row.contender),
    }
}

fn capacity(comparison: &Comparison) -> Option<Finding> {
    let sentences = carries::sentences(comparison)?;
    let blocks = plural(comparison.manifest.blocks.into(), "block");
    Some(Finding { question: "Capacity", badge: Cell::text(blocks), sentences })
}

fn cost(comparison: &Comparison) -> Finding {
    let plan = &comparison.manifest.plan;
    let offered = plan.tasks as f64 * 1e9 / plan.window_ns.max(1) as f64;
    let several = comparison.contenders().count() > 1;
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
        let asked = match callers::who(comparison) {
            None => format!("At {} tasks/s offered", significant(offered)),
            Some(who) => format!("Of {who},"),
        };
        sentences.push(format!(
            "{asked} on {}, median goodput {goodput}{}.",
            plural(plan.nodes.into(), "node"),
            if several && comparison.ranges_of_goodput_meet() {
                "; all ranges of the blocks overlap"
            } else {
                ""
            },
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

/// What differs from the reference, what does not, and what cannot be told, figure by figure.
fn differences(comparison: &Comparison) -> Option<Finding> {
    let beside = Beside::of(comparison)?;
    let mut sentences = Vec::new();
    for (at, metric) in beside.metrics.iter().enumerate() {
        let of = |answer: Answer| {
            let decided = beside.others.iter().filter_map(move |(row, all)| Some((*row, all[at]?)));
            decided.filter(move |(_, decided)| decided.answer == answer)
        };
        let names = |answer| of(answer).map(|(row, _)| row.contender.as_str()).collect::<Vec<_>>();
        let apart: Vec<String> = of(Answer::Different)
            .map(|(row, decided)| {
                let (low, high) = decided.ratio.interval(0.99);
                let [ratio, low, high] = [decided.ratio.ratio(), low, high].map(significant);
                format!("{ratio} ({low}–{high}) times as much for {}", row.contender)
            })
            .collect();
        let mut parts = apart;
        let (same, untold) = (names(Answer::Same), names(Answer::CannotTell));
        if !same.is_empty() {
            parts.push(format!("the same for {}", list(&same)));
        }
        if !untold.is_empty() {
            parts.push(format!("no difference can be told for {}", list(&untold)));
        }
        if !parts.is_empty() {
            sentences.push(format!("{}, beside {}: {}.", metric.title, beside.reference, parts.join("; ")));
        }
    }
    let blocks = plural(comparison.manifest.blocks.into(), "block");
    (!sentences.is_empty()).then(|| Finding { question: "Differences", badge: Cell::text(blocks), sentences })
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
                folded(&end.reasons)
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
mod tests;
