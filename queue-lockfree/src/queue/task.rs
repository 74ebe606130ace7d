//! A task that the queues run themselves, and the handle of who submitted it.

use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};

use super::completion::{Begin, Completion, Outcome, Shard};
use super::ready::{Ready, Runnable};
use super::shard::Place;
use super::submission::QueueError;
use crate::now::reached;
use crate::poison::lock;
use crate::sync::{AtomicU8, Mutex};

/// The submitter's handle on a task that was [spawned](super::WorkQueues::spawn). Dropping it takes the task out of the queue if
/// it has not started; a started one runs to its end unobserved.
#[must_use = "dropping the handle takes the task out of the queue"]
pub struct Task<T> {
    cell: Arc<dyn Answering<T>>,
    /// Of a task that had to wait.
    place: Option<Place>,
    deadline_ns: u64,
}

/// Why a spawned task has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// It did not start, and will not.
    #[error(transparent)]
    NotStarted(#[from] QueueError),
    /// It panicked.
    #[error("the task panicked")]
    Panicked,
}

impl<T> Task<T> {
    pub(super) fn new(cell: Arc<dyn Answering<T>>, place: Option<Place>, deadline_ns: u64) -> Self {
        Self { cell, place, deadline_ns }
    }

    /// Waits for the task's end. Its slot is free when this returns. Needs a tokio runtime with time if the task has a
    /// deadline.
    ///
    /// Cancel safe in this sense: dropping the future is dropping the handle.
    ///
    /// # Errors
    ///
    /// [`TaskError`].
    pub async fn finished(mut self) -> Result<T, TaskError> {
        let answer = poll_fn(|context| self.cell.poll_answer(context));
        let Some(place) = self.place.as_ref().filter(|_| self.deadline_ns != u64::MAX) else {
            let answer = answer.await;
            self.place = None;
            return answer;
        };
        let withdrawn = tokio::select! {
            biased;
            answer = answer => {
                self.place = None;
                return answer;
            }
            () = reached(self.cell.shard().now(), self.deadline_ns) => self.cell.shard().withdraw(place),
        };
        self.place = None;
        if withdrawn {
            return Err(QueueError::TimedOut.into());
        }
        poll_fn(|context| self.cell.poll_answer(context)).await
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Some(place) = &self.place {
            self.cell.shard().withdraw(place);
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}

/// What a handle needs of a task.
pub(super) trait Answering<T>: Send + Sync {
    /// Where its queue is.
    fn shard(&self) -> &Shard;

    fn poll_answer(&self, context: &Context<'_>) -> Poll<Result<T, TaskError>>;
}

type Running<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A spawned task, from its submission to its answer.
pub(super) struct Cell<B, T> {
    /// Where its queue is; it goes to the list of that node when it can go on.
    shard: Arc<Shard>,
    /// One of [`phase`].
    phase: AtomicU8,
    /// Locked by the queue when it begins, then by the worker that polls, one at a time: nobody ever waits for it.
    work: Mutex<Work<B, T>>,
    answer: Mutex<Answer<T>>,
}

enum Work<B, T> {
    Waiting(B),
    Running(Running<T>),
    Ended,
}

enum Answer<T> {
    /// With whom to wake.
    Open(Option<Waker>),
    Given(Result<T, TaskError>),
    Taken,
}

/// Where a begun task is. Waiting ones are [`phase::SUSPENDED`] without a waker that could change it.
mod phase {
    /// Nobody polls it until it is woken.
    pub(super) const SUSPENDED: u8 = 0;
    /// In the ready list or in a worker's hands.
    pub(super) const READY: u8 = 1;
    /// Being polled.
    pub(super) const POLLED: u8 = 2;
    /// Being polled, and woken since that began.
    pub(super) const WOKEN: u8 = 3;
}

impl<B, T> Cell<B, T>
where
    B: FnOnce(Completion) -> Running<T> + Send + 'static,
    T: Send + 'static,
{
    pub(super) fn new(shard: Arc<Shard>, begin: B) -> Self {
        Self {
            shard,
            phase: AtomicU8::new(phase::SUSPENDED),
            work: Mutex::new(Work::Waiting(begin)),
            answer: Mutex::new(Answer::Open(None)),
        }
    }

    /// Goes on when a worker polls it next.
    fn go_on(self: Arc<Self>) {
        if let Err(this) = Ready::hand_over(&raw const self.shard.node.ready, self) {
            let shard = Arc::clone(&this.shard);
            shard.node.ready.push(this);
        }
    }

    fn answer(&self, answer: Result<T, TaskError>) {
        let before = std::mem::replace(&mut *lock(&self.answer), Answer::Given(answer));
        if let Answer::Open(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<B, T> Begin for Cell<B, T>
where
    B: FnOnce(Completion) -> Running<T> + Send + 'static,
    T: Send + 'static,
{
    fn begin(self: Arc<Self>, outcome: Outcome) {
        let mut work = lock(&self.work);
        let Work::Waiting(begin) = std::mem::replace(&mut *work, Work::Ended) else {
            unreachable!("a task begins once")
        };
        match outcome {
            Ok(completion) => {
                *work = Work::Running(begin(completion));
                drop(work);
                self.phase.store(phase::READY, Ordering::Release);
                self.go_on();
            }
            Err(error) => {
                drop(work);
                self.answer(Err(error.into()));
            }
        }
    }
}

impl<B, T> Runnable for Cell<B, T>
where
    B: FnOnce(Completion) -> Running<T> + Send + 'static,
    T: Send + 'static,
{
    fn run(self: Arc<Self>) {
        self.phase.store(phase::POLLED, Ordering::Release);
        let waker = Waker::from(Arc::clone(&self));
        let mut work = lock(&self.work);
        let Work::Running(running) = &mut *work else { unreachable!("an ended task is not ready") };
        let polled =
            catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut Context::from_waker(&waker))));
        let answer = match polled {
            Ok(Poll::Ready(result)) => Ok(result),
            Ok(Poll::Pending) => {
                drop(work);
                let suspended = self.phase.compare_exchange(
                    phase::POLLED,
                    phase::SUSPENDED,
                    Ordering::AcqRel,
                    Ordering::Acquire,
                );
                if suspended.is_err() {
                    self.phase.store(phase::READY, Ordering::Release);
                    self.go_on();
                }
                return;
            }
            Err(_panic) => Err(TaskError::Panicked),
        };
        // The slot is free before the answer is seen: a task that panicked still has its completion.
        let ended = std::mem::replace(&mut *work, Work::Ended);
        drop(work);
        if catch_unwind(AssertUnwindSafe(|| drop(ended))).is_err() {
            tracing::error!("a task panicked while it was dropped");
        }
        self.answer(answer);
    }
}

impl<B, T> Wake for Cell<B, T>
where
    B: FnOnce(Completion) -> Running<T> + Send + 'static,
    T: Send + 'static,
{
    fn wake(self: Arc<Self>) {
        if self.is_to_go_on() {
            self.go_on();
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.is_to_go_on() {
            Arc::clone(self).go_on();
        }
    }
}

impl<B, T> Cell<B, T> {
    /// Notes that it was woken; true if nobody has it in hand.
    fn is_to_go_on(&self) -> bool {
        let woken = self.phase.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| match now {
            phase::SUSPENDED => Some(phase::READY),
            phase::POLLED => Some(phase::WOKEN),
            _ => None,
        });
        woken == Ok(phase::SUSPENDED)
    }
}

impl<B: Send, T: Send> Answering<T> for Cell<B, T> {
    fn shard(&self) -> &Shard {
        &self.shard
    }

    fn poll_answer(&self, context: &Context<'_>) -> Poll<Result<T, TaskError>> {
        let mut answer = lock(&self.answer);
        match std::mem::replace(&mut *answer, Answer::Taken) {
            Answer::Open(waker) => {
                let same = waker.filter(|waker| waker.will_wake(context.waker()));
                *answer = Answer::Open(Some(same.unwrap_or_else(|| context.waker().clone())));
                Poll::Pending
            }
            Answer::Given(answer) => Poll::Ready(answer),
            Answer::Taken => unreachable!("an answer is taken once: the handle is used up by it"),
        }
    }
}
