//! What can be seen of a run while it goes on. None of it is a result: figures and verdicts are read off the history.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::model::{Histogram, Outcome, Plan, TaskId};

/// Counts that move while a run goes on; to look at them costs those who move them nothing.
#[derive(Debug, Default)]
pub struct Progress {
    /// Tasks started.
    pub started: AtomicU64,
    /// Tasks that returned, however they ended.
    pub returned: AtomicU64,
    /// Those of them that did all they should.
    pub completed: AtomicU64,
    /// Stamp of the plan's time 0 on the run's clock; 0 before it is known.
    pub origin_ns: AtomicU64,
    /// Entries, as the agent saw them, while somebody was inside who excludes them.
    pub overlaps: AtomicU64,
    /// Writes, as the agent saw them, over one that they had not read.
    pub lost_updates: AtomicU64,
    /// When each task is due, where that is known.
    plan: Option<Arc<Plan>>,
    /// From when each was due until it returned.
    response: Mutex<Histogram>,
    /// What is broken now.
    fault: Mutex<Option<String>>,
}

impl Progress {
    /// Of a run of this plan.
    #[must_use]
    pub fn of(plan: Arc<Plan>) -> Self {
        Self { plan: Some(plan), ..Self::default() }
    }

    /// The response time that 99 of 100 tasks did not exceed so far; `None` while they are too few to tell.
    #[must_use]
    pub fn response_p99_ns(&self) -> Option<u64> {
        let response = lock(&self.response);
        response.quantile(0.99).and_then(|_| response.quantile_ns(0.99))
    }

    /// What is broken on purpose at this moment, in words.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Something is broken now, or nothing any more.
    pub(crate) fn set_fault(&self, fault: Option<String>) {
        *lock(&self.fault) = fault;
    }

    pub(super) fn count(&self, counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A task returned.
    pub(super) fn task_returned(&self, task: TaskId, at_ns: u64, outcome: &Outcome) {
        self.count(&self.returned);
        if *outcome == Outcome::Completed {
            self.count(&self.completed);
        }
        let due_ns = self.plan.as_ref().and_then(|plan| plan.tasks.get(task.0 as usize));
        if let Some(due_ns) = due_ns.map(|task| task.arrival_ns) {
            let since_ns = at_ns.saturating_sub(self.origin_ns.load(Ordering::Relaxed));
            lock(&self.response).record_ns(since_ns.saturating_sub(due_ns));
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
