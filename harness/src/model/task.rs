//! A task: as a scenario draws it, a tree of steps; as a plan has it, the same tree in pre-order.

use serde::{Deserialize, Serialize};

use super::id::NodeId;
use super::resource::{Mode, Resource};

/// A step and its children, as a scenario draws it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepTree {
    /// What it holds.
    pub resource: Resource,
    /// How.
    pub mode: Mode,
    /// How long it works before its children run.
    pub hold_ns: u64,
    /// See [`Step::create_ns`].
    pub create_ns: Option<u64>,
    /// Run in order while the slot is held.
    pub children: Vec<StepTree>,
}

/// A step in the flat form of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Index into [`Plan::resources`](super::plan::Plan::resources).
    pub resource: u32,
    /// How it is inside.
    pub mode: Mode,
    /// How long it works before its children run.
    pub hold_ns: u64,
    /// Where it finds or creates its resource: how long it works, instead, when that does not exist yet. It writes only
    /// then, so a resource exists once something was written.
    pub create_ns: Option<u64>,
    /// One past the last step of its subtree, in pre-order.
    pub end: u16,
}

/// A task: an arrival at a node and a tree of steps. A plan holds its tasks packed ([`Tasks`](super::tasks::Tasks)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Index into [`Plan::kinds`](super::plan::Plan::kinds).
    pub kind: u16,
    /// Intended start, from the start of the run.
    pub arrival_ns: u64,
    /// Where it enters.
    pub entry: NodeId,
    /// Its tree in pre-order.
    pub steps: Box<[Step]>,
}

/// A task as a scenario draws it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Index into the plan's kinds.
    pub kind: u16,
    /// Intended start, from the start of the run.
    pub at_ns: u64,
    /// Where it enters.
    pub entry: NodeId,
    /// What it does.
    pub root: StepTree,
}
