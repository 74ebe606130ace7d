//! What is known of a run beside its events: what a history is judged by.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{Event, What};
use super::fault::Fault;
use super::id::{NodeId, StepRef};
use super::outcome::{Promises, Token};
use super::plan::Plan;
use super::tasks::Planned;

/// What is known of a run beside its events.
#[derive(Debug, Clone)]
pub struct Facts {
    /// What was to happen.
    pub plan: Arc<Plan>,
    /// Stamp of the plan's time 0.
    pub origin_ns: u64,
    /// Stamp at which the drain was over.
    pub end_ns: u64,
    /// What the mechanism promises.
    pub promises: Promises,
    /// Times at which nodes could not work as planned.
    pub outages: Vec<Outage>,
    /// What became of the plan's faults.
    pub injected: Vec<Injected>,
    /// How much longer than its own work a task may take to be in time, where anybody asks.
    pub limit_ns: Option<u64>,
    /// What was found of the money that its tasks move, where they move any.
    pub audit: Option<Audit>,
    /// How much earlier than by their clocks requests of nodes are stamped, so that no order of events is claimed that their clocks leave
    /// open (see [`Event::certain`](super::Event)); 0 where all have one clock.
    pub earlier_ns: u64,
}

impl Facts {
    /// When something happened, by the clock of whoever says so.
    #[must_use]
    pub fn happened_ns(&self, event: &Event) -> u64 {
        match event.what {
            What::Invoked | What::ReleaseSent => event.at_ns + self.earlier_ns,
            What::Returned { .. } => event.at_ns.saturating_sub(self.earlier_ns / 2),
            _ => event.at_ns,
        }
    }

    /// Whether the node where a task enters was paused or down when the task was due: then it is late for no fault of
    /// the driver's.
    #[must_use]
    pub fn was_out(&self, task: Planned<'_>) -> bool {
        let intended_ns = self.origin_ns + task.arrival_ns;
        let out = |outage: &Outage| {
            outage.node == task.entry && (outage.from_ns..outage.until_ns).contains(&intended_ns)
        };
        self.outages.iter().any(out)
    }
}

/// What was found when all nodes had gone: nobody moved money any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// What there was at the beginning.
    pub expected: i64,
    /// What there is after all that was in doubt has been settled as the design settles it.
    pub found: i64,
    /// Accounts that were looked at.
    pub accounts: u64,
    /// Transfers that were neither done nor undone until somebody settled them at the end.
    pub stuck: u64,
}

/// A time at which a node was paused or down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Which.
    pub node: NodeId,
    /// Its beginning.
    pub from_ns: u64,
    /// Its end; `u64::MAX`: it did not come back.
    pub until_ns: u64,
    /// What.
    pub state: Standstill,
    /// Why, when nobody planned it.
    pub unplanned: Option<String>,
}

/// Why a node did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standstill {
    /// It stood still and went on.
    Paused,
    /// Its process was gone.
    Down,
}

/// What became of a planned fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Injected {
    /// As planned.
    pub fault: Fault,
    /// From when to when it lasted; `None`: it did not come about.
    pub lasted_ns: Option<(u64, u64)>,
    /// The node that it hit.
    pub node: Option<NodeId>,
    /// The place of the member that it hit, as the one that led.
    pub member: Option<usize>,
    /// The sections that were inside at that node when it stood still; at any node when the ring changed.
    pub hit: Vec<Section>,
    /// Tries at which nobody was inside any more.
    pub misses: u32,
    /// Why it could not be injected, or not be taken back.
    pub failure: Option<String>,
}

/// A step that is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Where it runs.
    pub node: NodeId,
    /// The step.
    pub step: StepRef,
    /// Its slot; `None` at level 0.
    pub slot: Option<u32>,
    /// The token that it showed.
    pub token: Option<Token>,
}
