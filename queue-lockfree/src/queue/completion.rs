//! The end of a task, and how the one that ends starts the next.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;

use super::shard::{self, Ending, Held, Place};
use super::submission::{QueueError, Submission};
use crate::sync::{AtomicBool, thread_local};

/// A started task's hold on its slot.
///
/// [`Completion::done`] frees the slot, from any thread, once; later calls are ignored. Dropping it unsignalled, by a
/// panic too, frees the slot as well and counts as [abandoned](super::QueueMetrics::abandoned). Whoever frees the slot
/// starts the next task of the key.
///
/// One that is leaked (`std::mem::forget`, a cycle of references) can be told from one in use only by time: see
/// [`Submission::hold_limit_ns`](super::Submission::hold_limit_ns), or let the queues hold it, with
/// [`WorkQueues::spawn`](super::WorkQueues::spawn).
#[must_use = "dropping the completion ends the task and counts it as abandoned"]
pub struct Completion {
    hold: Hold,
    signalled: AtomicBool,
}

/// What a started task holds.
pub(super) enum Hold {
    Slot(Arc<Shard>, Held),
    /// Level 0: nothing to free.
    Unlimited(Arc<Shard>),
}

impl Completion {
    fn of(hold: Hold) -> Self {
        Self { hold, signalled: AtomicBool::new(false) }
    }

    pub(super) fn hold(&self) -> &Hold {
        &self.hold
    }

    /// The task is done: frees the slot and starts the next task.
    pub fn done(&self) {
        self.signal(Ending::Done);
    }

    fn signal(&self, ending: Ending) {
        // AcqRel: what the task did happens before what the next one does, even if they share no other lock.
        if self.signalled.swap(true, Ordering::AcqRel) {
            return;
        }
        match &self.hold {
            Hold::Slot(shard, held) => shard.free(held, ending),
            Hold::Unlimited(shard) => shard.count_unlimited(ending),
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if !*self.signalled.get_mut() {
            self.signal(Ending::Abandoned);
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Completion");
        if let Hold::Slot(_, held) = &self.hold {
            out.field("slot", &held.slot).field("token", &held.token);
        }
        out.field("signalled", &self.signalled).finish()
    }
}

/// How a wait ends.
pub(super) type Outcome = Result<Completion, QueueError>;

/// A part of the table of keys, for tasks of all forms.
pub(super) type Shard = shard::Shard<Form>;

/// What stands in a queue for a task: how it learns of its outcome.
pub(super) enum Form {
    /// Send it to the [`super::Turn`] that waits.
    Wake(oneshot::Sender<Outcome>),
    /// Call the chain task.
    Call(Box<dyn FnOnce(Outcome) + Send>),
    /// Have a worker poll it.
    Begin(Arc<dyn Begin>),
}

/// A task that the queues run themselves, as long as it waits.
pub(super) trait Begin: Send + Sync {
    /// The wait is over. With a slot, a worker polls the task next.
    fn begin(self: Arc<Self>, outcome: Outcome);
}

impl shard::Start for Form {
    fn tell(self, shard: &Arc<Shard>, outcome: Result<Held, QueueError>) {
        deliver(self, outcome.map(|held| Completion::of(Hold::Slot(Arc::clone(shard), held))));
    }
}

/// The answer to a task that was accepted.
pub(super) enum Answer {
    Granted(Completion),
    Pending(Place),
}

/// Takes a task into its queue, or past it if a slot is free; `form` is called only if the task has to wait.
pub(super) fn admit(
    shard: &Arc<Shard>,
    hash: u64,
    submission: Submission<'_>,
    form: impl FnOnce() -> Form,
) -> Result<Answer, QueueError> {
    Ok(match shard.admit(hash, submission, form)? {
        shard::Answer::Started(held) => Answer::Granted(Completion::of(Hold::Slot(Arc::clone(shard), held))),
        shard::Answer::Unlimited => Answer::Granted(Completion::of(Hold::Unlimited(Arc::clone(shard)))),
        shard::Answer::Pending(place) => Answer::Pending(place),
    })
}

type Job = (Form, Outcome);

thread_local! {
    /// Outcomes that came up while this thread was delivering another; `None` when it is not.
    static UNDELIVERED: RefCell<Option<VecDeque<Job>>> = const { RefCell::new(None) };
}

/// Tells a task its outcome. Only chain tasks run code of a caller then: if this thread is inside a start already (a chain
/// task that was done when it returned), the task waits until that one has returned, so the stack does not grow with the
/// queue.
fn deliver(start: Form, outcome: Outcome) {
    if !matches!(start, Form::Call(_)) {
        return tell(start, outcome);
    }
    if let Some((start, outcome)) = postpone((start, outcome)) {
        delivering(|| tell(start, outcome));
    }
}

/// [`deliver`] for a chain task that never was in the queue.
pub(super) fn call<F>(start: F, outcome: Outcome)
where
    F: FnOnce(Outcome) + Send + 'static,
{
    if UNDELIVERED.try_with(|undelivered| undelivered.borrow().is_some()) == Ok(true) {
        deliver(Form::Call(Box::new(start)), outcome);
    } else {
        delivering(|| start(outcome));
    }
}

/// Returns the job if this thread is not delivering, or is ending and has lost its list.
fn postpone(job: Job) -> Option<Job> {
    let mut job = Some(job);
    let postponed = UNDELIVERED.try_with(|undelivered| {
        if let Some(undelivered) = undelivered.borrow_mut().as_mut() {
            undelivered.extend(job.take());
        }
    });
    debug_assert!(postponed.is_ok() || job.is_some(), "a job is postponed or kept");
    job
}

/// Runs `first`, then whatever came up meanwhile.
fn delivering(first: impl FnOnce()) {
    if UNDELIVERED.try_with(|undelivered| undelivered.replace(Some(VecDeque::new()))).is_err() {
        guarded(first);
        return;
    }
    guarded(first);
    while let Some((start, outcome)) =
        UNDELIVERED.with(|undelivered| undelivered.borrow_mut().as_mut().and_then(VecDeque::pop_front))
    {
        guarded(|| tell(start, outcome));
    }
    UNDELIVERED.with(|undelivered| undelivered.replace(None));
}

fn tell(start: Form, outcome: Outcome) {
    match start {
        Form::Call(start) => start(outcome),
        // A turn that is gone gives its slot back through the drop of the completion.
        Form::Wake(turn) => drop(turn.send(outcome)),
        Form::Begin(task) => task.begin(outcome),
    }
}

/// The thread belongs to someone who merely ended a task, so a panic of the next one stops here.
fn guarded(start: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(start)).is_err() {
        tracing::error!("a chain task panicked when it was started; its slot is freed");
    }
}
