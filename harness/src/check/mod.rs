//! Questions put to a history. One file a check, one line each in [`ALL`].

mod conservation;
mod exclusion;
mod lost_update;

use crate::event::{Event, describe};
use crate::plan::{Plan, StepRef};
use crate::record::Verdict;
use crate::run::Run;

/// A question put to a history: a pure function, cheap enough to run after every run.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// Name in records and reports.
    pub name: &'static str,
    /// The question.
    pub question: &'static str,
    /// Whether it judges the exclusion that the control `none` lacks, and so must catch it.
    pub must_catch_none: MustCatch,
    /// The answer.
    pub judge: fn(&Run) -> Judgement,
}

/// Whether the control without exclusion must be caught by a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MustCatch {
    /// It must.
    Yes,
    /// The control does nothing wrong that this check could see.
    No,
}

/// Every check, the cheapest first.
pub const ALL: &[&Check] = &[&exclusion::CHECK, &lost_update::CHECK, &conservation::CHECK];

/// Answer of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// How many things were looked at.
    pub examined: u64,
    /// How many of them violated it.
    pub violations: u64,
}

impl Judgement {
    fn new(examined: u64, violations: u64, witness: Vec<String>, nothing: &str) -> Self {
        let verdict = match (examined, violations) {
            (0, 0) => Verdict::NotApplicable { reason: nothing.to_owned() },
            (_, 0) => Verdict::Holds,
            _ => Verdict::Violated { witness },
        };
        Self { verdict, examined, violations }
    }
}

/// The agent's events of some steps, as lines: the smallest excerpt that shows a violation.
fn excerpt(run: &Run, steps: &[StepRef], until_ns: u64) -> Vec<String> {
    let shown =
        |event: &&Event| event.node.is_none() && event.at_ns <= until_ns && steps.contains(&event.step);
    let plan: &Plan = &run.plan;
    run.events.iter().filter(shown).map(|event| describe(event, plan, run.origin_ns)).collect()
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Histories written as tables: (ms, task, what the agent saw), over one resource.

    use std::sync::Arc;

    use crate::event::{Event, What};
    use crate::measure::Histogram;
    use crate::mechanism::Outcome;
    use crate::plan::{
        Arrival, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind, StepRef, StepTree, TaskId,
    };
    use crate::run::Run;

    pub(crate) fn run(level: u32, tasks: u32, table: &[(u64, u32, What)]) -> Run {
        let settings =
            PlanSettings { seed: 1, nodes: 1, window_ns: 1, deadline_ns: 1, holder: Holder::Oblivious };
        let resource = Resource { kind: ResourceKind::Vm, id: 7, level };
        let root = StepTree { resource, mode: Mode::Exclusive, hold_ns: 0, children: Vec::new() };
        let arrival = Arrival { kind: 0, at_ns: 0, entry: NodeId(0), root };
        let arrivals = (0..tasks).map(|_| arrival.clone()).collect();
        let plan = Plan::new(settings, vec!["vm".into()], arrivals).unwrap();
        let events = table
            .iter()
            .map(|(ms, task, what)| {
                let of_node = matches!(what, What::Invoked | What::Returned { .. } | What::Granted { .. });
                Event {
                    at_ns: ms * 1_000_000,
                    node: of_node.then_some(NodeId(0)),
                    step: StepRef { task: TaskId(*task), step: 0 },
                    what: what.clone(),
                }
            })
            .collect();
        Run {
            plan: Arc::new(plan),
            origin_ns: 0,
            end_ns: 1,
            events,
            bystander: Histogram::default(),
            bystander_failed: 0,
            process_cpu_ns: 0,
            timer_cpu_ns: 0,
            operations: None,
        }
    }

    pub(crate) fn entered(slot: u32, value: u64) -> What {
        What::Entered { slot: Some(slot), token: None, value }
    }

    pub(crate) fn left(wrote: u64) -> What {
        What::Left { wrote: Some(wrote) }
    }

    pub(crate) fn completed() -> What {
        What::Returned { outcome: Outcome::Completed }
    }
}
