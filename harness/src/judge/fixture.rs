//! Histories written as tables: (ms, task, what the agent saw), over one resource.

use std::sync::Arc;

use super::checks::{Check, Judgement};
use crate::model::{
    Arrival, Event, Facts, Holder, Mode, NodeId, Outcome, Plan, PlanSettings, Promises, Resource,
    ResourceKind, StepRef, StepTree, TaskId, Token, What,
};
use crate::record::{Amount, Verdict};

/// A history, and what is known beside it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) facts: Facts,
    pub(crate) events: Vec<Event>,
}

impl Told {
    pub(crate) fn judged_by(&self, check: &Check) -> Judgement {
        check.judge(&self.facts, &self.events)
    }
}

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

pub(crate) fn run(level: u32, tasks: u32, table: &[(u64, u32, What)]) -> Told {
    run_of(level, &vec![Mode::Exclusive; tasks as usize], table)
}

/// A task for each mode.
pub(crate) fn run_of(level: u32, modes: &[Mode], table: &[(u64, u32, What)]) -> Told {
    let settings =
        PlanSettings { seed: 1, nodes: 1, window_ns: 1, deadline_ns: 1, holder: Holder::Oblivious };
    let resource = Resource { kind: ResourceKind::Vm, id: 7, level };
    let root = |mode| StepTree { resource, mode, hold_ns: 0, create_ns: None, children: Vec::new() };
    let arrival = |mode| Arrival { kind: 0, at_ns: 0, entry: NodeId(0), root: root(mode) };
    let arrivals = modes.iter().map(|mode| arrival(*mode));
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
    let facts = Facts {
        plan: Arc::new(plan),
        origin_ns: 0,
        end_ns: 1,
        promises: Promises::default(),
        outages: Vec::new(),
        injected: Vec::new(),
        limit_ns: None,
        audit: None,
        earlier_ns: 0,
    };
    Told { facts, events }
}

/// One task whose root has a child over another resource; the table says of each event whether it is the child's.
pub(crate) fn with_a_child(table: &[(u64, bool, What)]) -> Told {
    let whole: Vec<_> = table.iter().map(|(ms, _, what)| (*ms, 0, what.clone())).collect();
    let mut run = run(1, 1, &whole);
    let plan = &run.facts.plan;
    let tree = |id, children| StepTree {
        resource: Resource { id, ..plan.resources[0] },
        mode: Mode::Exclusive,
        hold_ns: 0,
        create_ns: None,
        children,
    };
    let root = tree(7, vec![tree(8, Vec::new())]);
    let arrival = Arrival { kind: 0, at_ns: 0, entry: NodeId(0), root };
    run.facts.plan = Arc::new(Plan::new(plan.settings, vec!["vm".into()], [arrival]).unwrap());
    for (event, (_, of_child, _)) in run.events.iter_mut().zip(table) {
        event.step.step = u16::from(*of_child);
    }
    run
}

/// Tasks that find or create the resource.
pub(crate) fn creating(tasks: u32, table: &[(u64, u32, What)]) -> Told {
    let mut run = run(1, tasks, table);
    let tasks = &mut Arc::make_mut(&mut run.facts.plan).tasks;
    tasks.change(|task| task.steps[0].create_ns = Some(1));
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
