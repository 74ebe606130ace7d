//! Tasks that can go on, and the few workers that poll them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::poison::lock;
use crate::sync::{Mutex, MutexGuard, thread_local};

/// Polls that a worker makes before it lets the runtime's other tasks go on.
const BUDGET: usize = 128;

/// Tasks that a worker takes from the list at a time, at most.
const BATCH: usize = 32;

/// What a worker polls. It catches its own panics.
pub(super) trait Runnable: Send + Sync {
    /// Polls it once; called by one worker at a time.
    fn run(self: Arc<Self>);
}

pub(super) type Job = Arc<dyn Runnable>;

/// The ready list.
///
/// Invariant: a task that is ready is in the list or in the hands of one worker, and while the list is not empty a
/// worker is awake, if there is any.
#[derive(Default)]
pub(super) struct Ready {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Workers that found the list empty.
    idle: Vec<(u64, Waker)>,
    workers: u64,
}

thread_local! {
    /// What the worker on this thread will poll next, with the address of its list; `None` outside of workers. It
    /// makes a hand-over from task to task free of locks and of the runtime's scheduler.
    static HANDS: RefCell<Option<(*const Ready, VecDeque<Job>)>> = const { RefCell::new(None) };
}

impl Ready {
    /// Makes `job` ready, if this thread is a worker of this list that is polling a task: the worker takes it over.
    /// Otherwise it comes back, for [`Ready::push`].
    pub(super) fn hand_over<R: Runnable + 'static>(list: *const Self, job: Arc<R>) -> Result<(), Arc<R>> {
        let mut job = Some(job);
        // Without its hands the thread is ending, and no worker's.
        let _ending = HANDS.try_with(|hands| {
            if let Some((hands_of, jobs)) = hands.borrow_mut().as_mut()
                && *hands_of == list
                && let Some(job) = job.take()
            {
                jobs.push_back(job);
            }
        });
        job.map_or(Ok(()), Err)
    }

    /// Enters `job` in the list and wakes a worker that is idle.
    pub(super) fn push(&self, job: Job) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        let idle = state.idle.pop();
        drop(state);
        if let Some((_, waker)) = idle {
            waker.wake();
        }
    }

    /// Polls what is ready, for ever. Dropped, it leaves what it had not begun to others.
    pub(super) async fn serve(&self) {
        let mut worker = Worker::new(self);
        poll_fn(|context| worker.poll(context)).await
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

struct Worker<'a> {
    ready: &'a Ready,
    id: u64,
}

impl<'a> Worker<'a> {
    fn new(ready: &'a Ready) -> Self {
        let mut state = ready.lock();
        state.workers += 1;
        Self { ready, id: state.workers }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut left = BUDGET;
        while left > 0 {
            let Some(batch) = self.take(context, left) else { return Poll::Pending };
            left -= work(self.ready, batch, left);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes a part of the list; if it is empty, has itself woken when it is not.
    fn take(&self, context: &Context<'_>, left: usize) -> Option<VecDeque<Job>> {
        let mut state = self.ready.lock();
        state.idle.retain(|(id, _)| *id != self.id);
        if state.jobs.is_empty() {
            state.idle.push((self.id, context.waker().clone()));
            return None;
        }
        // Some are left for other workers.
        let count = (state.jobs.len() / 2 + 1).min(BATCH).min(left);
        let batch = state.jobs.drain(..count).collect();
        let helper = if state.jobs.is_empty() { None } else { state.idle.pop() };
        drop(state);
        if let Some((_, waker)) = helper {
            waker.wake();
        }
        Some(batch)
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        let mut state = self.ready.lock();
        state.idle.retain(|(id, _)| *id != self.id);
        // This worker may have been woken for what is in the list now.
        let idle = if state.jobs.is_empty() { None } else { state.idle.pop() };
        drop(state);
        if let Some((_, waker)) = idle {
            waker.wake();
        }
    }
}

/// Polls `batch` and what becomes ready on this thread meanwhile, at most `limit` of them; the rest goes back to the
/// front of the list. Returns how many were polled.
fn work(ready: &Ready, batch: VecDeque<Job>, limit: usize) -> usize {
    let outer = HANDS.with(|hands| hands.replace(Some((&raw const *ready, batch))));
    let mut polled = 0;
    while polled < limit
        && let Some(job) =
            HANDS.with(|hands| hands.borrow_mut().as_mut().and_then(|(_, jobs)| jobs.pop_front()))
    {
        job.run();
        polled += 1;
    }
    if let Some((_, rest)) = HANDS.with(|hands| hands.replace(outer))
        && !rest.is_empty()
    {
        let mut state = ready.lock();
        for job in rest.into_iter().rev() {
            state.jobs.push_front(job);
        }
    }
    polled
}
