//! What the queues tell of themselves: who runs and waits, and what has happened so far.

use std::sync::Arc;

/// One key's tasks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSnapshot {
    /// The key.
    pub key: Arc<str>,
    /// The highest level seen since the queue was created.
    pub level: u32,
    /// Started tasks by slot.
    pub running: Vec<RunningSnapshot>,
    /// For how long each pending task has waited, in ns; the next one to start first. [`u64::MAX`] where no ages are kept.
    pub pending_ages_ns: Vec<u64>,
}

/// One started task at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningSnapshot {
    /// Its slot.
    pub slot: u32,
    /// For how long it has held the slot, in ns; [`u64::MAX`] where no ages are kept.
    pub age_ns: u64,
}

/// What has happened in the queues of a node since they were made, and, in the last three, what is there now.
///
/// Tasks submitted = started + refused + expired + withdrawn + pending; started = completed + abandoned + those that run,
/// of level 0 too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueMetrics {
    /// Tasks submitted.
    pub submitted: u64,
    /// Tasks that were given a slot, or started at once at level 0.
    pub started: u64,
    /// Tasks that said that they were done.
    pub completed: u64,
    /// Tasks that ended otherwise: dropped, panicked, or past their limit.
    pub abandoned: u64,
    /// Tasks whose deadline passed before they were started.
    pub expired: u64,
    /// Tasks taken back by who had submitted them, some of them at their deadline.
    pub withdrawn: u64,
    /// Tasks refused by a bound or by closed queues.
    pub refused: u64,
    /// Times that an abnormal depth was reached.
    pub alarms: u64,
    /// Keys that have tasks.
    pub keys: u64,
    /// Slots taken.
    pub running: u64,
    /// Tasks that wait.
    pub pending: u64,
}

impl QueueMetrics {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            submitted: self.submitted + other.submitted,
            started: self.started + other.started,
            completed: self.completed + other.completed,
            abandoned: self.abandoned + other.abandoned,
            expired: self.expired + other.expired,
            withdrawn: self.withdrawn + other.withdrawn,
            refused: self.refused + other.refused,
            alarms: self.alarms + other.alarms,
            keys: self.keys + other.keys,
            running: self.running + other.running,
            pending: self.pending + other.pending,
        }
    }
}
