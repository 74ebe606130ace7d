//! Questions put to a history. One file a check, one line each in [`ALL`].
//!
//! Every check is one pass over the events with a state per step and per slot, kept in vectors in the order of the
//! plan: that is nearly the order in which a history visits them.

mod conservation;
mod created_once;
mod exactly_once;
mod exclusion;
mod fencing;
pub mod linearizability;
mod lost_update;
mod order;
mod per;
mod progress;
mod release_safety;

use per::PerSlot;
pub(crate) use per::PerStep;

use crate::event::{Event, describe};
use crate::plan::StepRef;
use crate::record::{Amount, CheckFigure, Verdict};
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
    /// It must, where the plan gives it something to look at.
    WhereItApplies,
    /// The control does nothing wrong that this check could see.
    No,
}

/// Every check: those of exclusion first, then those of tasks, then those of service.
pub const ALL: &[&Check] = &[
    &exclusion::CHECK,
    &lost_update::CHECK,
    &created_once::CHECK,
    &fencing::CHECK,
    &release_safety::CHECK,
    &exactly_once::CHECK,
    &conservation::CHECK,
    &progress::CHECK,
    &order::CHECK,
];

/// The check of a name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Check> {
    ALL.iter().copied().find(|check| check.name == name)
}

/// Answer of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// How many things were looked at.
    pub examined: u64,
    /// How many of them violated it.
    pub violations: u64,
    /// What was measured beside the answer.
    pub figures: Vec<CheckFigure>,
}

/// What a check has found so far.
#[derive(Default)]
struct Findings {
    examined: u64,
    violations: u64,
    first: Option<Violation>,
    figures: Vec<CheckFigure>,
}

/// The first violation: enough to cut its witness out of the history.
struct Violation {
    /// Index of the event that shows it.
    at: usize,
    /// Those who take part in it.
    steps: Vec<StepRef>,
    /// What is wrong.
    note: String,
}

impl Findings {
    /// Counts a violation; who takes part and what is wrong is only asked of the first.
    fn violated(&mut self, at: usize, tell: impl FnOnce() -> (Vec<StepRef>, String)) {
        self.violations += 1;
        if self.first.is_none() {
            let (steps, note) = tell();
            self.first = Some(Violation { at, steps, note });
        }
    }

    fn count(&mut self, name: &str, count: u64) {
        self.figures.push(CheckFigure { name: name.to_owned(), amount: Amount::Count(count) });
    }

    fn time(&mut self, name: &str, ns: u64) {
        self.figures.push(CheckFigure { name: name.to_owned(), amount: Amount::Ns(ns) });
    }

    /// The answer; `shown` picks the events that a witness needs, `nothing` says why there was nothing to look at.
    fn answer(self, run: &Run, shown: fn(&Event) -> bool, nothing: &str) -> Judgement {
        let Self { examined, violations, first, figures } = self;
        let verdict = match first {
            Some(violation) => Verdict::Violated { witness: excerpt(run, &violation, shown) },
            None if examined == 0 => Verdict::NotApplicable { reason: nothing.to_owned() },
            None => Verdict::Holds,
        };
        Judgement { verdict, examined, violations, figures }
    }
}

/// The smallest excerpt that shows a violation: the events of those who take part, up to the one that shows it.
fn excerpt(run: &Run, violation: &Violation, shown: fn(&Event) -> bool) -> Vec<String> {
    let events = run.events.iter().take(violation.at + 1);
    let lines = events
        .filter(|event| shown(event) && violation.steps.contains(&event.step))
        .map(|event| describe(event, &run.plan, run.origin_ns));
    lines.chain([violation.note.clone()]).collect()
}

/// What the agent says: who was inside.
fn by_agent(event: &Event) -> bool {
    event.node.is_none()
}

#[cfg(test)]
pub(crate) mod fixture {
    //! Histories written as tables: (ms, task, what the agent saw), over one resource.

    use std::sync::Arc;

    use super::Judgement;
    use crate::event::{Event, What};
    use crate::measure::Histogram;
    use crate::mechanism::{Outcome, Promises, Token};
    use crate::plan::{
        Arrival, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind, StepRef, StepTree, TaskId,
    };
    use crate::record::{Amount, Peak, Verdict};
    use crate::run::Run;

    /// What the tests compare: verdict, examined, violations.
    pub(crate) fn held(judgement: &Judgement) -> (Verdict, u64, u64) {
        (judgement.verdict.clone(), judgement.examined, judgement.violations)
    }

    /// The witness of a violation.
    pub(crate) fn witness(judgement: Judgement) -> Vec<String> {
        match judgement.verdict {
            Verdict::Violated { witness } => witness,
            other => panic!("not caught: {other:?}"),
        }
    }

    /// A figure of a judgement by its name.
    pub(crate) fn figure(judgement: &Judgement, name: &str) -> Amount {
        let found = judgement.figures.iter().find(|figure| figure.name == name);
        found.unwrap_or_else(|| panic!("no figure {name}: {:?}", judgement.figures)).amount
    }

    pub(crate) fn run(level: u32, tasks: u32, table: &[(u64, u32, What)]) -> Run {
        run_of(level, &vec![Mode::Exclusive; tasks as usize], table)
    }

    /// A task for each mode.
    pub(crate) fn run_of(level: u32, modes: &[Mode], table: &[(u64, u32, What)]) -> Run {
        let settings =
            PlanSettings { seed: 1, nodes: 1, window_ns: 1, deadline_ns: 1, holder: Holder::Oblivious };
        let resource = Resource { kind: ResourceKind::Vm, id: 7, level };
        let root = |mode| StepTree { resource, mode, hold_ns: 0, create_ns: None, children: Vec::new() };
        let arrival = |mode| Arrival { kind: 0, at_ns: 0, entry: NodeId(0), root: root(mode) };
        let arrivals = modes.iter().map(|mode| arrival(*mode)).collect();
        let plan = Plan::new(settings, vec!["vm".into()], arrivals).unwrap();
        let events = table
            .iter()
            .map(|(ms, task, what)| {
                let of_node = matches!(
                    what,
                    What::Invoked
                        | What::Returned { .. }
                        | What::Granted { .. }
                        | What::Lost
                        | What::ReleaseSent
                        | What::Released { .. }
                );
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
            peak: Peak::default(),
            promises: Promises::default(),
            detection: String::new(),
            outages: Vec::new(),
            injected: Vec::new(),
        }
    }

    /// Tasks that find or create the resource.
    pub(crate) fn creating(tasks: u32, table: &[(u64, u32, What)]) -> Run {
        let mut run = run(1, tasks, table);
        let tasks = &mut Arc::make_mut(&mut run.plan).tasks;
        tasks.iter_mut().flat_map(|task| &mut task.steps).for_each(|step| step.create_ns = Some(1));
        run
    }

    pub(crate) fn token(sequence: u64) -> Option<Token> {
        Some(Token { generation: 0, sequence })
    }

    pub(crate) fn granted(sequence: u64) -> What {
        What::Granted { slot: Some(0), token: token(sequence), valid_until_ns: None }
    }

    pub(crate) fn entered_with(sequence: u64) -> What {
        What::Entered { slot: Some(0), token: token(sequence), value: 0 }
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
