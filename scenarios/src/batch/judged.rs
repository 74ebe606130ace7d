//! What follows from the history of a run: figures, what came of the faults, and the answers of the checks. The same when it has just
//! ended, and when it is judged again from what is stored.

use std::io;

use harness::judge::checks;
use harness::judge::{Figures, aftermath, measure, timeline};
use harness::model::{Events, Facts, FaultTarget, FaultVerb, Histogram};
use harness::record::capacity::{Missed, missed};
use harness::record::{
    CheckVerdict, Expected, FaultFacts, FaultRecord, LeastFaults, Probe, Role, RunRecord, ServerFacts,
    ServiceLevel, Timeline, Verdict,
};

use crate::contenders::{Contender, Proof};
use crate::spec::{Foretold, Scenario, ScenarioSpec};

/// What follows from a history.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) figures: Figures,
    pub(super) faults: FaultFacts,
    verdicts: Vec<CheckVerdict>,
    timeline: Option<Timeline>,
}

/// Whose violations can be shown on a line of time, the gravest first.
const ON_A_TIMELINE: [&str; 3] = ["exclusion", "lost-update", "fencing"];

/// Judges the history of a run of this contender. What its bystanders waited is none of it, and comes beside it.
pub(super) fn judged<E: Events<Error = io::Error> + ?Sized>(
    scenario: &Scenario,
    contender: &Contender,
    facts: &Facts,
    events: &E,
    bystander: &Histogram,
    server: Option<&ServerFacts>,
) -> io::Result<Judged> {
    let mut figures = measure(facts, events)?;
    figures.latency.bystander.clone_from(bystander);
    let version = server.map(|server| format!("{} {}", server.name, server.version));
    let foretold =
        |check: &str| scenario.expected(check, contender.name, contender.class(), version.as_deref());
    let faults = faults(scenario, contender, facts, events, foretold)?;
    let judgements = checks::judge(checks::ALL, facts, events)?;
    let timeline = match contender.role {
        Role::Contender => first_violation(&judgements, facts, events)?,
        // That one lets two in is its purpose.
        Role::Control => None,
    };
    let verdicts = checks::ALL
        .iter()
        .zip(judgements)
        .map(|(check, judgement)| verdict(contender, check, judgement, facts, &faults, foretold(check.name)))
        .collect();
    Ok(Judged { figures, faults, verdicts, timeline })
}

fn first_violation<E: Events<Error = io::Error> + ?Sized>(
    judgements: &[checks::Judgement],
    facts: &Facts,
    events: &E,
) -> io::Result<Option<Timeline>> {
    for name in ON_A_TIMELINE {
        let found = checks::ALL.iter().zip(judgements).find(|(check, _)| check.name == name);
        if let Some(shown_by) = found.and_then(|(_, judgement)| judgement.shown_by) {
            return timeline(name, shown_by, facts, events);
        }
    }
    Ok(None)
}

impl Judged {
    /// The record of that run with all that follows from its history; `level`: what a rate must meet, where it is a probe.
    pub(super) fn into_record(self, rest: RunRecord, level: Option<&ServiceLevel>) -> RunRecord {
        let Self { figures, faults, verdicts, timeline } = self;
        let on_time = figures.on_time.unwrap_or_default();
        let probe = rest.probe.map(|probe| Probe { on_time, ..probe });
        let mut record = RunRecord {
            probe,
            tasks: figures.tasks,
            goodput_per_s: figures.goodput_per_s,
            backlog: figures.backlog,
            latency: figures.latency,
            awareness: figures.awareness,
            elsewhere: figures.elsewhere,
            completed_per_slice: figures.completed_per_slice,
            excess_per_slice_ns: figures.excess_per_slice_ns,
            grants: figures.grants,
            verdicts,
            timeline,
            faults,
            ..rest
        };
        let missed = level.zip(probe).and_then(|(level, probe)| missed(level, &record, &probe));
        if let Some(missed) = missed {
            spare_progress(&mut record, &missed);
        }
        record
    }
}

/// Whoever is offered more than he can carry leaves tasks waiting; nobody else is excused of that.
fn spare_progress(record: &mut RunRecord, missed: &Missed) {
    for answer in record.verdicts.iter_mut().filter(|answer| answer.check == PROGRESS) {
        let reason = format!("the rate was more than it carries: {missed}");
        answer.verdict = Verdict::NotApplicable { reason };
        answer.violations = 0;
    }
}

/// The check that everybody is served in the end.
const PROGRESS: &str = "progress";

/// What came of the faults, and what the scenario promises of it.
fn faults<E: Events<Error = io::Error> + ?Sized>(
    scenario: &Scenario,
    contender: &Contender,
    facts: &Facts,
    events: &E,
    foretold: impl Fn(&str) -> Foretold,
) -> io::Result<FaultFacts> {
    let spec = &scenario.spec;
    let aimed = facts.plan.faults.iter().any(|fault| fault.target == FaultTarget::Holder);
    let killed = facts.plan.faults.iter().any(|fault| fault.verb == FaultVerb::Kill);
    let shares = checks::ALL.iter().filter_map(|check| {
        let foretold = foretold(check.name);
        foretold.share_of_hits.filter(|_| foretold.verdict == Expected::Violated)
    });
    let aftermath = aftermath(facts, events)?;
    Ok(FaultFacts {
        least: least(spec, contender, &aftermath.faults),
        least_share: shares.reduce(f64::max).filter(|_| aimed),
        freed_bound_ns: facts.promises.free_within_ns.filter(|_| aimed && killed),
        ..aftermath
    })
}

/// What must have taken effect, by the scenario and not by the plan: where no fault was drawn, none did. Of a control that
/// was caught, it does not matter under how many.
fn least(spec: &ScenarioSpec, contender: &Contender, faults: &[FaultRecord]) -> Vec<LeastFaults> {
    let mut all: Vec<LeastFaults> = Vec::new();
    if contender.role == Role::Control {
        return all;
    }
    for of in &spec.faults {
        let Some(fault) = of.at(0).filter(|fault| !contender.is_spared(fault)) else { continue };
        let (verb, target) = (fault.to_string(), fault.target.to_string());
        let least = u64::from(of.least.unwrap_or(spec.least_faults));
        let effective = |each: &&FaultRecord| each.verb == verb && each.target == target && each.effective;
        let kind = format!("{verb} {target}");
        match all.iter_mut().find(|other| other.kind == kind) {
            // Two entries of one kind cannot be told apart in what came of them, so together they need as many as both.
            Some(other) => other.least += least,
            None => {
                let effective = faults.iter().filter(effective).count() as u64;
                all.push(LeastFaults { kind, least, effective });
            }
        }
    }
    all
}

fn verdict(
    contender: &Contender,
    check: &checks::Check,
    judgement: checks::Judgement,
    facts: &Facts,
    faults: &FaultFacts,
    foretold: Foretold,
) -> CheckVerdict {
    let caught = match check.must_catch_none {
        // Where nothing has to be kept apart there is nothing to catch.
        checks::MustCatch::Yes => !facts.plan.is_unlimited(),
        checks::MustCatch::WhereItApplies => !matches!(judgement.verdict, Verdict::NotApplicable { .. }),
        checks::MustCatch::No => false,
    };
    let expected = match caught {
        true if contender.proves() == Some(Proof::Checks) => Expected::Violated,
        true if contender.proves() == Some(Proof::Measuring) => Expected::Either,
        // It excludes nothing, and gives back what it never had.
        _ if contender.proves() == Some(Proof::Cost) => Expected::Either,
        _ => foretold.verdict,
    };
    let chances = foretold.too_few_chances(faults.effective()).filter(|_| contender.role != Role::Control);
    proven(check, judgement, expected, faults.too_few().or(chances))
}

/// A check that found nothing where too few faults took effect has not seen what it was asked about.
fn proven(
    check: &checks::Check,
    judgement: checks::Judgement,
    expected: Expected,
    too_few: Option<String>,
) -> CheckVerdict {
    let verdict = match (judgement.verdict, too_few) {
        (Verdict::Holds, Some(reason)) => Verdict::Unknown { reason },
        (verdict, _) => verdict,
    };
    CheckVerdict {
        check: check.name.to_owned(),
        counted: check.counted.to_owned(),
        verdict,
        examined: judgement.examined,
        violations: judgement.violations,
        expected,
        figures: judgement.figures,
    }
}
