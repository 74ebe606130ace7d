//! Why a run counts for nothing, and what a reader of its figures must know.

use harness::judge::Figures;
use harness::model::{Events as _, Outage, Outcome, Standstill, What};
use harness::placement::Run;
use harness::record::{FaultFacts, Others, Steadiness, TOO_BUSY};

use super::asked::Asked;
use super::lateness::{Worth, worth};
use crate::contenders::Contender;

/// What to do about what cannot be.
const ODD: &str = "; it cannot be so: run it again, and where it stays so, it is a fault of lockbench";

/// Why the run counts for nothing, and what a reader of its figures must know.
pub(super) fn doubts(
    asked: &Asked,
    contender: &Contender,
    run: &Run,
    figures: &Figures,
    faults: &FaultFacts,
    cut: bool,
) -> (Vec<String>, Vec<String>) {
    let mut invalid: Vec<String> = figures.implausible.iter().map(|what| format!("{what}{ODD}")).collect();
    invalid.extend(run.disturbed.iter().cloned());
    let mut warnings = Vec::new();
    if figures.tasks.not_offered > 0 && !cut {
        invalid.push(format!("{} arrivals were dropped{ODD}", figures.tasks.not_offered));
    }
    for outage in &run.facts.outages {
        if let Some(how) = &outage.unplanned {
            let remedy =
                "nobody had planned it: look at its log and at what the machine has left, and run it again";
            invalid.push(format!("node {} died: {how}; {remedy}", outage.node.0));
        }
    }
    for fault in &faults.faults {
        if let Some(failure) = &fault.failure {
            invalid.push(format!(
                "a fault ({} {}) failed: {failure}; without it the run shows nothing of what was to be broken: run it again",
                fault.verb, fault.target
            ));
        }
    }
    if !faults.faults.is_empty() && !faults.last_completed {
        warnings.push("the last task to return did not complete: it had not come back yet".to_owned());
    }
    if figures.tasks.completed == 0 && asked.probe.is_none() {
        let remedy = "the table of tasks says where they went; where they timed out, raise deadline_ms or lower the load";
        invalid.push(format!("no task completed: {remedy}"));
    }
    // A burst is late by nature: its tasks are started one after the other.
    let paced = asked.scenario.spec.load().is_some_and(|load| load.is_paced());
    // At a rate that is too much for them, server, nodes and driver are late together: that is what a probe looks for.
    let excused = |late: &str| asked.probe.is_some() && !late.starts_with(TOO_BUSY);
    match worth(&figures.latency, run.others.as_ref()) {
        Worth::Invalid(late) if excused(&late) => {}
        Worth::Invalid(late) if paced => invalid.push(late),
        Worth::Invalid(late) => warnings.push(format!("{late}; latencies include it")),
        Worth::Counts(remark) => warnings.extend(remark),
    }
    if figures.untold > 0 {
        let untold =
            format!("of {} steps that the agent let in no node told that it had been asked", figures.untold);
        // Who is killed as planned has left last words.
        let unplanned = |outage: &Outage| outage.state == Standstill::Down && outage.unplanned.is_some();
        match run.facts.outages.iter().any(unplanned) {
            true => warnings.push(format!("{untold}: a node that died took its last events with it")),
            false => invalid.push(format!("{untold}: events are missing{ODD}")),
        }
    }
    warnings.extend(beside(run));
    warnings.extend(unsteady(asked, figures, faults));
    if contender.design.client().is_some() {
        warnings.extend(first_failure(run));
    }
    warnings.extend(contender.caveats(&asked.scenario.spec, &run.facts.plan));
    if run.bystander_failed > 0 {
        warnings.push(format!("{} probes of the bystander did not complete", run.bystander_failed));
    }
    (invalid, warnings)
}

/// Nobody in a closed loop is late, so that what others took of the machine shows in nothing else.
fn beside(run: &Run) -> Option<String> {
    let others = run.others.filter(|others| others.share() > Others::MOST_SHARE)?;
    run.facts.plan.closed?;
    Some(format!(
        "others had {:.1} % of the machine meanwhile, and a closed loop does not tell what that cost: run it again when there is nothing else",
        100.0 * others.share()
    ))
}

/// Of a program of somebody else, why its first task that failed did: its author wants to know.
fn first_failure(run: &Run) -> Option<String> {
    let (mut first, broken) = (None, !run.facts.plan.faults.is_empty());
    // What cannot be read is told where the figures are.
    let _unread = run.history.pass(&mut |_, event| {
        let why = match &event.what {
            What::Returned { outcome: Outcome::Failed(why) } => why,
            // What a fault has done is nothing that a program can be told of.
            What::Returned { outcome: Outcome::Unknown(why) | Outcome::Refused(why) } if !broken => why,
            _ => return,
        };
        first.get_or_insert_with(|| why.clone());
    });
    first.map(|why| format!("the first of its tasks that failed: {why}"))
}

/// What the figures over time say against a run whose load does not change: the warm-up was too short, or it went up or down all along.
fn unsteady(asked: &Asked, figures: &Figures, faults: &FaultFacts) -> Vec<String> {
    let spec = &asked.scenario.spec;
    let even = spec.load().is_some_and(|load| load.is_steady()) && !spec.saturating;
    if !even || asked.probe.is_some() || faults.planned > 0 {
        return Vec::new();
    }
    let Some(steady) = Steadiness::of(&figures.excess_per_slice_ns) else { return Vec::new() };
    let mut told = Vec::new();
    if let Some(times) = steady.cold {
        let cut_s = steady.cut_ns as f64 / 1e9;
        told.push(format!(
            "the warm-up of {} s was too short by the data: tasks of the first {cut_s:.1} s took {times:.1} times as long beyond their own work \
             as those after (MSER-5); warm_up_s = {:.1} leaves that out",
            spec.warm_up_s,
            spec.warm_up_s + cut_s
        ));
    }
    if let Some(times) = steady.drift {
        told.push(format!(
            "not steady: what tasks took beyond their own work went to {times:.1} times as much from the beginning to the end (Mann's test of \
             trend, 0.5 %); a longer run would tell another figure"
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use harness::engine::{Clock, Mechanism, Open};
    use harness::model::{NodeId, Outage};
    use harness::placement::{RunOptions, single};
    use harness::record::FaultRecord;

    use super::*;
    use crate::{catalog, contenders, workload};

    /// A run of `smoke` in virtual time, in which nothing is wrong.
    struct Ran {
        asked: Asked,
        contender: Contender,
        run: Run,
        figures: Figures,
        faults: FaultFacts,
    }

    impl Ran {
        fn new() -> Self {
            let scenario = catalog::load("smoke", &[]).unwrap();
            let plan = Arc::new(workload::draw(&scenario, 7).unwrap());
            let asked =
                Asked { scenario, plan: Arc::clone(&plan), rate_per_s: None, probe: None, then_s: None };
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let run = runtime.unwrap().block_on(async {
                let clock = Clock::virtual_time();
                let open: Arc<dyn Mechanism> =
                    Arc::new(Open::new(Arc::clone(&plan), clock.clone(), Duration::ZERO));
                single::run(plan, open, clock, RunOptions::default()).await
            });
            let figures = run.measure().unwrap();
            let contender =
                contenders::all().into_iter().find(|contender| contender.name == "ring-queue").unwrap();
            Self { asked, contender, run, figures, faults: FaultFacts::default() }
        }

        fn invalid(&self) -> Vec<String> {
            doubts(&self.asked, &self.contender, &self.run, &self.figures, &self.faults, false).0
        }
    }

    /// The one reason why a run counts for nothing after this was done to it.
    fn invalid_for(change: impl FnOnce(&mut Ran)) -> String {
        let mut ran = Ran::new();
        change(&mut ran);
        let [reason] = &ran.invalid()[..] else { panic!("{:?}", ran.invalid()) };
        reason.clone()
    }

    /// As late as this, each of its tasks.
    fn late(ran: &mut Ran, ns: u64) {
        (0..1_000_000).for_each(|_| ran.figures.latency.lag.record_ns(ns));
    }

    #[test]
    fn a_run_in_which_nothing_is_wrong_counts() {
        assert_eq!(Ran::new().invalid(), Vec::<String>::new());
    }

    #[test]
    fn every_reason_why_a_run_counts_for_nothing_is_told() {
        let dropped = invalid_for(|ran| ran.figures.tasks.not_offered = 3);
        assert!(
            dropped.starts_with("3 arrivals were dropped") && dropped.contains("run it again"),
            "{dropped}"
        );
        let nothing = invalid_for(|ran| ran.figures.tasks.completed = 0);
        assert!(nothing.starts_with("no task completed: ") && nothing.contains("deadline_ms"), "{nothing}");
        let missing = invalid_for(|ran| ran.figures.untold = 2);
        assert!(
            missing.contains("2 steps that the agent let in") && missing.contains("events are missing"),
            "{missing}"
        );
        let little = invalid_for(|ran| ran.figures.implausible.push("Little's law is broken".to_owned()));
        assert!(little.starts_with("Little's law"));
        let disturbed =
            invalid_for(|ran| ran.run.disturbed.push("the clock of the machine was set".to_owned()));
        assert_eq!(disturbed, "the clock of the machine was set");
        let died = invalid_for(|ran| {
            ran.run.facts.outages.push(Outage {
                node: NodeId(1),
                state: Standstill::Down,
                from_ns: 0,
                until_ns: u64::MAX,
                unplanned: Some("it was killed by signal 9".to_owned()),
            });
        });
        assert!(died.starts_with("node 1 died: it was killed by signal 9; nobody had planned it"), "{died}");
        let saturated = invalid_for(|ran| late(ran, 2_000_000));
        assert!(saturated.contains("it is saturated: lower rate_per_s"), "{saturated}");
        let busy = invalid_for(|ran| {
            late(ran, 2_000_000);
            ran.run.others = Some(Others { stolen_ns: 30, foreign_ns: 0, capacity_ns: 100 });
        });
        assert!(busy.starts_with(harness::record::TOO_BUSY), "{busy}");
    }

    #[test]
    fn a_warm_up_that_was_too_short_and_waits_that_grow_are_told_where_the_load_is_even() {
        let mut ran = Ran::new();
        let told = |ran: &Ran| unsteady(&ran.asked, &ran.figures, &ran.faults);
        let slices = |of: fn(u64) -> u64| (0..60).map(|at| Some(of(at) + at % 5 * 10_000)).collect();
        ran.figures.excess_per_slice_ns = slices(|_| 1_000_000);
        assert_eq!(told(&ran), Vec::<String>::new());
        ran.figures.excess_per_slice_ns = slices(|at| if at < 10 { 3_000_000 } else { 1_000_000 });
        let [cold] = &told(&ran)[..] else { panic!("{:?}", told(&ran)) };
        assert!(
            cold.starts_with("the warm-up of 0.5 s was too short") && cold.contains("warm_up_s = 1.5"),
            "{cold}"
        );
        ran.figures.excess_per_slice_ns = slices(|at| 1_000_000 + at * 50_000);
        assert!(told(&ran).iter().any(|told| told.starts_with("not steady")), "{:?}", told(&ran));
        ran.asked.scenario.spec.saturating = true;
        assert_eq!(told(&ran), Vec::<String>::new());
    }

    #[test]
    fn a_fault_that_could_not_be_injected_makes_a_run_invalid() {
        let failed = invalid_for(|ran| {
            ran.faults.last_completed = true;
            ran.faults.faults.push(FaultRecord {
                verb: "pause".to_owned(),
                target: "holder".to_owned(),
                failure: Some("no such process".to_owned()),
                ..fault()
            });
        });
        assert!(failed.starts_with("a fault (pause holder) failed: no such process; without it"), "{failed}");
    }

    fn fault() -> FaultRecord {
        serde_json::from_value(serde_json::json!({
            "verb": "", "target": "", "node": null, "member": null, "planned_ns": 0, "from_ns": null, "until_ns": null,
            "misses": 0, "hits": 0, "regressions": 0, "rejections": 0, "freed_ns": null, "unserved_ns": null, "moved_keys": 0,
            "stall_ns": null, "completed_before": 0, "completed_after": 0, "effective": false, "failure": null
        }))
        .unwrap()
    }
}
