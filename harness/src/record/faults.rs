//! What was broken on purpose, as it is stored.

use serde::{Deserialize, Serialize};

/// What was broken on purpose in a run, and what came of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultFacts {
    /// Faults of the plan.
    pub planned: u64,
    /// Those whose time came, in order.
    pub faults: Vec<FaultRecord>,
    /// Entries before the first fault: what the faults are compared with.
    pub entries_before: u64,
    /// Whether the last task to return completed: the system came back.
    pub last_completed: bool,
    /// What must have taken effect for a verdict to mean anything, each kind that was asked for.
    pub least: Vec<LeastFaults>,
    /// The share of them that the scenario promises to end in a token regression.
    pub least_share: Option<f64>,
    /// Within which the contender declares that the key of a killed holder is free.
    pub freed_bound_ns: Option<u64>,
}

/// How many faults of one kind must have taken effect, and how many did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeastFaults {
    /// Verb and target, such as `kill holder`.
    pub kind: String,
    /// So many are needed.
    pub least: u64,
    /// So many came about and met something that they could break ([`FaultRecord::effective`]).
    pub effective: u64,
}

impl FaultFacts {
    /// The first kind of fault of which too few took effect, in words.
    #[must_use]
    pub fn too_few(&self) -> Option<String> {
        let few = self.least.iter().find(|of| of.effective < of.least)?;
        let LeastFaults { kind, least, effective } = few;
        Some(format!("only {effective} faults ({kind}) took effect, {least} are needed"))
    }

    /// Faults that came about.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.faults.iter().filter(|fault| fault.from_ns.is_some()).count() as u64
    }

    /// Faults that took effect.
    #[must_use]
    pub fn effective(&self) -> u64 {
        self.faults.iter().filter(|fault| fault.effective).count() as u64
    }

    /// Faults that hit a holder.
    #[must_use]
    pub fn hit_a_holder(&self) -> u64 {
        self.faults.iter().filter(|fault| fault.hits > 0).count() as u64
    }

    /// Of these, those that ended in a token regression.
    #[must_use]
    pub fn regressed(&self) -> u64 {
        self.faults.iter().filter(|fault| fault.regressions > 0).count() as u64
    }
}

/// One fault. Times are from the start of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRecord {
    /// What was done: `pause`, `kill`, `join` …
    pub verb: String,
    /// `holder`, `server`, `leader` or the node.
    pub target: String,
    /// The node that was hit.
    pub node: Option<u16>,
    /// The member that was hit, as the one that led; from 0, in the order of the server's endpoints.
    #[serde(default)]
    pub member: Option<u32>,
    /// When it was planned.
    pub planned_ns: u64,
    /// When it began; `None`: it did not come about.
    pub from_ns: Option<u64>,
    /// When it was taken back.
    pub until_ns: Option<u64>,
    /// Tries at which whoever was aimed at had just left.
    pub misses: u32,
    /// Sections that were inside at the node; of a change of the ring, those inside keys that moved.
    pub hits: u64,
    /// Of these, how many wrote although a later token had entered their slot.
    pub regressions: u64,
    /// Of these, how many had their write refused by the agent.
    pub rejections: u64,
    /// From its beginning to the next entry of a slot that was hit, the longest; of those that somebody wanted until then, since one that
    /// nobody asks for may have been free for long.
    pub freed_ns: Option<u64>,
    /// The longest time in which nobody entered anything, from its beginning to the first entry after its end.
    #[serde(default)]
    pub unserved_ns: Option<u64>,
    /// Keys that were entered at another node than before, until the next fault; where a key has one owner.
    #[serde(default)]
    pub moved_keys: u64,
    /// The longest time for which somebody waited for one of these and nobody was inside, before its new owner let somebody in.
    #[serde(default)]
    pub stall_ns: Option<u64>,
    /// Tasks that completed in the second before it.
    #[serde(default)]
    pub completed_before: u64,
    /// Tasks that completed in the first second of it.
    #[serde(default)]
    pub completed_after: u64,
    /// Whether it came about and met something: a section that was inside where it was aimed at a holder, a key that moved
    /// where the ring changed, an open task of its target otherwise.
    pub effective: bool,
    /// Why it could not be injected, or not be taken back.
    pub failure: Option<String>,
}
