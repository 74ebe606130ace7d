//! What a task asks of the queues, what bounds them, and why a task is not started.

/// What a task asks of the queues.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// The queue.
    pub key: &'a str,
    /// How many tasks of the key may be started at a time; 0 = unlimited.
    pub level: u32,
    /// When the wait ends, in ns on the queues' clock; `u64::MAX` = never. A started task is not bound by it.
    pub deadline_ns: u64,
    /// How long the task may hold its slot, in ns; `u64::MAX` = as long as it likes, the default. Beyond it the task counts as
    /// abandoned and the next one starts, even if it is in fact still at work: that is what makes a key survive a
    /// completion that was leaked, at the price of every lease.
    pub hold_limit_ns: u64,
    /// Epoch at which this node got the key; goes into the [`Token`].
    pub generation: u64,
}

impl<'a> Submission<'a> {
    /// A task without deadline, of generation 1.
    pub fn new(key: &'a str, level: u32) -> Self {
        Self { key, level, deadline_ns: u64::MAX, hold_limit_ns: u64::MAX, generation: 1 }
    }

    /// The same with a deadline, in ns on the queues' clock: [`Now::deadline_in`](crate::Now::deadline_in) makes one.
    pub fn until(self, deadline_ns: u64) -> Self {
        Self { deadline_ns, ..self }
    }

    /// The same with a limit on the hold.
    pub fn for_at_most(self, hold_limit_ns: u64) -> Self {
        Self { hold_limit_ns, ..self }
    }
}

/// A fencing token, compared by generation and then by sequence: a later grant of a key has a higher one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Epoch at which the granting owner got the key.
    pub generation: u64,
    /// From a counter of the granting node; rises strictly from grant to grant of a key. Two keys may have the same.
    pub sequence: u64,
}

/// Bounds on tasks that wait. Started tasks are bound by their levels alone.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Tasks pending for one key.
    pub pending_per_key: usize,
    /// Tasks pending at this node.
    pub pending: usize,
    /// Not a bound: when more than this many are pending for one key, that is logged and counted, again at five times
    /// as many and so on, until a task finds a free slot.
    pub alarm: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { pending_per_key: 100_000, pending: 1_000_000, alarm: 50 }
    }
}

/// Why a task was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueError {
    /// A bound of [`QueueLimits`] is reached; it was not queued.
    #[error("the queue is full: submit later, or raise the bounds in QueueLimits")]
    QueueFull,
    /// The deadline passed; it has left the queue and will not start.
    #[error("the deadline passed before a slot was free")]
    TimedOut,
    /// It was purged; it has left the queue and will not start.
    #[error("the queue was purged; submit again what is still wanted")]
    Purged,
    /// The queues were closed; it will not start.
    #[error("the queues are closed; submit to another node")]
    Shutdown,
    /// This node does not own the key any more; it will not start here.
    #[error("the key has moved to another node; submit it there")]
    Moved,
}
