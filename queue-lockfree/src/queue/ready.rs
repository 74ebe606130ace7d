//! Tasks that can go on, and the few workers that poll them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::poison::lock;
use crate::sync::{Mutex, MutexGuard};

/// Polls that a worker makes before it lets the runtime's other tasks go on.
const BUDGET: usize = 128;

/// Tasks that a worker takes from the list at a time, at most.
const BATCH: usize = 32;

/// What a worker polls. It catches its own panics.
pub(super) trait Job: Send + Sized {
    /// What a worker has for each of its jobs.
    type Tools: Clone;

    /// Polls it once.
    fn run(self);

    /// The hands of this thread; `None` if the thread is ending.
    fn with_hands<R>(look: impl FnOnce(&Hands<Self>) -> R) -> Option<R>;
}

/// What the worker on a thread will poll next, and of which list it is one, if it is polling. It makes a hand-over from
/// task to task free of locks and of the runtime's scheduler.
pub(super) struct Hands<J: Job> {
    list: Cell<*const Ready<J>>,
    jobs: RefCell<VecDeque<J>>,
    /// Of the worker; not there while they are in use.
    tools: Cell<Option<J::Tools>>,
}

impl<J: Job> Hands<J> {
    pub(super) const fn new() -> Self {
        Self {
            list: Cell::new(std::ptr::null()),
            jobs: RefCell::new(VecDeque::new()),
            tools: Cell::new(None),
        }
    }

    /// Lends the worker's tools to a job that it polls.
    pub(super) fn with_tools<R>(&self, work: impl FnOnce(&J::Tools) -> R) -> R {
        let tools = self.tools.take().expect("a worker polls, and its tools are not in use");
        let result = work(&tools);
        self.tools.set(Some(tools));
        result
    }
}

/// The ready list.
///
/// Invariant: a task that is ready is in the list or in the hands of one worker, and while the list is not empty a
/// worker is awake, if there is any.
pub(super) struct Ready<J> {
    state: Mutex<State<J>>,
}

struct State<J> {
    jobs: VecDeque<J>,
    /// Workers that found the list empty.
    idle: Vec<(u64, Waker)>,
    workers: u64,
}

impl<J: Job> Ready<J> {
    pub(super) fn new() -> Self {
        Self { state: Mutex::new(State { jobs: VecDeque::new(), idle: Vec::new(), workers: 0 }) }
    }

    /// Makes `job` ready, if this thread is a worker of this list that is polling a task: the worker takes it over.
    /// Otherwise it comes back, for [`Ready::push`].
    pub(super) fn hand_over(list: *const Self, job: J) -> Result<(), J> {
        // Without its hands the thread is ending, and no worker's.
        if J::with_hands(|hands| hands.list.get() == list) != Some(true) {
            return Err(job);
        }
        J::with_hands(|hands| hands.jobs.borrow_mut().push_back(job)).expect("it has hands");
        Ok(())
    }

    /// Enters `job` in the list and wakes a worker that is idle.
    pub(super) fn push(&self, job: J) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        let idle = state.idle.pop();
        drop(state);
        if let Some((_, waker)) = idle {
            waker.wake();
        }
    }

    /// Polls what is ready, for ever. Dropped, it leaves what it had not begun to others.
    pub(super) async fn serve(&self, tools: &J::Tools) {
        let mut worker = Worker::new(self, tools);
        poll_fn(|context| worker.poll(context)).await
    }

    fn lock(&self) -> MutexGuard<'_, State<J>> {
        lock(&self.state)
    }
}

struct Worker<'a, J: Job> {
    ready: &'a Ready<J>,
    tools: &'a J::Tools,
    id: u64,
    /// Empty, between its polls.
    batch: VecDeque<J>,
}

impl<'a, J: Job> Worker<'a, J> {
    fn new(ready: &'a Ready<J>, tools: &'a J::Tools) -> Self {
        let mut state = ready.lock();
        state.workers += 1;
        Self { ready, tools, id: state.workers, batch: VecDeque::with_capacity(BATCH) }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut left = BUDGET;
        while left > 0 {
            if !self.take(context, left) {
                return Poll::Pending;
            }
            left -= self.work(left);
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes a part of the list; if it is empty, has itself woken when it is not.
    fn take(&mut self, context: &Context<'_>, left: usize) -> bool {
        let mut state = self.ready.lock();
        state.forget(self.id);
        if state.jobs.is_empty() {
            state.idle.push((self.id, context.waker().clone()));
            return false;
        }
        // Some are left for other workers.
        let count = (state.jobs.len() / 2 + 1).min(BATCH).min(left);
        self.batch.extend(state.jobs.drain(..count));
        let helper = if state.jobs.is_empty() { None } else { state.idle.pop() };
        drop(state);
        if let Some((_, waker)) = helper {
            waker.wake();
        }
        true
    }

    /// Polls the batch and what becomes ready on this thread meanwhile, at most `limit` of them; the rest goes back to the
    /// front of the list. Returns how many were polled.
    fn work(&mut self, limit: usize) -> usize {
        // A worker may run inside a task of another one's: that one's hands are kept meanwhile.
        let outer = J::with_hands(|hands| {
            std::mem::swap(&mut *hands.jobs.borrow_mut(), &mut self.batch);
            let tools = hands.tools.replace(Some(self.tools.clone()));
            (hands.list.replace(&raw const *self.ready), tools)
        });
        let (list, tools) = outer.expect("a worker's thread goes on");
        let next = || J::with_hands(|hands| hands.jobs.borrow_mut().pop_front()).flatten();
        let mut polled = 0;
        while polled < limit
            && let Some(job) = next()
        {
            job.run();
            polled += 1;
        }
        J::with_hands(|hands| {
            hands.list.set(list);
            hands.tools.set(tools);
            std::mem::swap(&mut *hands.jobs.borrow_mut(), &mut self.batch);
        });
        if !self.batch.is_empty() {
            let mut state = self.ready.lock();
            for job in self.batch.drain(..).rev() {
                state.jobs.push_front(job);
            }
        }
        polled
    }
}

impl<J> State<J> {
    fn forget(&mut self, worker: u64) {
        if !self.idle.is_empty() {
            self.idle.retain(|(id, _)| *id != worker);
        }
    }
}

impl<J: Job> Drop for Worker<'_, J> {
    fn drop(&mut self) {
        let mut state = self.ready.lock();
        state.forget(self.id);
        // This worker may have been woken for what is in the list now.
        let idle = if state.jobs.is_empty() { None } else { state.idle.pop() };
        drop(state);
        if let Some((_, waker)) = idle {
            waker.wake();
        }
    }
}
