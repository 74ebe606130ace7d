//! Who is who: nodes, tasks and their steps.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A management node, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u16);

/// A task by its place in the plan; from [`TaskId::BYSTANDER`] on, probes of the bystander.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u32);

impl TaskId {
    /// First id of the bystanders' probes.
    pub const BYSTANDER: u32 = 1 << 31;

    /// Probe number `count` of the bystander at a node.
    #[must_use]
    pub fn bystander(node: NodeId, count: u32) -> Self {
        Self(Self::BYSTANDER | u32::from(node.0) << 20 & !Self::BYSTANDER | count & 0xF_FFFF)
    }

    /// The node whose bystander this is, when it is one.
    pub(super) fn bystander_of(self) -> NodeId {
        NodeId(((self.0 & !Self::BYSTANDER) >> 20) as u16)
    }

    /// Whether this is a bystander's probe: outside plan, conservation and checks.
    #[must_use]
    pub fn is_bystander(self) -> bool {
        self.0 >= Self::BYSTANDER
    }
}

/// A step of a task: what travels between processes, since every process has the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepRef {
    /// The task.
    pub task: TaskId,
    /// The step's place in the pre-order of the task's tree; 0 is the root.
    pub step: u16,
}

impl fmt::Display for StepRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {} step {}", self.task.0, self.step)
    }
}
