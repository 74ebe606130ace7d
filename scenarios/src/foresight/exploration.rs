//! What a seed of a scenario shows of a double.

use harness::engine::AgentOptions;
use harness::judge::checks;
use harness::model::Plan;
use harness::placement::{Run, RunOptions};
use harness::record::Verdict;
use harness::simulation::{Kept, shrink, try_out};

use super::doubles::Double;
use super::mix::{mix, weather};
use crate::spec::{Scenario, SpecError, nanos};
use crate::workload;

/// Runs that are tried for a smaller plan.
const TRIES: usize = 500;

/// A scenario that a double goes through, seed by seed.
#[derive(Debug, Clone, Copy)]
pub struct Exploration<'a> {
    /// Whose tasks, agents and lease; its own faults are left out.
    pub scenario: &'a Scenario,
    /// Who.
    pub double: Double,
}

/// A check that was violated, and its witness.
pub type Violated = (&'static str, Vec<String>);

impl Exploration<'_> {
    /// The plan of a seed: the scenario's tasks, and faults of all kinds.
    ///
    /// # Errors
    /// As [`workload::draw`].
    pub fn plan(&self, seed: u64) -> Result<Plan, SpecError> {
        let plan = workload::draw(self.scenario, seed)?;
        let faults = mix(&self.scenario.spec, plan.settings.window_ns, seed);
        Ok(plan.with_faults(faults))
    }

    /// What happens. Same plan, same history.
    #[must_use]
    pub fn run(&self, plan: &Plan) -> Run {
        let spec = &self.scenario.spec;
        let agent = AgentOptions { fencing: self.double.fencing(spec.fencing), when_busy: spec.when_busy };
        let options = RunOptions { agent, ..RunOptions::default() };
        let (double, lease_ns, durability) = (self.double, nanos(spec.detect_ms / 1e3), spec.durability);
        try_out(plan, weather(), options, |place| double.make(place, lease_ns, durability))
    }

    /// The checks that a plan has violated, each with its witness, in the order of the checks.
    #[must_use]
    pub fn violated(&self, plan: &Plan) -> Vec<Violated> {
        let run = self.run(plan);
        let judged = checks::judge(checks::ALL, &run.facts, &run.history);
        let judged = judged.expect("a history that is held in memory can be read");
        let violated =
            checks::ALL.iter().zip(judged).filter_map(|(check, judgement)| match judgement.verdict {
                Verdict::Violated { witness } => Some((check.name, witness)),
                _ => None,
            });
        violated.collect()
    }

    /// The fewest tasks and faults, of those of a plan that are given, with which a check is still violated.
    #[must_use]
    pub fn least(&self, plan: &Plan, given: Kept, check: &str) -> Kept {
        let fails = |kept: &Kept| self.violated(&kept.of(plan)).iter().any(|(name, _)| *name == check);
        shrink(given, TRIES, fails)
    }
}
