//! The one judgement of a batch: what each row did, whether that was foretold, whether the bench itself was proven, and
//! the exit code that follows. Command line, terminal, report and JUnit all ask here, so that they cannot disagree.
//!
//! What each row did is in `standing`. A foretold violation breaks no promise, so the batch may still end with exit code 0.

use std::collections::BTreeMap;

use super::capacity::carried;
use super::gate::{GateAnswer, GateRecord, Kept};
use super::manifest::Manifest;
use super::run::{Role, RunRecord, TOO_BUSY};
use super::standing::{
    Promise, Standing, gravest, must_be_caught, role, standing, too_few_regressions, with_probes,
};
use super::verdict::Verdict;
/// How a batch ended, other than by its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchEnd {
    /// Every run that was asked for took place.
    Complete,
    /// Somebody ended it early.
    Interrupted,
    /// A server or a session could not be had, and why.
    Failed(String),
    /// It still runs, or was killed.
    Missing,
}
impl BatchEnd {
    /// The end that a manifest tells of.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        match &manifest.end {
            None => Self::Missing,
            Some(end) if end.exit_code == 130 => Self::Interrupted,
            Some(end) if end.exit_code == 2 => Self::Failed(end.reasons.join("; ")),
            Some(_) => Self::Complete,
        }
    }
}
/// What a batch amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// 130 interrupted, 2 it could not be run, 3 a contender broke a promise, 4 invalid or not proven, 1 a threshold of the gate
    /// is broken, 5 one cannot be told, 0 otherwise; the first of these that is the case.
    pub exit_code: u8,
    /// All that speaks against the batch, one sentence each, the gravest first.
    pub reasons: Vec<String>,
    /// Of all contenders together: the gravest.
    pub standing: Standing,
    /// Of each row, in the order given.
    pub rows: Vec<Standing>,
    /// Whether the bench itself was shown to work.
    pub controls_hold: bool,
}
impl Conclusion {
    /// Which of several exit codes is that of all together.
    #[must_use]
    pub fn gravest_exit(codes: impl IntoIterator<Item = u8>) -> u8 {
        const GRAVEST_FIRST: [u8; 6] = [2, 130, 3, 4, 1, 5];
        let codes: Vec<u8> = codes.into_iter().collect();
        GRAVEST_FIRST.into_iter().find(|code| codes.contains(code)).unwrap_or(0)
    }
}
/// Something that speaks against a batch.
struct Reason {
    weight: Weight,
    text: String,
}
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// A contender broke a promise.
    Broken,
    /// The batch does not prove what it says.
    Unproven,
    /// Nor here, but only since the machine had others to serve.
    Busy,
}
/// Concludes a batch, and the gate that it was put to, if any. Each row is all runs of one contender or control, at least one;
/// `probes` are those that looked for capacities. What a probe missed is a result; what it broke counts as in any run.
#[must_use]
pub fn conclude(
    manifest: &Manifest,
    rows: &[&[RunRecord]],
    probes: &[RunRecord],
    end: &BatchEnd,
    gate: Option<&GateRecord>,
) -> Conclusion {
    let mut reasons: Vec<Reason> = rows.iter().flat_map(|row| against_row(row)).collect();
    reasons.extend(against_probes(manifest, probes));
    let controls = against_controls(manifest, rows, end);
    let controls_hold = controls.is_empty();
    reasons.extend(controls);
    if !rows.iter().any(|row| role(row) == Role::Contender) && *end != BatchEnd::Interrupted {
        reasons.push(unproven("no contender ran".to_owned()));
    }
    let failed = manifest.failed.iter();
    reasons.extend(failed.map(|failed| unproven(format!("{}: {}", failed.contender, failed.reason))));
    if *end == BatchEnd::Missing {
        reasons.push(unproven("the batch still runs or was killed".to_owned()));
    }
    let proven = controls_hold && *end == BatchEnd::Complete;
    let rows: Vec<(Role, Standing)> = rows
        .iter()
        .map(|row| match (role(row), with_probes(row, probes)) {
            (Role::Contender, Standing::Pass) if !proven => (Role::Contender, Standing::NotProven),
            of => of,
        })
        .zip(rows)
        .map(|((role, standing), row)| match standing {
            Standing::Pass if manifest.failed.iter().any(|failed| failed.contender == row[0].contender) => {
                (role, Standing::NotProven)
            }
            standing => (role, standing),
        })
        .collect();
    let of = |weight: Weight| reasons.iter().filter(move |reason| reason.weight == weight);
    let [broken, unproven, busy] = [Weight::Broken, Weight::Unproven, Weight::Busy]
        .map(|weight| of(weight).map(|reason| reason.text.clone()).collect::<Vec<_>>());
    let exit_code = match end {
        BatchEnd::Interrupted => 130,
        BatchEnd::Failed(_) => 2,
        _ if !broken.is_empty() => 3,
        _ if !unproven.is_empty() || !busy.is_empty() => 4,
        _ if gate.is_some_and(|gate| gate.count(Kept::No) > 0) => 1,
        _ if gate.is_some_and(|gate| gate.count(Kept::CannotTell) > 0) => 5,
        _ => 0,
    };
    let first = match end {
        BatchEnd::Interrupted => Some("interrupted".to_owned()),
        BatchEnd::Failed(why) => Some(why.clone()),
        BatchEnd::Complete | BatchEnd::Missing if exit_code != 4 => None,
        BatchEnd::Complete | BatchEnd::Missing if unproven.is_empty() => {
            Some(format!("{TOO_BUSY}: run it again when it has less to do for others"))
        }
        BatchEnd::Complete | BatchEnd::Missing => Some("the batch is not proven".to_owned()),
    };
    let gated = against_gate(gate);
    let texts = broken.into_iter().chain(unproven).chain(busy).chain(gated);
    Conclusion {
        exit_code,
        reasons: first.into_iter().chain(texts).collect(),
        standing: gravest(rows.iter().filter(|(role, _)| *role == Role::Contender).map(|(_, of)| of)),
        rows: rows.into_iter().map(|(_, standing)| standing).collect(),
        controls_hold,
    }
}
/// What a gate has against the batch: what is broken first.
fn against_gate(gate: Option<&GateRecord>) -> Vec<String> {
    let of = |kept, word: &'static str| {
        let answers =
            gate.into_iter().flat_map(|gate| &gate.answers).filter(move |answer| answer.kept == kept);
        answers.map(move |answer| {
            let GateAnswer { contender, rule, observed, why, .. } = answer;
            let observed = if observed.is_empty() { String::new() } else { format!(": {observed}") };
            format!("gate: {contender}: {rule} {word}{observed}; {why}")
        })
    };
    of(Kept::No, "is broken").chain(of(Kept::CannotTell, "cannot be told")).collect()
}
fn unproven(text: String) -> Reason {
    Reason { weight: Weight::Unproven, text }
}
/// What speaks against one row.
fn against_row(row: &[RunRecord]) -> Vec<Reason> {
    let weight = match role(row) {
        Role::Contender => Weight::Broken,
        // A control can leave a batch unproven, and nothing graver.
        Role::Control => Weight::Unproven,
    };
    let mut reasons = Vec::new();
    let mut answers = 0;
    for run in row {
        let place = format!("{}, block {}", run.contender, run.block);
        reasons.extend(run.invalid.iter().map(|why| Reason {
            weight: if why.starts_with(TOO_BUSY) { Weight::Busy } else { Weight::Unproven },
            text: format!("{place}: invalid: {why}"),
        }));
        // By what stands in the way: it mostly stands in the way of all.
        let mut untold: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for answer in &run.verdicts {
            answers += u32::from(!matches!(answer.verdict, Verdict::NotApplicable { .. }));
            let (promise, check) = (answer.promise(), &answer.check);
            let (weight, what) = match &answer.verdict {
                _ if promise == Promise::Kept => continue,
                Verdict::Unknown { reason } => {
                    untold.entry(reason).or_default().push(check);
                    continue;
                }
                Verdict::Violated { .. } => {
                    (weight, format!("{check} was violated {} times", answer.violations))
                }
                Verdict::Holds | Verdict::NotApplicable { .. } if run.role == Role::Control => {
                    (weight, format!("{check} did not catch it"))
                }
                Verdict::Holds | Verdict::NotApplicable { .. } => {
                    (weight, format!("{check} held where a violation was promised"))
                }
            };
            reasons.push(Reason { weight, text: format!("{place}: {what}") });
        }
        for (reason, checks) in untold {
            reasons.push(unproven(format!("{place}: {}: cannot tell: {reason}", checks.join(", "))));
        }
        if let Some(what) = too_few_regressions(run) {
            reasons.push(Reason { weight, text: format!("{place}: {what}") });
        }
        if let Some(off) = noop_is_off(run) {
            let weight = if run.machine_was_busy() { Weight::Busy } else { Weight::Unproven };
            reasons.push(Reason { weight, text: format!("{place}: {off}") });
        }
    }
    if answers == 0 && role(row) == Role::Contender {
        let contender = row.first().map_or("", |run| &run.contender);
        reasons.push(unproven(format!("{contender}: no check answered anything")));
    }
    reasons
}
/// What speaks against probes: what they broke, and contenders of which none tells what they carry.
fn against_probes(manifest: &Manifest, probes: &[RunRecord]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for run in probes {
        let Some(probe) = run.probe else { continue };
        let weight = if run.role == Role::Contender { Weight::Broken } else { Weight::Unproven };
        for answer in run.verdicts.iter().filter(|answer| answer.is_violated()) {
            if answer.promise() == Promise::Broken {
                let place = format!("{}, block {}, at {:.0}/s", run.contender, run.block, probe.rate_per_s);
                let what = format!("{} was violated {} times", answer.check, answer.violations);
                reasons.push(Reason { weight, text: format!("{place}: {what}") });
            }
        }
    }
    let Some(level) = &manifest.service_level else { return reasons };
    let mut names: Vec<&str> = probes.iter().map(|run| run.contender.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let own: Vec<RunRecord> = probes.iter().filter(|run| run.contender == name).cloned().collect();
        let found = carried(level, 1, &[&own]).iter().any(|one| !one.blocks.is_empty());
        if !found && own[0].role == Role::Contender {
            let busy = own.iter().all(|run| run.machine_was_busy());
            let weight = if busy { Weight::Busy } else { Weight::Unproven };
            let text = format!(
                "{name}: no block tells how much it carries: its probes lie on one side of the limit"
            );
            reasons.push(Reason { weight, text });
        }
    }
    reasons
}
/// What leaves the bench itself unproven: something without exclusion must have been caught, in every block, if anything had
/// to be kept apart; what was programmed must have been measured; no control may have broken another promise.
fn against_controls(manifest: &Manifest, rows: &[&[RunRecord]], end: &BatchEnd) -> Vec<Reason> {
    let controls = || rows.iter().filter(|row| role(row) == Role::Control);
    let mut reasons = Vec::new();
    let needed: &[&str] = if manifest.plan.unlimited { &["noop"] } else { &["noop", "none"] };
    for name in needed {
        let ran = controls().any(|row| row[0].contender == *name);
        let skipped = manifest.skipped.iter().any(|skipped| skipped.contender == *name);
        if !ran && !skipped && *end != BatchEnd::Interrupted {
            reasons
                .push(unproven(format!("the control {name} did not take part, so nothing proves the bench")));
        }
    }
    let nobody_to_catch = !manifest.plan.unlimited && !controls().any(|row| must_be_caught(row));
    if reasons.is_empty() && nobody_to_catch {
        let what = "no control without exclusion was judged: nothing shows that the checks can see";
        reasons.push(unproven(what.to_owned()));
    }
    for row in controls() {
        let name = &row[0].contender;
        let what = match standing(row) {
            Standing::Caught(k, n) if k < n => format!("was caught in {k} of {n} blocks"),
            Standing::Exact(k, n) if k < n => format!("measured what was programmed in {k} of {n} blocks"),
            Standing::Violated(_) | Standing::Held(_) => "broke what it promises".to_owned(),
            _ => continue,
        };
        let off = |run: &&RunRecord| run.delay_is_exact() == Some(false);
        let busy = matches!(standing(row), Standing::Exact(..))
            && row.iter().filter(off).all(RunRecord::machine_was_busy);
        let weight = if busy { Weight::Busy } else { Weight::Unproven };
        reasons.push(Reason { weight, text: format!("the control {name} {what}: the bench is in doubt") });
    }
    reasons
}
/// The control `noop` proves the measuring.
fn noop_is_off(record: &RunRecord) -> Option<String> {
    let (measured_ns, programmed_ns) = (record.latency.delay_ns()?, record.programmed_delay_ns?);
    (record.delay_is_exact() == Some(false)).then(|| {
        let (measured, programmed) = (measured_ns as f64 / 1e6, programmed_ns as f64 / 1e6);
        let tail = record.latency.tail_ns().map(|tail_ns| format!(" (p99 {:.3} ms)", tail_ns as f64 / 1e6));
        let tail = tail.unwrap_or_default();
        format!("measured a wait of {measured:.3} ms{tail} where {programmed:.3} ms were programmed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_batches_the_gravest_exit_is_that_of_all() {
        let of = |codes: &[u8]| Conclusion::gravest_exit(codes.iter().copied());
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[0, 0]), 0);
        let gravest_first = [2, 130, 3, 4, 1, 5];
        for (place, code) in gravest_first.into_iter().enumerate() {
            let rest: Vec<u8> = gravest_first[place..].iter().rev().copied().chain([0]).collect();
            assert_eq!(of(&rest), code);
        }
    }
}
