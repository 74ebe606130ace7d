//! What the driver and the nodes say to each other: JSON in frames that begin with their length, a big-endian u32.
//!
//! ```text
//! node ─ Hello ▶ driver ─ Welcome ▶        on each of the two connections; else Refused
//! control:  Job, Tasks… ▶ node ─ Ready ▶ driver (barrier) ─ Start ▶ node ─ Events… Returned ▶ driver ─ View, Disturb, Stall, StandIn… Finish ▶ node ─ Events… Ended ▶
//!           StandDown ▶ node ─ Events… StoodDown ▶ driver
//! agent:    Ask ▶ driver ─ Reply ▶         for every entry and leave
//! ```

use serde::{Deserialize, Serialize};

use crate::engine::{EnterRet, LeaveRet, PartRet};
use crate::model::{Event, FaultVerb, NodeId, Plan, Point, Promises, StepRef, Task, TaskId, Token, View};
use crate::secret::{Sealed, Secret};

/// Longest frame on the agent's connections.
pub(super) const AGENT_BYTES: usize = 64 << 10;

/// Tasks or events in one frame at most.
pub(super) const CHUNK: usize = 1_000;

/// First frame of a node on each connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    /// What the processes of one run share.
    pub(super) secret: Secret,
    pub(super) node: NodeId,
    pub(super) channel: Channel,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Channel {
    /// The run: job, barrier, events, end.
    Control,
    /// Entries and leaves.
    Agent,
}

/// First frame of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Welcome {
    Welcome,
    Refused(String),
}

/// What the driver says on a control connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToNode {
    /// What to run; the plan's tasks follow in frames of their own.
    Job(Box<Job>),
    /// More of the plan's tasks.
    Tasks(Vec<Task>),
    /// The barrier is open.
    Start {
        /// Stamp of the plan's time 0.
        origin_ns: u64,
        /// Arrivals before it are not run.
        from_ns: u64,
        /// Where another node has taken them meanwhile: the first that it left.
        from_task: Option<TaskId>,
        /// Of the mechanism, by node.
        introductions: Vec<String>,
        /// Of the ring.
        view: View,
    },
    /// The ring has changed.
    View(View),
    /// The link over which other nodes reach this one is to break so, or to be restored.
    Disturb(Option<FaultVerb>),
    /// All on its event loop is to wait for so long.
    Stall { for_ns: u64 },
    /// A node is down, and this one is the next that its users come to.
    StandIn {
        /// Which.
        down: NodeId,
        /// The first task that is to enter here instead.
        from: TaskId,
        /// Tasks whose users ask again.
        again: Vec<TaskId>,
    },
    /// That node is about to be back.
    StandDown(NodeId),
    /// The next task that comes to this step is to stand still there; `None`: all go on.
    HaltAt(Option<Point>),
    /// The run is over; what is open is dropped.
    Finish,
    /// The node cannot take part.
    Refused(String),
}

/// What a node is to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) plan: Planned,
    /// What the mechanism is made of; this crate does not look inside.
    pub(super) mechanism: Sealed,
    /// How often this node was started before.
    pub(super) incarnation: u32,
    /// What the mechanism introduced itself with then.
    pub(super) former: Option<String>,
}

/// How a node comes by the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Planned {
    /// This is all of it but its tasks, so many of which follow.
    Told { rest: Plan, tasks: u32 },
    /// It draws it from this, which this crate does not look into.
    Drawn(Sealed),
}

/// What a node says on its control connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ToDriver {
    /// The mechanism is connected.
    Ready {
        /// Of the plan, as the node has it.
        digest: String,
        introduction: String,
        detection: String,
        promises: Promises,
    },
    /// The mechanism could not be had, or failed.
    Failed(String),
    /// What happened at this node.
    Events(Vec<Event>),
    /// All its tasks have returned, and those of the nodes that it was told to stand in for.
    Returned {
        /// How often it was told so.
        errands: u32,
    },
    /// A task stands at the step where the next was to.
    Halted,
    /// It takes no more users of a node that is about to be back.
    StoodDown {
        back: NodeId,
        /// The first task that it has not taken.
        left: TaskId,
    },
    /// The clean end; the last frame.
    Ended(Box<PartRet>),
}

/// A section's question to the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ask {
    /// Names the question on its connection.
    pub(super) number: u64,
    pub(super) step: StepRef,
    pub(super) slot: Option<u32>,
    pub(super) what: AskWhat,
}

/// Kinds of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AskWhat {
    Enter { token: Option<Token> },
    Leave { write: Option<u64> },
}

/// The agent's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) number: u64,
    pub(super) ret: AgentRet,
}

/// Kinds of answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum AgentRet {
    Enter(EnterRet),
    Leave(LeaveRet),
}

#[cfg(test)]
mod tests;
