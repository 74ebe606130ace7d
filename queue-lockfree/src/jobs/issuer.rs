//! The issuer's side: submissions go out in batches, and their callers wait for outcomes.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::database::{Done, RETRY, Session, Trouble};
use super::{JobError, JobNodeOptions, JobOutcome, Shared, gather};
use crate::now::{Now, reached};

/// Submissions that may wait to be sent; more callers wait in line.
const ORDERS: usize = 1024;

/// Told outcomes that are acknowledged without waiting for the next look.
const ACKNOWLEDGE: usize = 256;

/// A submission on its way.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) number: i64,
    pub(super) queue: String,
    pub(super) payload: Bytes,
    pub(super) restartable: bool,
    pub(super) deadline_ns: u64,
    /// Told when the database has it.
    pub(super) reply: oneshot::Sender<Result<(), JobError>>,
}

/// What callers and the issuer's tasks share.
#[derive(Debug)]
pub(super) struct Issuer {
    /// Written by callers, read by [`submit`].
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
    now: Arc<dyn Now>,
    grace_ns: u64,
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

    /// There may be outcomes.
    pub(super) fn look(&self) {
        self.news.notify_one();
    }

    /// A result of this node's worker is written. If the job is its own as well, nobody has to be asked for the outcome.
    pub(super) fn settled(&self, done: Done) {
        let Some(number) = done.number else { return };
        self.waiters.tell(number, done.outcome);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push((number, done.job));
        if told.len().is_multiple_of(ACKNOWLEDGE) {
            self.look();
        }
    }

    pub(super) fn sending(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database has not answered since `since_ns`, for longer than callers wait.
    fn is_silent_since(&self, since_ns: u64) -> bool {
        let since_ns = since_ns.max(self.answered_ns.load(Ordering::Relaxed));
        self.now.now_ns() > since_ns.saturating_add(self.grace_ns)
    }

    pub(super) fn answered(&self) {
        self.answered_ns.fetch_max(self.now.now_ns(), Ordering::Relaxed);
    }
}

impl Waiters {
    pub(super) fn waiting(&self) -> MutexGuard<'_, HashMap<i64, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn overdue(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.overdue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, number: i64, outcome: JobOutcome) {
        if let Some(waiter) = self.waiting().remove(&number) {
            // A caller that is gone does not need to know.
            drop(waiter.outcome.send(outcome));
        }
    }
}

/// A submitted job, for who waits for its outcome.
///
/// Dropping it leaves the job to run without anybody who is told.
#[must_use = "the ticket is how the outcome is learnt"]
pub struct Ticket {
    shared: Arc<Shared>,
    number: i64,
    deadline_ns: u64,
    outcome: oneshot::Receiver<JobOutcome>,
}

impl Ticket {
    pub(super) fn register(shared: &Arc<Shared>, deadline_ns: u64) -> Result<Self, JobError> {
        let issuer = &shared.issuer;
        let permit = Arc::clone(&issuer.open).try_acquire_owned().map_err(|_| JobError::QueueFull)?;
        let number = issuer.last_number.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, outcome) = oneshot::channel();
        let waiter = Waiter { outcome: sender, job: None, _permit: permit };
        issuer.waiters.waiting().insert(number, waiter);
        Ok(Self { shared: Arc::clone(shared), number, deadline_ns, outcome })
    }

    pub(super) fn number(&self) -> i64 {
        self.number
    }

    /// Waits for the outcome. When the deadline passes, a job that has not started is withdrawn; one that has started
    /// is waited for, as long as the database answers.
    ///
    /// Cancel safe: dropping the future is dropping the ticket.
    ///
    /// # Errors
    ///
    /// [`JobError::Unknown`] when the database has not answered until grace after the deadline, or this node was
    /// declared dead and the job had no outcome by then; [`JobError::Shutdown`].
    pub async fn outcome(mut self) -> Result<JobOutcome, JobError> {
        let shared = Arc::clone(&self.shared);
        let issuer = &shared.issuer;
        loop {
            tokio::select! {
                biased;
                outcome = &mut self.outcome => return outcome.map_err(|_| shared.ended_unknown()),
                () = reached(&*issuer.now, self.deadline_ns) => {}
            }
            issuer.waiters.overdue().insert(self.number);
            issuer.look();
            if let Ok(outcome) = timeout(shared.options.poll, &mut self.outcome).await {
                return outcome.map_err(|_| shared.ended_unknown());
            }
            if issuer.is_silent_since(self.deadline_ns) {
                return Err(JobError::Unknown("the database does not answer".to_owned()));
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.issuer.waiters.waiting().remove(&self.number);
        self.shared.issuer.waiters.overdue().remove(&self.number);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Shared {
    /// Why a job that was submitted has no outcome.
    fn ended_unknown(&self) -> JobError {
        if self.liveness.is_evicted() {
            JobError::Unknown("this node was declared dead by others".to_owned())
        } else {
            JobError::Shutdown
        }
    }
}

/// Sends submissions until the node stops.
pub(super) async fn submit(shared: Arc<Shared>, mut orders: mpsc::Receiver<Order>) {
    let mut session = shared.database.session();
    let mut batch = Vec::new();
    loop {
        match shared.stop.run_until_cancelled(gather(&mut orders, &mut batch)).await {
            Some(true) => {}
            None | Some(false) => break,
        }
        shared.issuer.sending().extend(batch.iter().map(|order| order.number));
        let sent = send(&shared, &mut session, std::mem::take(&mut batch));
        if shared.stop.run_until_cancelled(sent).await.is_none() {
            break;
        }
        shared.issuer.sending().clear();
    }
    // Whose order is still in the channel, or is dropped with it, is told that the node has ended.
    orders.close();
}

/// Sends a batch, again and again until it is answered or nobody waits any more.
async fn send(shared: &Shared, session: &mut Session, mut orders: Vec<Order>) {
    let issuer = &shared.issuer;
    let mut sent = false;
    loop {
        let now_ns = issuer.now.now_ns();
        if !sent {
            withdraw_unsent(issuer, &mut orders, now_ns);
        }
        if orders.is_empty() {
            return;
        }
        let wait_ms: Vec<_> = orders.iter().map(|order| wait_ms(order.deadline_ns, now_ns)).collect();
        let idle = shared.roster.idlers();
        let trouble = match session.submit(shared.id, shared.options.form, idle, &orders, &wait_ms).await {
            Ok(rows) => return confirm(shared, orders, &rows),
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Evicted => {
                shared.liveness.evict();
                // The row that it needs was not there, so nothing was written; unless an earlier try got through.
                let error = || if sent { shared.ended_unknown() } else { JobError::Evicted };
                return orders.into_iter().for_each(|order| drop(order.reply.send(Err(error()))));
            }
            Trouble::Refused(reason) => {
                let error = || JobError::Database(reason.clone());
                return orders.into_iter().for_each(|order| drop(order.reply.send(Err(error()))));
            }
            Trouble::Repeat(error) => tracing::debug!(%error, "submissions are repeated"),
        }
        sent = true;
        give_up(issuer, &mut orders);
        sleep(RETRY).await;
    }
}

/// Jobs whose deadline passed before they were sent end here.
fn withdraw_unsent(issuer: &Issuer, orders: &mut Vec<Order>, now_ns: u64) {
    for order in orders.extract_if(.., |order| order.deadline_ns <= now_ns) {
        issuer.waiters.tell(order.number, JobOutcome::TimedOut);
        drop(order.reply.send(Ok(())));
    }
}

/// Callers of jobs that may have been submitted wait no longer than until grace after the deadline.
fn give_up(issuer: &Issuer, orders: &mut Vec<Order>) {
    let late = |order: &mut Order| issuer.now.now_ns() > order.deadline_ns.saturating_add(issuer.grace_ns);
    for order in orders.extract_if(.., late) {
        drop(order.reply.send(Err(JobError::Unknown("the database does not answer".to_owned()))));
    }
}

fn wait_ms(deadline_ns: u64, now_ns: u64) -> Option<i64> {
    // A hundred years from now is never.
    const NEVER_MS: u64 = 100 * 366 * 86_400_000;
    let wait_ms = deadline_ns.saturating_sub(now_ns).div_ceil(1_000_000);
    if wait_ms < NEVER_MS { i64::try_from(wait_ms).ok() } else { None }
}

fn confirm(shared: &Shared, orders: Vec<Order>, rows: &[(i64, i64, Option<i64>)]) {
    shared.issuer.answered();
    for (number, job, mine) in rows {
        if let Some(waiter) = shared.issuer.waiters.waiting().get_mut(number) {
            waiter.job = Some(*job);
        }
        if let Some(queue) = mine {
            shared.roster.add(*queue);
        }
    }
    shared.roster.wake();
    for order in orders {
        drop(order.reply.send(Ok(())));
    }
}
