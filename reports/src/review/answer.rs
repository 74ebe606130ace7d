//! Whether a candidate meets a requirement.

use harness::record::difference::Together;
use harness::record::{
    Asked, CheckVerdict, Demand, FaultRecord, Kept, Limit, Metric, Requirement, RunRecord, Threshold,
    Verdict, judge_thresholds,
};

use super::phases::Review;
use crate::format;
use crate::table::{Cell, Mark};
use crate::{Comparison, Row};

/// Four-valued answer to a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    Yes,
    No,
    CannotTell,
    NotMeasured,
}

/// Whether one candidate meets one requirement.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) met: Met,
    /// The number with its interval, or what was done.
    pub(super) observed: String,
    pub(super) why: String,
}

impl Answer {
    fn not_measured(why: impl Into<String>) -> Self {
        Self { met: Met::NotMeasured, observed: String::new(), why: why.into() }
    }

    /// For a table: the word, the number below it.
    pub(super) fn cell(&self) -> Cell {
        let word = match self.met {
            Met::Yes => Cell::marked(Mark::Good, "met"),
            Met::No => Cell::marked(Mark::Bad, "not met"),
            Met::CannotTell => Cell::marked(Mark::Doubt, "cannot tell"),
            Met::NotMeasured => Cell::marked(Mark::Doubt, "not measured"),
        };
        let told = [self.observed.as_str(), self.why.as_str()].into_iter().filter(|text| !text.is_empty());
        word.noted(told.collect::<Vec<_>>().join("; "))
    }
}

/// For each requirement, the answer about each candidate, in their orders. All limits are judged together.
pub(super) fn answers(review: &Review) -> Vec<Vec<Answer>> {
    let candidates = review.candidates();
    let pairs =
        || review.record.requirements.iter().flat_map(|of| candidates.iter().map(move |name| (of, *name)));
    let thresholds: Vec<Option<Threshold>> = pairs().map(|(of, name)| threshold(of, name)).collect();
    let asked: Vec<Option<Asked<'_>>> = pairs()
        .zip(&thresholds)
        .map(|((of, name), threshold)| {
            let (_, batch) = review.phase(&of.during)?;
            let (threshold, reference) = (threshold.as_ref()?, Vec::new());
            let runs = batch.telling(row(batch, name)?, threshold.metric);
            Some(Asked { threshold, runs, reference, together: Together::OfSeveral, known_sd: None })
        })
        .collect();
    let there: Vec<Asked<'_>> = asked.iter().flatten().map(again).collect();
    let mut judged = judge_thresholds(&there).into_iter();
    let answers: Vec<Answer> = pairs()
        .zip(&asked)
        .map(|((of, name), asked)| {
            let judged = asked.as_ref().and_then(|_| judged.next());
            let Some((_, batch)) = review.phase(&of.during) else {
                return Answer::not_measured(not_run(review, &of.during));
            };
            let Some(row) = row(batch, name) else {
                return Answer::not_measured(absent(batch, name));
            };
            match (&of.demand, judged) {
                (Demand::Holds { check }, _) => holds(batch, row, check),
                (_, Some(judged)) => Answer {
                    met: match judged.kept {
                        Kept::Yes if !batch.conclusion().controls_hold => Met::CannotTell,
                        Kept::Yes => Met::Yes,
                        Kept::No => Met::No,
                        Kept::CannotTell => Met::CannotTell,
                    },
                    observed: judged.observed,
                    why: judged.why,
                },
                (_, None) => Answer::not_measured("nobody knows this metric"),
            }
        })
        .collect();
    answers.chunks(candidates.len().max(1)).map(<[Answer]>::to_vec).collect()
}

fn again<'a>(asked: &Asked<'a>) -> Asked<'a> {
    Asked {
        threshold: asked.threshold,
        runs: asked.runs.clone(),
        reference: Vec::new(),
        together: asked.together,
        known_sd: None,
    }
}

fn threshold(of: &Requirement, contender: &str) -> Option<Threshold> {
    let (metric, limit) = match &of.demand {
        Demand::AtMost { metric, limit } => (metric, Limit::AtMost(*limit)),
        Demand::AtLeast { metric, limit } => (metric, Limit::AtLeast(*limit)),
        Demand::Holds { .. } => return None,
    };
    Some(Threshold { contender: contender.to_owned(), metric: Metric::named(metric)?, limit })
}

fn row<'a>(batch: &'a Comparison, name: &str) -> Option<&'a Row> {
    batch.contenders().find(|row| row.contender == name)
}

fn not_run(review: &Review, phase: &str) -> String {
    let left_out = review.record.left_out.iter().find(|(name, _)| name == phase);
    left_out.map_or_else(|| format!("{phase} has not run"), |(_, why)| format!("{phase} was left out: {why}"))
}

fn absent(batch: &Comparison, name: &str) -> String {
    let manifest = &batch.manifest;
    let known = manifest.skipped.iter().chain(&manifest.failed).find(|of| of.contender == name);
    known.map_or_else(|| "it did not take part".to_owned(), |of| of.reason.clone())
}

/// A violation counts also in an invalid run; that a check holds only in valid ones, with controls that worked.
fn holds(batch: &Comparison, row: &Row, check: &str) -> Answer {
    let of = |runs: &mut dyn Iterator<Item = &RunRecord>| -> Vec<CheckVerdict> {
        runs.flat_map(|run| &run.verdicts).filter(|answer| answer.check == check).cloned().collect()
    };
    let all = of(&mut row.records.iter());
    let violated: Vec<_> =
        all.iter().filter(|answer| matches!(answer.verdict, Verdict::Violated { .. })).collect();
    if let Some(first) = violated.first() {
        let times: u64 = violated.iter().map(|answer| answer.violations.max(1)).sum();
        let observed = format::counted(times, &first.counted);
        return Answer { met: Met::No, observed, why: String::new() };
    }
    let doubt = |why: String| Answer { met: Met::CannotTell, observed: String::new(), why };
    if let Some(why) = all.iter().find_map(|answer| match &answer.verdict {
        Verdict::Unknown { reason } | Verdict::NotApplicable { reason } => Some(reason.clone()),
        _ => None,
    }) {
        return doubt(why);
    }
    if let Some(why) = row.records.iter().flat_map(|run| &run.invalid).next() {
        return doubt(why.clone());
    }
    if !batch.conclusion().controls_hold {
        return doubt("the controls of this phase prove nothing".to_owned());
    }
    if all.is_empty() {
        return doubt("nobody asked this check".to_owned());
    }
    if let Some(why) = row.records.iter().find_map(met_too_few) {
        return doubt(why);
    }
    let examined: u64 = all.iter().map(|answer| answer.examined).sum();
    let hit: u64 = row.records.iter().map(|run| run.faults.effective()).sum();
    let faults = if hit > 0 { format!(", {} that hit", format::plural(hit, "fault")) } else { String::new() };
    Answer {
        met: Met::Yes,
        observed: format!("{} examined{faults}", format::count(examined)),
        why: String::new(),
    }
}

/// Faults aimed at a holder say something about it only if others came to its key: while it was hit, or, if then nobody was ever let in,
/// after it.
fn met_too_few(run: &RunRecord) -> Option<String> {
    const LEAST: usize = 3;
    let aimed = || run.faults.faults.iter().filter(|fault| fault.target == "holder" && fault.hits > 0);
    if run.faults.faults.iter().all(|fault| fault.target != "holder") {
        return None;
    }
    let lasted = |fault: &FaultRecord| Some(fault.until_ns?.saturating_sub(fault.from_ns?));
    // What was broken is its node, with all else that was inside there: whoever overlapped with any of it was let in beside it.
    let beside =
        run.verdicts.iter().find(|answer| answer.check == "exclusion").map_or(0, |answer| answer.violations);
    if beside >= LEAST as u64 && aimed().count() >= LEAST {
        return None;
    }
    let meanwhile =
        aimed().filter(|fault| fault.freed_ns.is_some() && fault.freed_ns < lasted(fault)).count();
    let after = aimed().filter(|fault| fault.freed_ns.is_some()).count() - meanwhile;
    match (meanwhile, after) {
        (LEAST.., _) | (0, LEAST..) => None,
        (0, few) => {
            Some(format!("somebody came to the key of a holder that was hit {few} times, {LEAST} are needed"))
        }
        (few, _) => Some(format!(
            "while a holder was hit, somebody was let in beside it {few} times, {LEAST} are needed"
        )),
    }
}
