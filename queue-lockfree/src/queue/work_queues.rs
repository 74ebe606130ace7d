//! The queues of one node: every form in which a task is submitted, and what is asked of all queues.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::{FixedState, RandomState};

use super::census::{QueueMetrics, QueueSnapshot};
use super::completion::{self, Answer, Completion, Form, Job, Link, Shard};
use super::entitlement::Entitlement;
use super::held::Site;
use super::node::{Ages, NodeWide};
use super::shard;
use super::submission::{QueueError, QueueLimits, Submission};
use super::task::{Task, task};
use super::turn::Turn;
use crate::now::Now;

/// The work queues of one node, one per key that has tasks; clones share them.
///
/// A queue of level N starts its tasks in the order of submission and keeps at most N started at a time. A task
/// occupies its slot until its [`Completion`] is signalled, from anywhere, or dropped; the one that signals starts the
/// next task itself, so a key needs neither a task of its own nor a thread. Four forms take a place in the queue:
///
/// * *spawned*: [`WorkQueues::spawn`], a future that the workers ([`WorkQueues::serve`]) poll when its turn has come, done
///   when it ends; the fastest, and the one that cannot lose its completion;
/// * *chain*: [`WorkQueues::submit`], a closure that is called with the completion when its turn has come;
/// * *waiting*: [`WorkQueues::enqueue`] or [`WorkQueues::acquire`], a future of the completion;
/// * *blocking*: [`WorkQueues::run`], done when the future returns.
///
/// ```text
/// key "vm-1", level 1      submit A      submit B          A.done()       B.done()
///    slot 0        ────────┤ A inside ───────────────────────┤ B inside ────┤ entry removed
///    pending                             [B]                 []
/// ```
///
/// Level 0 is unlimited: such a task starts at once, without slot, token or queue. The level is the highest seen
/// since the queue of the key was created, and a queue lives only while a task is pending or started.
///
/// Invariant: a started task's queue is in the table, under its own identity; an idle key has no entry.
///
/// ```
/// use std::sync::Arc;
/// use queue_lockfree::{QueueLimits, Submission, TokioNow, WorkQueues};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let queues = WorkQueues::new(QueueLimits::default(), Arc::new(TokioNow::start()));
/// let first = queues.acquire(Submission::new("vm-1", 1)).await.unwrap();
/// let second = queues.enqueue(Submission::new("vm-1", 1)).unwrap();
/// assert_eq!(queues.snapshot()[0].pending_ages_ns.len(), 1);
/// first.done();
/// let second = second.granted().await.unwrap();
/// assert_eq!(second.entitlement().slot, Some(0));
/// drop(second);
/// assert!(queues.snapshot().is_empty());
/// # }
/// ```
pub struct WorkQueues {
    link: Link,
    /// Unforeseeable, for the table of keys.
    hasher: RandomState,
}

/// Which shard a key is in, the same at every node and in every run.
const SHARD_OF: FixedState = FixedState::with_seed(0);

impl WorkQueues {
    /// Empty queues that count deadlines and ages on `now`.
    pub fn new(limits: QueueLimits, now: Arc<dyn Now>) -> Self {
        Self::with_ages(limits, now, Ages::Kept)
    }

    /// The same, but no age is told: each is [`u64::MAX`] in a snapshot. Ages are two looks at the clock for each task, and a
    /// task without deadline and limit then makes none.
    pub fn without_ages(limits: QueueLimits, now: Arc<dyn Now>) -> Self {
        Self::with_ages(limits, now, Ages::Unknown)
    }

    fn with_ages(limits: QueueLimits, now: Arc<dyn Now>, ages: Ages) -> Self {
        Self { link: Link::new(NodeWide::new(limits, now, ages)), hasher: RandomState::default() }
    }

    /// The chain form: calls `start` when the task's turn has come. Exactly one call is made for each accepted task:
    /// with its completion, or with the error that ended its wait.
    ///
    /// `start` runs on the thread that freed the slot, or on this one if a slot is free, one after the other and
    /// never nested; it must not block, since others wait behind it. A longer task moves the completion elsewhere and
    /// returns. A panic in `start` is caught and logged, and the dropped completion frees the slot.
    ///
    /// The deadline is looked at when the turn comes; nothing wakes up to enforce it earlier.
    ///
    /// # Errors
    ///
    /// As [`WorkQueues::enqueue`]; `start` is then dropped uncalled.
    pub fn submit<F>(&self, submission: Submission<'_>, start: F) -> Result<(), QueueError>
    where
        F: FnOnce(Result<Completion, QueueError>) + Send + 'static,
    {
        let mut start = Some(start);
        let take = |start: &mut Option<F>| start.take().expect("a task starts once");
        let (hash, shard) = self.shard(submission.key);
        let admission = completion::admit(&self.link, shard, hash, submission, || {
            Form::Call(Box::new(Box::new(take(&mut start))))
        })?;
        if let Answer::Granted(completion) = admission {
            completion::call(take(&mut start), Ok(completion));
        }
        Ok(())
    }

    /// Takes a place in the queue now, so that the order of calls is the order of starts; the returned [`Turn`] waits.
    ///
    /// # Errors
    ///
    /// [`QueueError::QueueFull`], [`QueueError::Shutdown`], or [`QueueError::TimedOut`] if the deadline has passed already.
    pub fn enqueue(&self, submission: Submission<'_>) -> Result<Turn, QueueError> {
        let mut outcome = None;
        let deadline_ns = submission.deadline_ns;
        let (hash, shard) = self.shard(submission.key);
        let admission = completion::admit(&self.link, shard, hash, submission, || {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            outcome = Some(receiver);
            Form::Wake(sender)
        })?;
        Ok(match admission {
            Answer::Granted(completion) => Turn::granted_at_once(completion),
            Answer::Pending(place) => {
                let outcome = outcome.expect("pending tasks have a receiver");
                Turn::waiting(self.link.clone(), place, deadline_ns, outcome)
            }
        })
    }

    /// Waits for a slot: [`WorkQueues::enqueue`] and [`Turn::granted`] in one.
    ///
    /// Cancel safe: a dropped future takes its place back, or passes on the slot that it was just given.
    ///
    /// # Errors
    ///
    /// As [`WorkQueues::enqueue`] and [`Turn::granted`].
    pub async fn acquire(&self, submission: Submission<'_>) -> Result<Completion, QueueError> {
        self.enqueue(submission)?.granted().await
    }

    /// The blocking form: waits for a slot, runs `work`, and is done when it returns.
    ///
    /// `work` runs inside this future: dropping it ends both, and a panic passes through after the slot is freed.
    ///
    /// # Errors
    ///
    /// As [`WorkQueues::acquire`]; `work` was then not called.
    pub async fn run<F, W, T>(&self, submission: Submission<'_>, work: F) -> Result<T, QueueError>
    where
        F: FnOnce(Entitlement) -> W,
        W: Future<Output = T>,
    {
        let completion = self.acquire(submission).await?;
        let result = work(completion.entitlement()).await;
        completion.end();
        Ok(result)
    }

    /// The spawned form: has the workers run `work` when its turn has come; it is done when the future ends, panics or
    /// is dropped, so no completion can be lost. The order of calls is the order of starts.
    ///
    /// # Errors
    ///
    /// As [`WorkQueues::enqueue`]; `work` is then dropped uncalled.
    pub fn spawn<F, W, T>(&self, submission: Submission<'_>, work: F) -> Result<Task<T>, QueueError>
    where
        F: FnOnce(Entitlement) -> W + Send + 'static,
        W: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let (hash, shard) = self.shard(submission.key);
        let site = Site { generation: submission.generation, hash, shard: shard.index() };
        let (spawned, answer) = task(self.link.clone(), site, work);
        let mut spawned = Some(spawned);
        let mut take = || spawned.take().expect("a task waits or starts");
        // Refused, it is dropped with its handle, unpolled.
        let place = match shard.admit(&self.link, hash, submission, || Form::Poll(take()))? {
            shard::Answer::Pending(place) => Some(place),
            shard::Answer::Started(held) => {
                Job::started(take(), held).go_on();
                None
            }
        };
        Ok(Task::new(answer, place))
    }

    /// A worker: polls spawned tasks, for ever. Run as many as the runtime has threads, each as a task of the caller's.
    /// Without one, spawned tasks do not run.
    ///
    /// Cancel safe: dropped, it leaves its tasks to the other workers.
    pub async fn serve(&self) {
        let link = self.link.another();
        link.ready.serve(&link).await;
    }

    /// Ends the holds of started tasks that have lasted longer than their [`Submission::hold_limit_ns`]; returns how many.
    /// A submit to the same key does so too, so this is for keys that nobody submits to: call it now and then where
    /// there are limits.
    pub fn reclaim(&self) -> usize {
        self.link.shards().map(|shard| shard.reclaim(&self.link)).sum()
    }

    /// What runs and waits now, by key. Keys are looked at shard by shard, so two of them may be seen at different moments.
    pub fn snapshot(&self) -> Vec<QueueSnapshot> {
        let now_ns = self.now().now_ns();
        let mut queues: Vec<_> = self.link.shards().flat_map(|shard| shard.snapshot(now_ns)).collect();
        queues.sort_by(|a, b| a.key.cmp(&b.key));
        queues
    }

    /// What has happened so far, and how much runs and waits now.
    pub fn metrics(&self) -> QueueMetrics {
        self.link.shards().map(|shard| shard.metrics()).fold(QueueMetrics::default(), QueueMetrics::plus)
    }

    /// Ends the wait of all that are pending for this key with [`QueueError::Purged`], and returns how many they were.
    /// Started tasks keep their slots and the queue its identity, so what is submitted next still waits for them. (In the
    /// original the purged queue lived on beside its successor: two tasks at level 1.)
    pub fn purge(&self, key: &str) -> usize {
        self.shard(key).1.refuse(&self.link, &|of| of == key, QueueError::Purged)
    }

    /// Ends every wait with [`QueueError::Shutdown`] and refuses new tasks. Started tasks keep their slots.
    pub fn close(&self) {
        for shard in self.link.shards() {
            shard.close(&self.link);
        }
    }

    /// Tells all started tasks, through [`Entitlement::lost`], that this node owns their keys no more.
    pub fn lose(&self) {
        self.link.node.lost.cancel();
        self.lose_keys(|_| true);
    }

    /// The same for the keys for which `gone` holds; it is called under a short lock and must not call back. Tasks of
    /// level 0 hold nothing and are not told.
    pub fn lose_keys(&self, gone: impl Fn(&str) -> bool) {
        for shard in self.link.shards() {
            shard.lose(&gone);
        }
    }

    /// Ends the waits for keys for which `gone` holds with [`QueueError::Moved`]; it is called as in
    /// [`WorkQueues::lose_keys`]. Started tasks keep their slots.
    pub fn refuse_keys(&self, gone: impl Fn(&str) -> bool) {
        for shard in self.link.shards() {
            let _refused = shard.refuse(&self.link, &gone, QueueError::Moved);
        }
    }

    /// How many tasks of `key` hold a slot.
    pub fn running(&self, key: &str) -> u32 {
        let (hash, shard) = self.shard(key);
        shard.running(hash, key)
    }

    /// How many keys for which `of_interest` holds have a task that holds a slot; called as in [`WorkQueues::lose_keys`].
    pub fn running_keys(&self, of_interest: impl Fn(&str) -> bool) -> usize {
        self.link.shards().map(|shard| shard.count_running(&of_interest)).sum()
    }

    pub(crate) fn now(&self) -> &Arc<dyn Now> {
        &self.link.node.now
    }

    /// A key's hash and its shard.
    fn shard(&self, key: &str) -> (u32, &Shard) {
        (self.hasher.hash_one(key) as u32, self.link.shard(SHARD_OF.hash_one(key) as u16))
    }
}

/// A clone leads to the same queues. Threads that submit much do best with one each: they count on lines of their own.
impl Clone for WorkQueues {
    fn clone(&self) -> Self {
        Self { link: self.link.another(), hasher: self.hasher.clone() }
    }
}

impl fmt::Debug for WorkQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueues").field("limits", &self.link.node.limits).finish_non_exhaustive()
    }
}
