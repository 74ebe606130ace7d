//! A part of the table of keys, behind one short lock. No code of a caller runs under it, except its clock.

use std::num::NonZeroU64;
use std::sync::Arc;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use tokio_util::sync::CancellationToken;

use super::census::{QueueMetrics, QueueSnapshot};
use super::held::{Ending, Grant, Held, Place, Site};
use super::key::{Asked, KeyQueue, Next, Pending, UNKNOWN};
use super::node::{Ages, NodeWide, Places};
use super::slots::{Loss, Taken};
use super::submission::{QueueError, Submission};
use crate::poison::lock;
use crate::sync::{Mutex, MutexGuard};

/// What stands in a queue for a task, whatever its form.
pub(super) trait Start: Sized {
    /// By what a started task reaches its shard again.
    type Link;

    /// The wait is over: with a slot, which is the task's to free from now on, or with the reason why it does not start.
    /// Called once, on the thread that ended the wait, without the shard's lock.
    fn tell(self, link: &Self::Link, outcome: Result<Held, QueueError>);
}

/// One part of the table. Aligned so that two locks never share a cache line.
#[repr(align(128))]
pub(super) struct Shard<S> {
    state: Mutex<State<S>>,
    pub(super) node: Arc<NodeWide>,
    /// Its place among the shards.
    index: u16,
}

struct State<S> {
    queues: HashTable<KeyQueue<S>>,
    /// Last ticket, identity of a queue, and sequence of a token: one counter serves all. A key is always in the same
    /// shard, so its tokens rise; and which keys share one depends on their names alone, so equal histories have equal
    /// tokens.
    counter: u64,
    places: Places,
    closed: bool,
    /// Counters alone; what runs and waits is counted from the queues.
    metrics: QueueMetrics,
}

/// The answer to a task that was accepted.
pub(super) enum Answer {
    Started(Held),
    Pending(Place),
}

/// A key's hash as the table sees it, which looks at the lowest and the highest bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<S: Start> Shard<S> {
    pub(super) fn new(node: Arc<NodeWide>, index: u16) -> Self {
        let (queues, places, metrics) = (HashTable::new(), Places::default(), QueueMetrics::default());
        Self { state: Mutex::new(State { queues, counter: 0, places, closed: false, metrics }), node, index }
    }

    pub(super) fn admit(
        &self,
        link: &S::Link,
        hash: u32,
        submission: Submission<'_>,
        start: impl FnOnce() -> S,
    ) -> Result<Answer, QueueError> {
        let Submission { key, level, deadline_ns, hold_limit_ns, generation } = submission;
        // The clock is read where somebody wants to know the time, before the lock if that is known by then.
        let timed = self.node.ages == Ages::Kept || deadline_ns != u64::MAX || hold_limit_ns != u64::MAX;
        let mut now_ns = timed.then(|| self.node.now.now_ns());
        let mut guard = self.lock();
        let state = &mut *guard;
        state.metrics.submitted += 1;
        if now_ns.is_some_and(|now_ns| deadline_ns <= now_ns) {
            state.metrics.expired += 1;
            return Err(QueueError::TimedOut);
        }
        if state.closed {
            state.metrics.refused += 1;
            return Err(QueueError::Shutdown);
        }
        let ticket = state.raise();
        if level == 0 {
            state.metrics.started += 1;
            let site = Site { generation, hash, shard: self.index };
            return Ok(Answer::Started(Held { site, grant: Grant { sequence: ticket, slot: Held::NONE } }));
        }
        let same_key = |queue: &KeyQueue<S>| queue.hash == hash && queue.key.as_bytes() == key.as_bytes();
        let alarm = self.node.limits.alarm;
        let mut entry = match state.queues.entry(spread(hash), same_key, |queue| spread(queue.hash)) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert(KeyQueue::new(key, hash, ticket.get(), alarm)),
        };
        let queue = entry.get_mut();
        // A new queue always has a free slot, so a refused task never leaves an empty one behind.
        let mut opens_slots = queue.raise_level(level);
        if queue.limited {
            let now_ns = *now_ns.get_or_insert_with(|| self.node.now.now_ns());
            let reclaimed = queue.reclaim(now_ns);
            state.metrics.abandoned += reclaimed as u64;
            opens_slots |= reclaimed > 0;
        }
        let now_ns = now_ns.unwrap_or(UNKNOWN);
        if queue.has_room() {
            queue.reset_alarm(alarm);
            state.metrics.started += 1;
            let held = self.grant(queue, ticket, generation, now_ns, hold_limit_ns);
            return Ok(Answer::Started(held));
        }
        let refused =
            queue.pending_len() >= self.node.limits.pending_per_key || !state.places.enter(&self.node);
        let identity = queue.identity;
        let mut alarming = None;
        if refused {
            state.metrics.refused += 1;
        } else {
            queue.push(Pending {
                ticket: ticket.get(),
                since_ns: if self.node.ages == Ages::Kept { now_ns } else { UNKNOWN },
                asked: Asked { deadline_ns, hold_limit_ns, generation }.boxed(),
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
            self.advance(link, hash, identity);
        }
        if refused {
            Err(QueueError::QueueFull)
        } else {
            let timed = deadline_ns != u64::MAX;
            Ok(Answer::Pending(Place { ticket, hash, shard: self.index, timed }))
        }
    }

    /// Starts whoever can start now, and ends the wait of those in front whose deadline has passed.
    fn advance(&self, link: &S::Link, hash: u32, identity: u64) {
        let mut state = self.lock();
        while let Some((start, outcome)) =
            self.next(&mut state, hash, |queue| queue.identity == identity, None)
        {
            drop(state);
            start.tell(link, outcome);
            state = self.lock();
        }
    }

    /// Frees a slot, if the task still has it, and hands it to the next task.
    pub(super) fn free(&self, link: &S::Link, held: &Held, ending: Ending) {
        let mut state = self.lock();
        let Grant { slot, sequence } = held.grant;
        if slot == Held::NONE {
            state.metrics.end(ending);
            return;
        }
        let mut identity = 0;
        let holds = |queue: &KeyQueue<S>| {
            identity = queue.identity;
            queue.slots.holds(slot, sequence.get())
        };
        let freed = Some((slot, sequence.get(), ending));
        let Some((start, outcome)) = self.next(&mut state, held.site.hash, holds, freed) else {
            return;
        };
        drop(state);
        let started = outcome.is_ok();
        start.tell(link, outcome);
        if !started {
            self.advance(link, held.site.hash, identity);
        }
    }

    /// Frees a slot, if there is one to free; then takes the next task out of the queue, or removes the queue if it is
    /// idle.
    fn next(
        &self,
        state: &mut State<S>,
        hash: u32,
        is_it: impl FnMut(&KeyQueue<S>) -> bool,
        freed: Option<(u32, u64, Ending)>,
    ) -> Option<(S, Result<Held, QueueError>)> {
        let State { queues, counter, places, metrics, .. } = state;
        // If a task has its slot no more it was reclaimed, and counted then.
        let mut entry = queues.find_entry(spread(hash), is_it).ok()?;
        let queue = entry.get_mut();
        if let Some((slot, sequence, ending)) = freed {
            queue.slots.free(slot, sequence)?;
            metrics.end(ending);
        }
        if queue.is_idle() {
            entry.remove();
            state.shrink();
            return None;
        }
        if queue.pending_len() == 0 {
            return None;
        }
        let timed = self.node.ages == Ages::Kept || queue.is_timed();
        let now_ns = if timed { self.node.now.now_ns() } else { 0 };
        let next = queue.next(now_ns)?;
        places.leave(1, &self.node);
        Some(match next {
            Next::Granted(start, Asked { generation, hold_limit_ns, .. }) => {
                metrics.started += 1;
                *counter += 1;
                let sequence = NonZeroU64::new(*counter).expect("it was raised");
                (start, Ok(self.grant(queue, sequence, generation, now_ns, hold_limit_ns)))
            }
            Next::Expired(start) => {
                metrics.expired += 1;
                (start, Err(QueueError::TimedOut))
            }
        })
    }

    fn grant(
        &self,
        queue: &mut KeyQueue<S>,
        sequence: NonZeroU64,
        generation: u64,
        now_ns: u64,
        hold_limit_ns: u64,
    ) -> Held {
        let until_ns = now_ns.saturating_add(hold_limit_ns);
        let since_ns = if self.node.ages == Ages::Kept { now_ns } else { UNKNOWN };
        let taken = Taken { since_ns, until_ns, sequence: sequence.get(), lost: Loss::Held };
        let slot = queue.take_slot(taken);
        Held {
            site: Site { generation, hash: queue.hash, shard: self.index },
            grant: Grant { sequence, slot },
        }
    }

    /// Ends all holds whose limit has passed and starts who waited for them; returns how many they were.
    pub(super) fn reclaim(&self, link: &S::Link) -> usize {
        let now_ns = self.node.now.now_ns();
        let mut state = self.lock();
        let mut reclaimed = Vec::new();
        for queue in state.queues.iter_mut().filter(|queue| queue.limited) {
            let count = queue.reclaim(now_ns);
            reclaimed.extend((count > 0).then_some((queue.hash, queue.identity, count)));
        }
        let count = reclaimed.iter().map(|(_, _, count)| count).sum();
        state.metrics.abandoned += count as u64;
        drop(state);
        for (hash, identity, _) in reclaimed {
            self.advance(link, hash, identity);
        }
        count
    }

    /// Tells the started tasks of some keys that the node does not own them any more.
    pub(super) fn lose(&self, gone: &dyn Fn(&str) -> bool) {
        let mut told: Vec<CancellationToken> = Vec::new();
        for queue in self.lock().queues.iter_mut().filter(|queue| gone(queue.key.as_str())) {
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

    pub(super) fn close(&self, link: &S::Link) {
        self.lock().closed = true;
        self.refuse(link, &|_| true, QueueError::Shutdown);
    }

    /// Ends the waits for some keys; how many they were.
    pub(super) fn refuse(
        &self,
        link: &S::Link,
        of_interest: &dyn Fn(&str) -> bool,
        error: QueueError,
    ) -> usize {
        let mut state = self.lock();
        let queues = state.queues.iter_mut().filter(|queue| of_interest(queue.key.as_str()));
        let waiting: Vec<S> = queues.flat_map(KeyQueue::drain).collect();
        state.queues.retain(|queue| !queue.is_idle());
        let refused = waiting.len();
        state.metrics.refused += refused as u64;
        state.places.leave(refused, &self.node);
        drop(state);
        for start in waiting {
            start.tell(link, Err(error));
        }
        refused
    }

    pub(super) fn running(&self, hash: u32, key: &str) -> u32 {
        let state = self.lock();
        let same_key = |queue: &KeyQueue<S>| queue.hash == hash && queue.key.as_bytes() == key.as_bytes();
        let queue = state.queues.find(spread(hash), same_key);
        queue.map_or(0, |queue| queue.slots.taken())
    }

    pub(super) fn snapshot(&self, now_ns: u64) -> Vec<QueueSnapshot> {
        self.lock().queues.iter().map(|queue| queue.snapshot(now_ns)).collect()
    }

    /// Keys for which `of_interest` holds and of which a task holds a slot.
    pub(super) fn count_running(&self, of_interest: &dyn Fn(&str) -> bool) -> usize {
        self.lock()
            .queues
            .iter()
            .filter(|queue| queue.slots.taken() > 0 && of_interest(queue.key.as_str()))
            .count()
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

    /// When a task's wait ends, if it has a deadline and still waits.
    pub(super) fn deadline_ns(&self, place: &Place) -> Option<u64> {
        if !place.timed {
            return None;
        }
        let (state, ticket) = (self.lock(), place.ticket.get());
        let queue = state.queues.find(spread(place.hash), |queue| queue.awaits(ticket))?;
        Some(queue.pending(ticket)?.asked().deadline_ns)
    }

    /// Takes a pending task out of its queue; true proves that it will not start.
    pub(super) fn withdraw(&self, place: &Place) -> bool {
        let mut guard = self.lock();
        let state = &mut *guard;
        let ticket = place.ticket.get();
        let Ok(mut entry) = state.queues.find_entry(spread(place.hash), |queue| queue.awaits(ticket)) else {
            return false;
        };
        let withdrawn = entry.get_mut().withdraw(ticket);
        if entry.get().is_idle() {
            entry.remove();
        }
        if withdrawn.is_some() {
            state.metrics.withdrawn += 1;
            state.places.leave(1, &self.node);
        }
        drop(guard);
        // What the start closure captured is the caller's and is dropped outside the lock.
        withdrawn.is_some()
    }

    pub(super) fn index(&self) -> u16 {
        self.index
    }

    /// As [`Shard::watch_slot`]; of a task of level 0, when the node stops.
    pub(super) fn watch(&self, held: &Held) -> CancellationToken {
        if held.grant.slot == Held::NONE { self.node.lost.clone() } else { self.watch_slot(held) }
    }

    /// A token that is cancelled when the node does not own the key any more while the task has its slot.
    fn watch_slot(&self, held: &Held) -> CancellationToken {
        let token = CancellationToken::new();
        let mut state = self.lock();
        let (slot, sequence) = (held.grant.slot, held.grant.sequence.get());
        let queue = state.queues.find_mut(spread(held.site.hash), |queue| queue.slots.holds(slot, sequence));
        let lost = queue.and_then(|queue| match &mut queue.slots.get_mut(slot, sequence)?.lost {
            Loss::Watched(watched) => Some(Some(watched.clone())),
            Loss::Lost => Some(None),
            held @ Loss::Held => {
                *held = Loss::Watched(token.clone());
                Some(Some(token.clone()))
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
    fn raise(&mut self) -> NonZeroU64 {
        self.counter += 1;
        NonZeroU64::new(self.counter).expect("it was raised")
    }

    /// Gives memory back after a burst of keys; each sweep is paid for by the removals before it.
    fn shrink(&mut self) {
        let (len, capacity) = (self.queues.len(), self.queues.capacity());
        if capacity > 64 && len < capacity / 8 {
            self.queues.shrink_to(len * 2, |queue| spread(queue.hash));
        }
    }
}
