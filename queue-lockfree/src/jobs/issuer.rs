//! The issuer's side: who waits for which outcome.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::job::JobOutcome;
use super::options::JobNodeOptions;
use super::rows::{Done, Order};
use crate::now::Now;
use crate::poison::lock;
use crate::sync::{AtomicU64, Mutex, MutexGuard};

/// Submissions that may wait to be sent; more callers wait in line.
const ORDERS: usize = 1024;

/// Told outcomes that are acknowledged without waiting for the next look.
const ACKNOWLEDGE: usize = 256;

/// What callers and the issuer's tasks share.
#[derive(Debug)]
pub(super) struct Issuer {
    /// Written by callers, read by who sends them.
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) waiters: Waiters,
    /// Numbers that are on their way to the database. What is acknowledged is forgotten there, and a submission that is
    /// repeated after that would be a new job.
    sending: Mutex<HashSet<i64>>,
    /// Numbers and jobs whose outcome was told, to be acknowledged. Bounded by [`ACKNOWLEDGE`] and what a round takes.
    pub(super) told: Mutex<Vec<(i64, i64)>>,
    /// Bounds the waiters.
    open: Arc<Semaphore>,
    /// There may be outcomes.
    pub(super) news: Notify,
    pub(super) now: Arc<dyn Now>,
    pub(super) grace_ns: u64,
    /// When the database last answered, on `now`.
    answered_ns: AtomicU64,
    last_number: AtomicI64,
}

#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Mutex<HashMap<i64, Waiter>>,
    /// Numbers of jobs whose deadline has passed.
    overdue: Mutex<HashSet<i64>>,
}

#[derive(Debug)]
pub(super) struct Waiter {
    outcome: oneshot::Sender<JobOutcome>,
    /// Known once the database has told.
    pub(super) job: Option<i64>,
    _permit: OwnedSemaphorePermit,
}

impl Issuer {
    pub(super) fn new(options: &JobNodeOptions) -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(ORDERS);
        let issuer = Self {
            orders,
            waiters: Waiters::default(),
            sending: Mutex::default(),
            told: Mutex::default(),
            open: Arc::new(Semaphore::new(options.open)),
            news: Notify::new(),
            answered_ns: AtomicU64::new(options.now.now_ns()),
            now: Arc::clone(&options.now),
            grace_ns: u64::try_from(options.grace.as_nanos()).unwrap_or(u64::MAX),
            last_number: AtomicI64::new(0),
        };
        (issuer, receiver)
    }

    /// A new submission's number, and where its outcome will come; `None` if too many are open.
    pub(super) fn register(&self) -> Option<(i64, oneshot::Receiver<JobOutcome>)> {
        let permit = Arc::clone(&self.open).try_acquire_owned().ok()?;
        let number = self.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, outcome) = oneshot::channel();
        let waiter = Waiter { outcome: sender, job: None, _permit: permit };
        self.waiters.waiting().insert(number, waiter);
        Some((number, outcome))
    }

    /// There may be outcomes.
    pub(super) fn look(&self) {
        self.news.notify_one();
    }

    /// A result of this node's worker is written. If the job is its own as well, nobody has to be asked for the outcome.
    pub(super) fn settled(&self, done: Done) {
        let Some(number) = done.number else { return };
        self.waiters.tell(number, done.outcome);
        let mut told = lock(&self.told);
        told.push((number, done.job));
        if told.len().is_multiple_of(ACKNOWLEDGE) {
            self.look();
        }
    }

    pub(super) fn sending(&self) -> MutexGuard<'_, HashSet<i64>> {
        lock(&self.sending)
    }

    /// The database has not answered since `since_ns`, for longer than callers wait.
    pub(super) fn is_silent_since(&self, since_ns: u64) -> bool {
        let since_ns = since_ns.max(self.answered_ns.load(Ordering::Relaxed));
        self.now.now_ns() > since_ns.saturating_add(self.grace_ns)
    }

    pub(super) fn answered(&self) {
        self.answered_ns.fetch_max(self.now.now_ns(), Ordering::Relaxed);
    }
}

impl Waiters {
    pub(super) fn waiting(&self) -> MutexGuard<'_, HashMap<i64, Waiter>> {
        lock(&self.waiting)
    }

    pub(super) fn overdue(&self) -> MutexGuard<'_, HashSet<i64>> {
        lock(&self.overdue)
    }

    pub(super) fn tell(&self, number: i64, outcome: JobOutcome) {
        if let Some(waiter) = self.waiting().remove(&number) {
            // A caller that is gone does not need to know.
            drop(waiter.outcome.send(outcome));
        }
    }
}
