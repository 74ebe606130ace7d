//! A part of the table of keys, behind one short lock. No code of a caller runs under it, except its clock.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tokio_util::sync::CancellationToken;

use super::census::{QueueMetrics, QueueSnapshot};
use super::key::{KeyQueue, Next, Pending};
use super::node::NodeWide;
use super::slots::{Loss, Taken};
use super::submission::{QueueError, Submission, Token};
use crate::now::Now;
use crate::poison::lock;
use crate::sync::{Mutex, MutexGuard};

/// What stands in a queue for a task, whatever its form.
pub(super) trait Start: Sized {
    /// The wait is over: with a slot, which is the task's to free from now on, or with the reason why it does not start.
    /// Called once, on the thread that ended the wait, without the shard's lock.
    fn tell(self, shard: &Arc<Shard<Self>>, outcome: Result<Held, QueueError>);
}

/// One part of the table. Aligned so that two locks never share a cache line.
#[repr(align(128))]
pub(super) struct Shard<S> {
    state: Mutex<State<S>>,
    pub(super) node: Arc<NodeWide>,
}

struct State<S> {
    queues: HashTable<KeyQueue<S>>,
    /// Next ticket, and next identity of a queue: one counter serves both.
    counter: u64,
    closed: bool,
    /// Counters alone; what runs and waits is counted from the queues.
    metrics: QueueMetrics,
}

/// The answer to a task that was accepted.
pub(super) enum Answer {
    Started(Held),
    /// At level 0: started without a slot.
    Unlimited,
    Pending(Place),
}

/// How a started task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Done,
    Abandoned,
}

/// Where a pending task stands in its shard; small, since each handle of one has it.
pub(super) struct Place {
    hash: u64,
    identity: u64,
    ticket: NonZeroU64,
}

/// Where a started task stands in its shard: its slot, which it has until somebody frees it.
#[derive(Clone, Copy)]
#[must_use = "nobody else frees the slot"]
pub(super) struct Held {
    hash: u64,
    identity: u64,
    pub(super) slot: u32,
    pub(super) token: Token,
}

impl<S: Start> Shard<S> {
    pub(super) fn new(node: Arc<NodeWide>) -> Self {
        let (queues, metrics) = (HashTable::new(), QueueMetrics::default());
        Self { state: Mutex::new(State { queues, counter: 0, closed: false, metrics }), node }
    }

    pub(super) fn admit(
        self: &Arc<Self>,
        hash: u64,
        submission: Submission<'_>,
        start: impl FnOnce() -> S,
    ) -> Result<Answer, QueueError> {
        let Submission { key, level, deadline_ns, hold_limit_ns, generation } = submission;
        let now_ns = self.node.now.now_ns();
        let mut guard = self.lock();
        let state = &mut *guard;
        state.metrics.submitted += 1;
        if deadline_ns <= now_ns {
            state.metrics.expired += 1;
            return Err(QueueError::TimedOut);
        }
        if state.closed {
            state.metrics.refused += 1;
            return Err(QueueError::Shutdown);
        }
        if level == 0 {
            state.metrics.started += 1;
            return Ok(Answer::Unlimited);
        }
        state.counter += 1;
        let ticket = NonZeroU64::new(state.counter).expect("it was raised");
        let same_key = |queue: &KeyQueue<S>| queue.hash == hash && *queue.key == *key;
        let alarm = self.node.limits.alarm;
        let mut entry = match state.queues.entry(hash, same_key, |queue| queue.hash) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert(KeyQueue::new(key, hash, ticket.get(), alarm)),
        };
        let queue = entry.get_mut();
        // A new queue always has a free slot, so a refused task never leaves an empty one behind.
        let mut opens_slots = queue.raise_level(level);
        let reclaimed = queue.reclaim(now_ns);
        state.metrics.abandoned += reclaimed as u64;
        opens_slots |= reclaimed > 0;
        if queue.has_room() {
            queue.reset_alarm(alarm);
            state.metrics.started += 1;
            return Ok(Answer::Started(self.grant(queue, generation, now_ns, hold_limit_ns)));
        }
        let refused = self.count_pending(queue).is_err();
        let identity = queue.identity;
        let mut alarming = None;
        if refused {
            state.metrics.refused += 1;
        } else {
            queue.push(Pending {
                ticket: ticket.get(),
                deadline_ns,
                hold_limit_ns,
                generation,
                since_ns: now_ns,
                start: Some(start()),
            });
            alarming = queue.is_alarming().then(|| queue.pending_len());
            state.metrics.alarms += u64::from(alarming.is_some());
        }
        drop(guard);
        if let Some(pending) = alarming {
            tracing::warn!(key, pending, "many tasks wait for one key");
        }
        if opens_slots {
            self.advance(hash, identity);
        }
        if refused {
            Err(QueueError::QueueFull)
        } else {
            Ok(Answer::Pending(Place { hash, identity, ticket }))
        }
    }

    /// Starts whoever can start now, and ends the wait of those in front whose deadline has passed.
    fn advance(self: &Arc<Self>, hash: u64, identity: u64) {
        let mut state = self.lock();
        while let Some((start, outcome)) = self.next(&mut state, hash, identity, None) {
            drop(state);
            start.tell(self, outcome);
            state = self.lock();
        }
    }

    /// Frees a slot, if the task still has it, and hands it to the next task.
    pub(super) fn free(self: &Arc<Self>, held: &Held, ending: Ending) {
        let (hash, identity) = (held.hash, held.identity);
        let mut state = self.lock();
        let mut freed = Some((held, ending));
        while let Some((start, outcome)) = self.next(&mut state, hash, identity, freed.take()) {
            let started = outcome.is_ok();
            drop(state);
            start.tell(self, outcome);
            if started {
                return;
            }
            state = self.lock();
        }
    }

    pub(super) fn count_unlimited(&self, ending: Ending) {
        self.lock().metrics.end(ending);
    }

    /// Frees a slot, if there is one to free and its task still has it; then takes the next task out of the queue, or
    /// removes the queue if it is idle.
    fn next(
        self: &Arc<Self>,
        state: &mut State<S>,
        hash: u64,
        identity: u64,
        freed: Option<(&Held, Ending)>,
    ) -> Option<(S, Result<Held, QueueError>)> {
        let mut entry = state.queues.find_entry(hash, |queue| queue.identity == identity).ok()?;
        let queue = entry.get_mut();
        if let Some((held, ending)) = freed {
            // If it has it no more it was reclaimed, and counted then.
            queue.slots.free(held.slot, held.token.sequence)?;
            state.metrics.end(ending);
        }
        if queue.is_idle() {
            entry.remove();
            state.shrink();
            return None;
        }
        if queue.pending_len() == 0 {
            return None;
        }
        let now_ns = self.node.now.now_ns();
        let next = queue.next(now_ns)?;
        self.node.pending.fetch_sub(1, Ordering::Relaxed);
        Some(match next {
            Next::Granted { start, generation, hold_limit_ns } => {
                state.metrics.started += 1;
                (start, Ok(self.grant(queue, generation, now_ns, hold_limit_ns)))
            }
            Next::Expired(start) => {
                state.metrics.expired += 1;
                (start, Err(QueueError::TimedOut))
            }
        })
    }

    fn grant(&self, queue: &mut KeyQueue<S>, generation: u64, now_ns: u64, hold_limit_ns: u64) -> Held {
        // Drawn under the shard's lock, so it rises from grant to grant of a key; from one counter for all shards, so
        // that it does not depend on which keys a random hash puts together.
        let sequence = self.node.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        let token = Token { generation, sequence };
        let until_ns = now_ns.saturating_add(hold_limit_ns);
        let taken = Taken { since_ns: now_ns, until_ns, sequence: token.sequence, lost: Loss::Held };
        let slot = queue.take_slot(taken);
        Held { hash: queue.hash, identity: queue.identity, slot, token }
    }

    fn count_pending(&self, queue: &KeyQueue<S>) -> Result<(), QueueError> {
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

    /// Ends all holds whose limit has passed and starts who waited for them; returns how many they were.
    pub(super) fn reclaim(self: &Arc<Self>) -> usize {
        let now_ns = self.node.now.now_ns();
        let mut state = self.lock();
        let mut reclaimed = Vec::new();
        for queue in &mut state.queues {
            let count = queue.reclaim(now_ns);
            reclaimed.extend((count > 0).then_some((queue.hash, queue.identity, count)));
        }
        let count = reclaimed.iter().map(|(_, _, count)| count).sum();
        state.metrics.abandoned += count as u64;
        drop(state);
        for (hash, identity, _) in reclaimed {
            self.advance(hash, identity);
        }
        count
    }

    /// Tells the started tasks of some keys that the node does not own them any more.
    pub(super) fn lose(&self, gone: &dyn Fn(&str) -> bool) {
        let mut told: Vec<CancellationToken> = Vec::new();
        for queue in self.lock().queues.iter_mut().filter(|queue| gone(&queue.key)) {
            for taken in queue.slots.iter_mut() {
                if let Loss::Watched(token) = std::mem::replace(&mut taken.lost, Loss::Lost) {
                    told.push(token);
                }
            }
        }
        for token in told {
            token.cancel();
        }
    }

    pub(super) fn close(self: &Arc<Self>) {
        self.lock().closed = true;
        self.refuse(&|_| true, QueueError::Shutdown);
    }

    /// Ends the waits for some keys; how many they were.
    pub(super) fn refuse(self: &Arc<Self>, of_interest: &dyn Fn(&str) -> bool, error: QueueError) -> usize {
        let mut state = self.lock();
        let queues = state.queues.iter_mut().filter(|queue| of_interest(&queue.key));
        let waiting: Vec<S> = queues.flat_map(KeyQueue::drain).collect();
        state.queues.retain(|queue| !queue.is_idle());
        state.metrics.refused += waiting.len() as u64;
        drop(state);
        let refused = waiting.len();
        self.node.pending.fetch_sub(refused, Ordering::Relaxed);
        for start in waiting {
            start.tell(self, Err(error));
        }
        refused
    }

    pub(super) fn running(&self, hash: u64, key: &str) -> u32 {
        let state = self.lock();
        let queue = state.queues.find(hash, |queue| queue.hash == hash && *queue.key == *key);
        queue.map_or(0, |queue| queue.slots.taken())
    }

    pub(super) fn snapshot(&self, now_ns: u64) -> Vec<QueueSnapshot> {
        self.lock().queues.iter().map(|queue| queue.snapshot(now_ns)).collect()
    }

    /// Keys for which `of_interest` holds and of which a task holds a slot.
    pub(super) fn count_running(&self, of_interest: &dyn Fn(&str) -> bool) -> usize {
        self.lock().queues.iter().filter(|queue| queue.slots.taken() > 0 && of_interest(&queue.key)).count()
    }

    pub(super) fn metrics(&self) -> QueueMetrics {
        let state = self.lock();
        let mut metrics = state.metrics;
        for queue in &state.queues {
            metrics.keys += 1;
            metrics.running += u64::from(queue.slots.taken());
            metrics.pending += queue.pending_len() as u64;
        }
        metrics
    }

    /// Takes a pending task out of its queue; true proves that it will not start.
    pub(super) fn withdraw(&self, place: &Place) -> bool {
        let mut state = self.lock();
        let Some(mut entry) = state.find(place.hash, place.identity) else { return false };
        let withdrawn = entry.get_mut().withdraw(place.ticket.get());
        if entry.get().is_idle() {
            entry.remove();
        }
        state.metrics.withdrawn += u64::from(withdrawn.is_some());
        drop(state);
        if withdrawn.is_some() {
            self.node.pending.fetch_sub(1, Ordering::Relaxed);
        }
        // What the start closure captured is the caller's and is dropped outside the lock.
        withdrawn.is_some()
    }

    pub(super) fn now(&self) -> &dyn Now {
        &*self.node.now
    }

    /// A token that is cancelled when the node does not own the key any more while the task has its slot.
    pub(super) fn watch(&self, held: &Held) -> CancellationToken {
        let token = CancellationToken::new();
        let mut state = self.lock();
        let lost = state.find(held.hash, held.identity).and_then(|entry| {
            match &mut entry.into_mut().slots.get_mut(held.slot, held.token.sequence)?.lost {
                Loss::Watched(watched) => Some(Some(watched.clone())),
                Loss::Lost => Some(None),
                held @ Loss::Held => {
                    *held = Loss::Watched(token.clone());
                    Some(Some(token.clone()))
                }
            }
        });
        drop(state);
        match lost {
            Some(Some(watched)) => watched,
            Some(None) => {
                token.cancel();
                token
            }
            // It has ended, and has nothing to lose.
            None => token,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        lock(&self.state)
    }
}

impl QueueMetrics {
    fn end(&mut self, ending: Ending) {
        match ending {
            Ending::Done => self.completed += 1,
            Ending::Abandoned => self.abandoned += 1,
        }
    }
}

impl<S> State<S> {
    fn find(
        &mut self,
        hash: u64,
        identity: u64,
    ) -> Option<hashbrown::hash_table::OccupiedEntry<'_, KeyQueue<S>>> {
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
