//! Deduplication: work that is on its way already, or waits often enough, is not queued once more.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::completion::Completion;
use super::entitlement::Entitlement;
use super::submission::{QueueError, Submission};
use super::work_queues::WorkQueues;
use crate::poison::lock;
use crate::sync::{Mutex, MutexGuard};

/// Admits no more tasks of a kind to a queue than may wait; clones share the counts.
///
/// A *kind* is a word that tasks of one purpose have in common, the original's deduplication string. Counting is per
/// (key, kind), so the kinds of one queue are independent. A task that runs does not count as pending, yet it is known:
/// with `max_pending` 0 a task is admitted only if none of its kind runs or waits; with k, at most k wait besides those
/// that run.
///
/// ```text
/// max_pending 2    A admitted, runs    B, C admitted, wait    D refused    A done, B runs    E admitted
/// ```
///
/// Unlike in the original, a task that finds a free slot is not counted as pending once [`Admission::submit`] has
/// returned, so a burst on an idle queue admits k + 1 at any speed (inside another task's start it counts until that has
/// returned); with a level above 1 a kind is known until the last of its twins is done; and no code of a caller runs under
/// the lock. While another thread is inside [`Admission::submit`] its task counts as pending: two calls at the same
/// instant may admit one less, never one more.
///
/// Invariant: a kind is in the table while a task of it runs or waits; an idle kind costs no memory.
///
/// ```
/// use std::sync::Arc;
/// use queue_lockfree::{Admission, AdmissionError, QueueLimits, Submission, TokioNow, WorkQueues};
///
/// let queues = WorkQueues::new(QueueLimits::default(), Arc::new(TokioNow::start()));
/// let admission = Admission::new(queues);
/// let (running, mut runs) = std::sync::mpsc::sync_channel(1);
/// admission.submit(Submission::new("ps-1", 1), "recalculate", 0, move |task| running.send(task).unwrap()).unwrap();
/// let again = admission.submit(Submission::new("ps-1", 1), "recalculate", 0, |_| unreachable!());
/// assert_eq!(again, Err(AdmissionError::Duplicate));
/// runs.recv().unwrap().unwrap().done();
/// assert_eq!(admission.count("ps-1", "recalculate"), (0, 0));
/// ```
#[derive(Clone)]
pub struct Admission {
    queues: WorkQueues,
    kinds: Arc<Kinds>,
}

impl Admission {
    /// Counts what is submitted to these queues through this admission; what is submitted otherwise is not seen.
    pub fn new(queues: WorkQueues) -> Self {
        Self { queues, kinds: Arc::default() }
    }

    /// [`WorkQueues::submit`], if the kind has a place.
    ///
    /// # Errors
    ///
    /// [`AdmissionError::Duplicate`] if `max_pending` of this kind wait or, at 0, one runs; otherwise as
    /// [`WorkQueues::submit`]. `start` is then dropped uncalled.
    pub fn submit<F>(
        &self,
        submission: Submission<'_>,
        kind: &str,
        max_pending: usize,
        start: F,
    ) -> Result<(), AdmissionError>
    where
        F: FnOnce(Result<Admitted, QueueError>) + Send + 'static,
    {
        let mut seat = self.kinds.take_seat(submission.key, kind, max_pending)?;
        self.queues.submit(submission, move |granted| {
            start(granted.map(|completion| {
                seat.runs();
                Admitted { completion, _seat: seat }
            }));
        })?;
        Ok(())
    }

    /// How many of this kind run, and how many wait.
    pub fn count(&self, key: &str, kind: &str) -> (usize, usize) {
        let count = self.kinds.lock().get(&(key.into(), kind.into())).copied().unwrap_or_default();
        (count.running, count.pending)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("queues", &self.queues).finish_non_exhaustive()
    }
}

/// Why a task was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// As many of its kind as may wait do so, or at 0 one runs. It was not queued.
    #[error("work of this kind is on its way; nothing needs to be done")]
    Duplicate,
    /// The queue does not take it.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// A started task's hold on its slot, and its kind's knowledge of it. As [`Completion`].
#[derive(Debug)]
#[must_use = "dropping it ends the task and counts it as abandoned"]
pub struct Admitted {
    // Freed in this order: who is started by it finds the kind still known, and nobody is admitted too early.
    completion: Completion,
    _seat: Seat,
}

impl Admitted {
    /// The task is done: frees the slot, starts the next task, and forgets this one.
    pub fn done(self) {
        self.completion.done();
    }

    /// As [`Completion::entitlement`].
    pub fn entitlement(&self) -> Entitlement {
        self.completion.entitlement()
    }
}

/// Counts by key and kind.
#[derive(Debug, Default)]
struct Kinds {
    table: Mutex<Table>,
}

type Table = HashMap<(Box<str>, Box<str>), Count>;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    running: usize,
    pending: usize,
}

impl Kinds {
    fn take_seat(
        self: &Arc<Self>,
        key: &str,
        kind: &str,
        max_pending: usize,
    ) -> Result<Seat, AdmissionError> {
        let name = (key.into(), kind.into());
        let mut table = self.lock();
        let Count { running, pending } = table.get(&name).copied().unwrap_or_default();
        // At 0 there is a place for one that runs, and none for one that waits.
        let full = if max_pending == 0 { running + pending > 0 } else { pending >= max_pending };
        if full {
            return Err(AdmissionError::Duplicate);
        }
        table.insert(name.clone(), Count { running, pending: pending + 1 });
        Ok(Seat { kinds: Arc::clone(self), name, running: false })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }
}

/// One task in the counts; dropping it takes it out.
#[derive(Debug)]
struct Seat {
    kinds: Arc<Kinds>,
    name: (Box<str>, Box<str>),
    running: bool,
}

impl Seat {
    fn runs(&mut self) {
        let mut table = self.kinds.lock();
        let count = table.get_mut(&self.name).expect("a task is counted until it is dropped");
        (count.pending, count.running) = (count.pending - 1, count.running + 1);
        self.running = true;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.kinds.lock();
        let count = table.get_mut(&self.name).expect("a task is counted until it is dropped");
        *(if self.running { &mut count.running } else { &mut count.pending }) -= 1;
        if count.running + count.pending == 0 {
            table.remove(&self.name);
        }
    }
}
