//! What a part of a run tells beside its events.

use serde::{Deserialize, Serialize};

use crate::model::{Histogram, Operations};

/// What a part tells at its end, beside its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartRet {
    /// Latency of the bystanders' probes, those without an end included.
    pub(crate) bystander: Histogram,
    /// Probes that did not complete.
    pub(crate) bystander_failed: u64,
    /// What it took.
    pub(crate) spent: Spent,
}

/// What a part has taken so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// CPU of the process, timer thread excluded.
    pub(crate) process_cpu_ns: u64,
    /// CPU of the timer thread.
    pub(crate) timer_cpu_ns: u64,
    /// Operations sent to the server.
    pub(crate) operations: Option<Operations>,
}

impl PartRet {
    /// Adds what another part tells.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.bystander.merge(&other.bystander);
        for (ours, theirs) in [
            (&mut self.bystander_failed, other.bystander_failed),
            (&mut self.spent.process_cpu_ns, other.spent.process_cpu_ns),
            (&mut self.spent.timer_cpu_ns, other.spent.timer_cpu_ns),
        ] {
            *ours = ours.saturating_add(theirs);
        }
        self.spent.operations = match (self.spent.operations, other.spent.operations) {
            (Some(ours), Some(theirs)) => Some(ours + theirs),
            (ours, theirs) => ours.or(theirs),
        };
    }
}
