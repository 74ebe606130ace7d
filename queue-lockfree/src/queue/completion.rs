//! The end of a task, and how the one that ends starts the next.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};
// Looked up rarely, and by nobody who holds another lock: not a part of what the interleavings are about.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Waker};

use async_task::Runnable;
use tokio::sync::oneshot;

use super::held::{Ending, Grant, Held, Place};
use super::node::NodeWide;
use super::ready::{self, Hands, Ready};
use super::shard;
use super::submission::{QueueError, Submission, Token};
use crate::sync::{AtomicBool, thread_local};

/// Shards of the table of keys, a power of two; two keys rarely meet at one lock.
const SHARDS: u16 = 64;

/// All that the queues of a node consist of.
pub(super) struct Table {
    id: TableId,
    shards: Box<[Shard]>,
    pub(super) node: Arc<NodeWide>,
    /// Spawned tasks that can go on.
    pub(super) ready: Ready<Job>,
}

/// A part of the table of keys, for tasks of all forms.
pub(super) type Shard = shard::Shard<Form>;

/// By what tasks and handles reach the table. Each of the queues' handles and each worker counts its references on a line
/// of its own: at one count for all, every task would have every core wait for it.
#[derive(Clone)]
pub(super) struct Link(Arc<Counted>);

/// What counts the references of one handle or worker.
struct Counted {
    table: Arc<Table>,
}

impl Link {
    pub(super) fn new(node: NodeWide) -> Self {
        let node = Arc::new(node);
        let shards = (0..SHARDS).map(|index| Shard::new(Arc::clone(&node), index)).collect();
        let id = TableId(LAST_TABLE.fetch_add(1, Ordering::Relaxed) + 1);
        let table = Arc::new(Table { id, shards, node, ready: Ready::new() });
        tables().insert(id, Arc::downgrade(&table));
        Self(Arc::new(Counted { table }))
    }

    /// To the same table, with a count of its own.
    pub(super) fn another(&self) -> Self {
        Self(Arc::new(Counted { table: Arc::clone(&self.0.table) }))
    }
}

impl Deref for Link {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0.table
    }
}

/// Names a table without a reference to it, which would be counted for each task.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TableId(u64);

static LAST_TABLE: AtomicU64 = AtomicU64::new(0);
static TABLES: Mutex<BTreeMap<TableId, Weak<Table>>> = Mutex::new(BTreeMap::new());

fn tables() -> MutexGuard<'static, BTreeMap<TableId, Weak<Table>>> {
    TABLES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TableId {
    pub(super) fn find(self) -> Option<Arc<Table>> {
        tables().get(&self).and_then(Weak::upgrade)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        tables().remove(&self.id);
    }
}

impl Table {
    pub(super) fn id(&self) -> TableId {
        self.id
    }

    /// The shard of this number, or of a hash.
    pub(super) fn shard(&self, index: u16) -> &Shard {
        &self.shards[usize::from(index % SHARDS)]
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter()
    }
}

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
    link: Link,
    held: Held,
    signalled: AtomicBool,
}

impl Completion {
    fn of(link: &Link, held: Held) -> Self {
        Self { link: link.clone(), held, signalled: AtomicBool::new(false) }
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// Slot and token, unless it is of level 0.
    pub(super) fn slot(&self) -> Option<(u32, Token)> {
        self.held.slot()
    }

    /// The task is done: frees the slot and starts the next task.
    pub fn done(&self) {
        // AcqRel: what the task did happens before what the next one does, even if they share no other lock.
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.free(Ending::Done);
        }
    }

    /// [`Completion::done`], where nobody else can signal it.
    pub(super) fn end(mut self) {
        if !std::mem::replace(self.signalled.get_mut(), true) {
            self.free(Ending::Done);
        }
    }

    fn free(&self, ending: Ending) {
        free(&self.link, &self.held, ending);
    }
}

/// Frees a task's slot and starts who is next.
pub(super) fn free(link: &Link, held: &Held, ending: Ending) {
    link.shard(held.site.shard).free(link, held, ending);
}

impl Drop for Completion {
    fn drop(&mut self) {
        if !*self.signalled.get_mut() {
            self.free(Ending::Abandoned);
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Completion");
        if let Some((slot, token)) = self.slot() {
            out.field("slot", &slot).field("token", &token);
        }
        out.field("signalled", &self.signalled).finish()
    }
}

/// How a wait ends.
pub(super) type Outcome = Result<Completion, QueueError>;

/// What stands in a queue for a task: how it learns of its outcome.
pub(super) enum Form {
    /// Send it to the [`super::Turn`] that waits.
    Wake(oneshot::Sender<Outcome>),
    /// Call the chain task.
    // In two boxes: with one the other forms would take more room.
    Call(Box<Box<dyn FnOnce(Outcome) + Send>>),
    /// Have a worker poll it.
    Poll(Spawned),
}

/// A spawned task, whatever it does.
pub(super) type Spawned = Runnable<Link>;

impl shard::Start for Form {
    type Link = Link;

    fn tell(self, link: &Link, outcome: Result<Held, QueueError>) {
        match (self, outcome) {
            (Self::Poll(task), Ok(held)) => Job::started(task, held).go_on(),
            (Self::Poll(task), Err(error)) => poll(task, Some(Err(error))),
            (other, outcome) => deliver(other, outcome.map(|held| Completion::of(link, held))),
        }
    }
}

/// A spawned task that can go on.
pub(super) struct Job {
    task: Spawned,
    /// What it was given just now, before its first poll.
    granted: Option<Grant>,
}

impl Job {
    pub(super) fn started(task: Spawned, held: Held) -> Self {
        Self { task, granted: Some(held.grant) }
    }

    /// Goes on when a worker polls it next.
    pub(super) fn go_on(self) {
        if let Err(this) = Ready::hand_over(&raw const self.task.metadata().ready, self) {
            let link = this.task.metadata().clone();
            link.ready.push(this);
        }
    }
}

/// Of a task that was woken.
impl From<Spawned> for Job {
    fn from(task: Spawned) -> Self {
        Self { task, granted: None }
    }
}

impl ready::Job for Job {
    type Tools = Link;

    fn run(self) {
        poll(self.task, self.granted.map(Ok));
    }

    fn with_hands<R>(look: impl FnOnce(&Hands<Self>) -> R) -> Option<R> {
        HANDS.try_with(look).ok()
    }
}

thread_local! {
    static HANDS: Hands<Job> = const { Hands::new() };
    /// A waker of the task that this thread has just polled.
    static KEPT: Cell<Option<Waker>> = const { Cell::new(None) };
    /// What the task that this thread begins to poll was given; it takes it at once.
    static OUTCOME: Cell<Option<Result<Grant, QueueError>>> = const { Cell::new(None) };
}

/// Polls a spawned task, the first time with its outcome.
fn poll(task: Spawned, outcome: Option<Result<Grant, QueueError>>) {
    if outcome.is_some() {
        OUTCOME.with(|own| own.set(outcome));
    }
    task.run();
    drop(KEPT.with(Cell::take));
}

/// Called by a task that suspends. If nobody else has a waker of it and its handle is gone it can never go on; the drop of
/// this one, after its poll, then has a worker drop it and free its slot, whereas the end of the poll itself would only
/// forget it.
pub(super) fn suspends(context: &Context<'_>) {
    KEPT.with(|kept| kept.set(Some(context.waker().clone())));
}

/// Lends the link of the worker on this thread to the task that it polls.
pub(super) fn with_link<R>(work: impl FnOnce(&Link) -> R) -> R {
    HANDS.with(|hands| hands.with_tools(work))
}

/// The outcome of the task that is being polled for the first time.
pub(super) fn outcome() -> Result<Grant, QueueError> {
    OUTCOME.with(Cell::take).expect("a task is polled when its outcome is known")
}

/// The answer to a task that was accepted.
pub(super) enum Answer {
    Granted(Completion),
    Pending(Place),
}

/// Takes a task into its queue, or past it if a slot is free; `form` is called only if the task has to wait.
pub(super) fn admit(
    link: &Link,
    shard: &Shard,
    hash: u32,
    submission: Submission<'_>,
    form: impl FnOnce() -> Form,
) -> Result<Answer, QueueError> {
    Ok(match shard.admit(link, hash, submission, form)? {
        shard::Answer::Started(held) => Answer::Granted(Completion::of(link, held)),
        shard::Answer::Pending(place) => Answer::Pending(place),
    })
}

type Delivery = (Form, Outcome);

thread_local! {
    /// Outcomes that came up while this thread was delivering another; `None` when it is not.
    static UNDELIVERED: RefCell<Option<VecDeque<Delivery>>> = const { RefCell::new(None) };
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
        deliver(Form::Call(Box::new(Box::new(start))), outcome);
    } else {
        delivering(|| start(outcome));
    }
}

/// Returns the job if this thread is not delivering, or is ending and has lost its list.
fn postpone(job: Delivery) -> Option<Delivery> {
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
        Form::Poll(_) => unreachable!("a worker polls it"),
    }
}

/// The thread belongs to someone who merely ended a task, so a panic of the next one stops here.
fn guarded(start: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(start)).is_err() {
        tracing::error!("a chain task panicked when it was started; its slot is freed");
    }
}
