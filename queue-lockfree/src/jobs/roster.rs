//! Which queues a node has to run, and how many of its workers are free.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::poison::lock;
use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard};

/// What there is to do, as far as this node knows, and who is there to do it.
#[derive(Debug, Default)]
pub(super) struct Roster {
    queues: Mutex<Queues>,
    /// There may be work.
    work: Notify,
    /// Workers without a job.
    idle: AtomicUsize,
    /// Jobs that may be starting, that run, or whose result is not written yet.
    busy: AtomicUsize,
    /// A worker got rid of its job.
    settled: Notify,
    refused: AtomicU64,
}

/// Faithful: the queues that are this node's to run, one job of each at a time, in turn.
///
/// Invariant: a queue in `known` is in `waiting` or in the hand of one worker, never in two places.
#[derive(Debug, Default)]
struct Queues {
    waiting: VecDeque<i64>,
    known: HashSet<i64>,
}

impl Roster {
    /// A queue is this node's to run.
    pub(super) fn add(&self, queue: i64) {
        let mut queues = self.lock();
        if queues.known.insert(queue) {
            queues.waiting.push_back(queue);
            drop(queues);
            self.wake();
        }
    }

    /// There may be work for one more.
    pub(super) fn wake(&self) {
        self.work.notify_one();
    }

    /// Everyone has a look.
    pub(super) fn wake_all(&self) {
        self.work.notify_waiters();
        self.settled.notify_waiters();
    }

    /// Workers without a job.
    pub(super) fn idlers(&self) -> usize {
        self.idle.load(Ordering::Relaxed)
    }

    /// No worker has a job.
    pub(super) async fn idle(&self) {
        loop {
            let settled = self.settled.notified();
            if self.busy.load(Ordering::Acquire) == 0 {
                return;
            }
            settled.await;
        }
    }

    /// One thing less to wait for.
    pub(super) fn release(&self) {
        self.busy.fetch_sub(1, Ordering::AcqRel);
        self.settled.notify_waiters();
    }

    /// A worker has a turn ahead of it.
    pub(super) fn engage(&self) {
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    /// A worker waits until there may be work for it, until `enough`, and at the most for `longest`.
    pub(super) async fn rest(&self, longest: Duration, enough: &CancellationToken) {
        self.idle.fetch_add(1, Ordering::Relaxed);
        enough.run_until_cancelled(timeout(longest, self.work.notified())).await;
        self.idle.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many results were not written, since their jobs had been taken away.
    pub(super) fn refuse(&self, results: u64) {
        self.refused.fetch_add(results, Ordering::Relaxed);
    }

    /// Results so far that were not written.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(super) fn next(&self) -> Option<i64> {
        self.lock().waiting.pop_front()
    }

    pub(super) fn put_back(&self, queue: i64) {
        self.lock().waiting.push_back(queue);
        self.wake();
    }

    pub(super) fn forget(&self, queue: i64) {
        self.lock().known.remove(&queue);
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        lock(&self.queues)
    }
}
