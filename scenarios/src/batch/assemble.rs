//! From a run to its record.

use std::io;

use harness::placement::Run;
use harness::record::{
    Awareness, Elsewhere, FaultFacts, Latency, Probe, RunRecord, SCHEMA_VERSION, ServerFacts, Tally,
};

use super::asked::Asked;
use super::doubts::doubts;
use super::judged::judged;
use super::place::Place;
use crate::contenders::{Contender, Proof};
use crate::spec::nanos;

/// The record of a run on this server, what that took of the processors aside; an error where its history cannot be read. `cut`: it
/// was a probe that was stopped, since it could no longer meet the service level.
pub(super) fn record(
    asked: &Asked,
    contender: &Contender,
    place: Place,
    run: &Run,
    server: Option<ServerFacts>,
    cut: bool,
) -> io::Result<RunRecord> {
    let scenario = &asked.scenario;
    let judged = judged(scenario, contender, &run.facts, &run.history, &run.bystander, server.as_ref())?;
    let (invalid, warnings) = doubts(asked, contender, run, &judged.figures, &judged.faults, cut);
    let probe = asked.probe.map(|(rate_per_s, _)| Probe {
        rate_per_s,
        cut_ns: cut.then(|| run.facts.end_ns.saturating_sub(run.facts.origin_ns)),
        busiest: run.facts.plan.loads().first().map_or(0.0, |(_, load)| *load),
        ..Probe::default()
    });
    let rest = RunRecord {
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
        closed: run.facts.plan.closed,
        probe,
        invalid,
        repeated: Vec::new(),
        warnings,
        window_ns: run.facts.plan.settings.window_ns,
        warm_up_ns: nanos(scenario.spec.warm_up_s),
        survives: contender.survives.clone(),
        detection: run.detection.clone(),
        hosts: run.hosts.clone(),
        server,
        operations: run.operations,
        server_cpu_ns: None,
        process_cpu_ns: run.process_cpu_ns,
        timer_cpu_ns: run.timer_cpu_ns,
        peak: run.peak,
        others: run.others,
        // What lies between takes its time too, and must be seen. A probe has no other delay.
        programmed_delay_ns: (contender.proves() == Some(Proof::Measuring)).then_some({
            let delay_ms = if probe.is_some() { 0.0 } else { scenario.spec.noop_delay_ms };
            let one_way_ns = run.hosts.iter().filter_map(|host| host.one_way_ns).max().unwrap_or(0);
            ((delay_ms + scenario.spec.rtt_ms) * 1e6) as u64 + one_way_ns
        }),
        // All that follows from the history.
        tasks: Tally::default(),
        goodput_per_s: 0.0,
        backlog: None,
        latency: Latency::default(),
        awareness: Awareness::default(),
        elsewhere: Elsewhere::default(),
        completed_per_slice: Vec::new(),
        excess_per_slice_ns: Vec::new(),
        grants: 0,
        verdicts: Vec::new(),
        timeline: None,
        faults: FaultFacts::default(),
        evidence: None,
    };
    Ok(judged.into_record(rest, asked.probe.map(|(_, level)| level).as_ref()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use harness::engine::{Clock, Mechanism, Open};
    use harness::placement::{RunOptions, single};
    use harness::record::Metric;
    use harness::record::difference::{Answer, Decided, Rule, Subject, Together, family};
    use rand::SeedableRng as _;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution as _, Normal};

    use super::*;
    use crate::{catalog, contenders, workload};

    /// How much two runs of the same stray, as a part of them.
    const NOISE: f64 = 0.03;

    /// A block of `smoke` in virtual time, every grant of which crosses a link of so many ms.
    fn block(number: u32, link_ms: f64, noise: &mut ChaCha8Rng) -> RunRecord {
        let settings = [("duration_s", "1.0")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let scenario = catalog::load("smoke", &settings).unwrap();
        let plan = Arc::new(workload::draw(&scenario, workload::block_seed(7, number)).unwrap());
        let strays: f64 = Normal::new(0.0, NOISE).unwrap().sample(noise);
        // The virtual clock goes by whole milliseconds, so all of it is a hundred times as long.
        let delay = Duration::from_secs_f64(link_ms * strays.exp() / 10.0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let run = runtime.unwrap().block_on(async {
            let clock = Clock::virtual_time();
            let open: Arc<dyn Mechanism> = Arc::new(Open::new(Arc::clone(&plan), clock.clone(), delay));
            single::run(Arc::clone(&plan), open, clock, RunOptions::default()).await
        });
        let contender = contenders::all().into_iter().find(|one| one.name == "ring-queue").unwrap();
        let asked = Asked { scenario, plan, rate_per_s: None, probe: None, then_s: None };
        record(&asked, &contender, Place { block: number, order: number }, &run, None, false).unwrap()
    }

    fn compared(near: &[RunRecord], far: &[RunRecord]) -> Decided {
        let subject = Subject {
            own: far.iter().collect(),
            reference: near.iter().collect(),
            together: Together::OfOneBatch,
        };
        let wait = Metric::named("wait_p50").unwrap();
        family(&[subject], &[wait], &Rule::default()).remove(0).remove(0).unwrap()
    }

    /// From runs to what is said of them: nothing of this is told to the comparison.
    #[test]
    fn a_link_that_is_a_fifth_slower_is_found_with_its_size_in_as_many_blocks_as_were_foretold_and_an_equal_one_is_not()
     {
        let mut noise = ChaCha8Rng::seed_from_u64(3);
        let mut side =
            |link_ms: f64| (1..=10).map(|number| block(number, link_ms, &mut noise)).collect::<Vec<_>>();
        let [near, far, again] = [5.0, 6.0, 5.0].map(&mut side);
        let found = compared(&near, &far);
        assert_eq!(found.answer, Answer::Different, "{found:?}");
        let (low, high) = found.ratio.interval(0.99);
        assert!((low..=high).contains(&1.2) && (found.ratio.ratio() / 1.2 - 1.0).abs() < 0.05, "{found:?}");
        let same = compared(&near, &again);
        assert_ne!(same.answer, Answer::Different, "{same:?}");
        // Three blocks foretell how many are enough; with those it is told.
        let few = compared(&near[..3], &far[..3]);
        let blocks = few.blocks_that_would_tell().map_or(3, |blocks| blocks as usize);
        assert!((3..=10).contains(&blocks), "{few:?}");
        assert_eq!(compared(&near[..blocks], &far[..blocks]).answer, Answer::Different, "{blocks} blocks");
    }
}
