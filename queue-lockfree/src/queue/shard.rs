//! A part of the table of keys, behind one short lock. No code of a caller runs under it, except its clock.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::completion::{self, Completion};
use super::key::{KeyQueue, Next, Start};
use super::{NodeWide, QueueError, QueueSnapshot, Submission, Token};

/// One part of the table. Aligned so that two locks never share a cache line.
#[repr(align(128))]
pub(super) struct Shard {
    state: Mutex<State>,
    pub(super) node: Arc<NodeWide>,
}

struct State {
    queues: HashTable<KeyQueue>,
    /// Next ticket, and next identity of a queue: one counter serves both.
    counter: u64,
    closed: bool,
}

/// The answer to a task that was accepted.
pub(super) enum Admission {
    Granted(Completion),
    Pending(Place),
}

/// Where a pending task stands.
pub(super) struct Place {
    pub(super) shard: Arc<Shard>,
    hash: u64,
    identity: u64,
    ticket: u64,
}

/// The slot of a started task.
pub(super) struct Held {
    pub(super) shard: Arc<Shard>,
    hash: u64,
    identity: u64,
    pub(super) slot: u32,
    pub(super) token: Token,
}

impl Shard {
    pub(super) fn new(node: Arc<NodeWide>) -> Self {
        Self { state: Mutex::new(State { queues: HashTable::new(), counter: 0, closed: false }), node }
    }

    pub(super) fn admit(
        self: &Arc<Self>,
        hash: u64,
        submission: Submission<'_>,
        start: impl FnOnce() -> Start,
    ) -> Result<Admission, QueueError> {
        let Submission { key, level, deadline_ns, generation } = submission;
        let now_ns = self.node.now.now_ns();
        if deadline_ns <= now_ns {
            return Err(QueueError::TimedOut);
        }
        let mut state = self.lock();
        if state.closed {
            return Err(QueueError::Shutdown);
        }
        if level == 0 {
            return Ok(Admission::Granted(Completion::unlimited(Arc::clone(&self.node))));
        }
        state.counter += 1;
        let ticket = state.counter;
        let same_key = |queue: &KeyQueue| queue.hash == hash && *queue.key == *key;
        let entry = state.queues.entry(hash, same_key, |queue| queue.hash);
        let mut entry = match entry {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert(KeyQueue::new(key, hash, ticket)),
        };
        let queue = entry.get_mut();
        // A new queue always has a free slot, so a refused task never leaves an empty one behind.
        let opens_slots = queue.raise_level(level);
        if let Some(slot) = queue.take_slot(now_ns) {
            return Ok(Admission::Granted(self.grant(queue, slot, generation)));
        }
        let refused = self.count_pending(queue).is_err();
        let identity = queue.identity;
        let place = Place { shard: Arc::clone(self), hash, identity, ticket };
        if !refused {
            queue.push(ticket, deadline_ns, generation, now_ns, start());
        }
        drop(state);
        if opens_slots {
            self.advance(hash, identity);
        }
        if refused { Err(QueueError::QueueFull) } else { Ok(Admission::Pending(place)) }
    }

    /// Starts whoever can start now, and ends the wait of those in front whose deadline has passed.
    fn advance(self: &Arc<Self>, hash: u64, identity: u64) {
        let mut state = self.lock();
        while let Some((start, outcome)) = self.next(&mut state, hash, identity) {
            drop(state);
            completion::deliver(start, outcome);
            state = self.lock();
        }
    }

    /// Frees a slot and hands it to the next task.
    pub(super) fn free(self: &Arc<Self>, held: &Held) {
        let mut state = self.lock();
        state
            .find(held.hash, held.identity)
            .expect("a started task's queue is in the table")
            .get_mut()
            .free_slot(held.slot);
        while let Some((start, outcome)) = self.next(&mut state, held.hash, held.identity) {
            let started = outcome.is_ok();
            drop(state);
            completion::deliver(start, outcome);
            if started {
                return;
            }
            state = self.lock();
        }
    }

    /// Takes the next task out of a queue; removes the queue if it is idle.
    fn next(
        self: &Arc<Self>,
        state: &mut State,
        hash: u64,
        identity: u64,
    ) -> Option<(Start, Result<Completion, QueueError>)> {
        let mut entry = state.find(hash, identity)?;
        let queue = entry.get_mut();
        if queue.is_idle() {
            entry.remove();
            state.shrink();
            return None;
        }
        if queue.pending_len() == 0 {
            return None;
        }
        let next = queue.next(self.node.now.now_ns())?;
        self.node.pending.fetch_sub(1, Ordering::Relaxed);
        Some(match next {
            Next::Granted { start, slot, generation } => (start, Ok(self.grant(queue, slot, generation))),
            Next::Expired(start) => (start, Err(QueueError::TimedOut)),
        })
    }

    fn grant(self: &Arc<Self>, queue: &KeyQueue, slot: u32, generation: u64) -> Completion {
        // Drawn under the shard's lock, so the sequence rises from grant to grant of a key.
        let sequence = self.node.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let token = Token { generation, sequence };
        let shard = Arc::clone(self);
        Completion::of(Held { shard, hash: queue.hash, identity: queue.identity, slot, token })
    }

    fn count_pending(&self, queue: &KeyQueue) -> Result<(), QueueError> {
        let limits = self.node.limits;
        if queue.pending_len() >= limits.pending_per_key {
            return Err(QueueError::QueueFull);
        }
        if self.node.pending.fetch_add(1, Ordering::Relaxed) >= limits.pending {
            self.node.pending.fetch_sub(1, Ordering::Relaxed);
            return Err(QueueError::QueueFull);
        }
        Ok(())
    }

    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting: Vec<Start> = state.queues.iter_mut().flat_map(KeyQueue::drain).collect();
        state.queues.retain(|queue| !queue.is_idle());
        drop(state);
        self.node.pending.fetch_sub(waiting.len(), Ordering::Relaxed);
        for start in waiting {
            completion::deliver(start, Err(QueueError::Shutdown));
        }
    }

    pub(super) fn snapshot(&self, now_ns: u64) -> Vec<QueueSnapshot> {
        self.lock().queues.iter().map(|queue| queue.snapshot(now_ns)).collect()
    }

    /// A poisoned lock means that our own bookkeeping panicked; its assertion is the better message.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Takes the task out of the queue; true proves that it will not start.
    pub(super) fn withdraw(&self) -> bool {
        let mut state = self.shard.lock();
        let Some(mut entry) = state.find(self.hash, self.identity) else { return false };
        let withdrawn = entry.get_mut().withdraw(self.ticket);
        if entry.get().is_idle() {
            entry.remove();
        }
        drop(state);
        if withdrawn.is_some() {
            self.shard.node.pending.fetch_sub(1, Ordering::Relaxed);
        }
        // What the start closure captured is the caller's and is dropped outside the lock.
        withdrawn.is_some()
    }
}

impl State {
    fn find(
        &mut self,
        hash: u64,
        identity: u64,
    ) -> Option<hashbrown::hash_table::OccupiedEntry<'_, KeyQueue>> {
        self.queues.find_entry(hash, |queue| queue.identity == identity).ok()
    }

    /// Gives memory back after a burst of keys; each sweep is paid for by the removals before it.
    fn shrink(&mut self) {
        let (len, capacity) = (self.queues.len(), self.queues.capacity());
        if capacity > 64 && len < capacity / 8 {
            self.queues.shrink_to(len * 2, |queue| queue.hash);
        }
    }
}
