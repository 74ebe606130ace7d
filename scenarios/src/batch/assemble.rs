//! From a run to its record.

use std::io;

use harness::judge::aftermath;
use harness::judge::checks;
use harness::model::{FaultTarget, FaultVerb};
use harness::placement::Run;
use harness::record::capacity::{Missed, missed};
use harness::record::{
    CheckVerdict, Expected, FaultFacts, FaultRecord, LeastFaults, Probe, Role, RunRecord, SCHEMA_VERSION,
    Verdict,
};

use super::asked::Asked;
use super::doubts::doubts;
use super::place::Place;
use crate::contenders::{Contender, Proof};
use crate::spec::{Scenario, ScenarioSpec, nanos};

/// The record of a run, its server's part aside; an error where its history cannot be read. `cut`: it was a probe that was stopped,
/// since it could no longer meet the service level.
pub(super) fn record(
    asked: &Asked,
    contender: &Contender,
    place: Place,
    run: &Run,
    cut: bool,
) -> io::Result<RunRecord> {
    let scenario = &asked.scenario;
    let figures = run.measure()?;
    let faults = faults(scenario, contender, run)?;
    let (invalid, warnings) = doubts(asked, contender, run, &figures, &faults, cut);
    let judgements = checks::judge(checks::ALL, &run.facts, &run.history)?;
    let verdicts = checks::ALL
        .iter()
        .zip(judgements)
        .map(|(check, judgement)| verdict(scenario, contender, check, judgement, run, &faults))
        .collect();
    let probe = asked.probe.map(|(rate_per_s, _)| Probe {
        rate_per_s,
        on_time: figures.on_time.unwrap_or_default(),
        cut_ns: cut.then(|| run.facts.end_ns.saturating_sub(run.facts.origin_ns)),
        busiest: run.facts.plan.loads().first().map_or(0.0, |(_, load)| *load),
    });
    let mut record = RunRecord {
        schema_version: SCHEMA_VERSION,
        contender: contender.name.to_owned(),
        summary: contender.summary.to_owned(),
        role: contender.role,
        block: place.block,
        order: place.order,
        plan_digest: run.facts.plan.digest(),
        cell: scenario.cell.clone(),
        carries: None,
        rate_per_s: asked.rate_per_s,
        probe,
        invalid,
        repeated: Vec::new(),
        warnings,
        tasks: figures.tasks,
        window_ns: run.facts.plan.settings.window_ns,
        goodput_per_s: figures.goodput_per_s,
        backlog: figures.backlog,
        latency: figures.latency,
        awareness: figures.awareness,
        completed_per_slice: figures.completed_per_slice,
        excess_per_slice_ns: figures.excess_per_slice_ns,
        warm_up_ns: nanos(scenario.spec.warm_up_s),
        verdicts,
        survives: contender.survives.clone(),
        detection: run.detection.clone(),
        server: None,
        operations: run.operations,
        grants: figures.grants,
        server_cpu_ns: None,
        process_cpu_ns: run.process_cpu_ns,
        timer_cpu_ns: run.timer_cpu_ns,
        peak: run.peak,
        others: run.others,
        // What lies between takes its time too, and must be seen.
        programmed_delay_ns: (contender.proves() == Some(Proof::Measuring))
            .then_some(((scenario.spec.noop_delay_ms + scenario.spec.rtt_ms) * 1e6) as u64)
            .filter(|_| probe.is_none()),
        faults,
    };
    if let Some((_, level)) = asked.probe
        && let Some(missed) = probe.and_then(|probe| missed(&level, &record, &probe))
    {
        spare_progress(&mut record, &missed);
    }
    Ok(record)
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
fn faults(scenario: &Scenario, contender: &Contender, run: &Run) -> io::Result<FaultFacts> {
    let spec = &scenario.spec;
    let aimed = run.facts.plan.faults.iter().any(|fault| fault.target == FaultTarget::Holder);
    let killed = run.facts.plan.faults.iter().any(|fault| fault.verb == FaultVerb::Kill);
    let shares =
        checks::ALL.iter().filter_map(|check| match scenario.expected(check.name, contender.class()) {
            (Expected::Violated, share) => share,
            _ => None,
        });
    let aftermath = aftermath(&run.facts, &run.history)?;
    Ok(FaultFacts {
        least: least(spec, contender, &aftermath.faults),
        least_share: shares.reduce(f64::max).filter(|_| aimed),
        freed_bound_ns: run.facts.promises.free_within_ns.filter(|_| aimed && killed),
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
    scenario: &Scenario,
    contender: &Contender,
    check: &checks::Check,
    judgement: checks::Judgement,
    run: &Run,
    faults: &FaultFacts,
) -> CheckVerdict {
    let caught = match check.must_catch_none {
        // Where nothing has to be kept apart there is nothing to catch.
        checks::MustCatch::Yes => !run.facts.plan.is_unlimited(),
        checks::MustCatch::WhereItApplies => !matches!(judgement.verdict, Verdict::NotApplicable { .. }),
        checks::MustCatch::No => false,
    };
    let expected = match caught {
        true if contender.proves() == Some(Proof::Checks) => Expected::Violated,
        true if contender.proves() == Some(Proof::Measuring) => Expected::Either,
        _ => scenario.expected(check.name, contender.class()).0,
    };
    proven(check, judgement, expected, faults)
}

/// A check that found nothing where too few faults took effect has not seen what it was asked about.
fn proven(
    check: &checks::Check,
    judgement: checks::Judgement,
    expected: Expected,
    faults: &FaultFacts,
) -> CheckVerdict {
    let verdict = match (judgement.verdict, faults.too_few()) {
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
