//! The queue of one key as plain state: no lock, no clock, no callback.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::completion::Completion;
use super::slots::Slots;
use super::{QueueError, QueueSnapshot, RunningSnapshot};

/// How a pending task learns of its outcome.
pub(super) enum Start {
    /// Send it to the [`super::Turn`] that waits.
    Wake(oneshot::Sender<Result<Completion, QueueError>>),
    /// Call the chain task.
    Call(Box<dyn FnOnce(Result<Completion, QueueError>) + Send>),
}

/// The tasks of one key.
///
/// Invariant: it is in its shard's table exactly while it is not [idle](KeyQueue::is_idle).
pub(super) struct KeyQueue {
    pub(super) key: Arc<str>,
    pub(super) hash: u64,
    /// Tells this queue from a later one of the same key.
    pub(super) identity: u64,
    level: u32,
    slots: Slots,
    /// In order of ticket. Withdrawn tasks leave a hole, which is never at either end.
    pending: VecDeque<Pending>,
    holes: usize,
}

struct Pending {
    ticket: u64,
    deadline_ns: u64,
    generation: u64,
    since_ns: u64,
    /// `None` once withdrawn.
    start: Option<Start>,
}

/// A task that leaves the queue.
pub(super) enum Next {
    /// It has this slot.
    Granted { start: Start, slot: u32, generation: u64 },
    /// Its deadline has passed.
    Expired(Start),
}

impl KeyQueue {
    pub(super) fn new(key: &str, hash: u64, identity: u64) -> Self {
        let (slots, pending) = (Slots::default(), VecDeque::new());
        Self { key: key.into(), hash, identity, level: 0, slots, pending, holes: 0 }
    }

    /// Raises the level, which never falls while the queue lives; true if slots for waiting tasks came free.
    pub(super) fn raise_level(&mut self, level: u32) -> bool {
        let rises = level > self.level;
        self.level = self.level.max(level);
        rises
    }

    pub(super) fn is_idle(&self) -> bool {
        self.slots.taken() == 0 && self.pending.is_empty()
    }

    pub(super) fn pending_len(&self) -> usize {
        self.pending.len() - self.holes
    }

    /// Takes a slot past the queue, if that overtakes nobody.
    pub(super) fn take_slot(&mut self, now_ns: u64) -> Option<u32> {
        (self.pending.is_empty() && self.slots.taken() < self.level).then(|| self.slots.take(now_ns))
    }

    pub(super) fn free_slot(&mut self, slot: u32) {
        self.slots.free(slot);
    }

    /// Appends a task. Tickets must rise.
    pub(super) fn push(&mut self, ticket: u64, deadline_ns: u64, generation: u64, now_ns: u64, start: Start) {
        self.pending.push_back(Pending {
            ticket,
            deadline_ns,
            generation,
            since_ns: now_ns,
            start: Some(start),
        });
    }

    /// The task to start now, or to give up; `None` if all slots are taken or nobody waits.
    pub(super) fn next(&mut self, now_ns: u64) -> Option<Next> {
        let expired = self.pending.front()?.deadline_ns <= now_ns;
        if !expired && self.slots.taken() >= self.level {
            return None;
        }
        let Pending { start, generation, .. } = self.pending.pop_front()?;
        self.trim();
        let start = start.expect("no hole is at the front");
        if expired {
            return Some(Next::Expired(start));
        }
        Some(Next::Granted { start, slot: self.slots.take(now_ns), generation })
    }

    /// Takes a pending task out; `None` if it has left already.
    pub(super) fn withdraw(&mut self, ticket: u64) -> Option<Start> {
        let index = self.pending.binary_search_by_key(&ticket, |task| task.ticket).ok()?;
        let start = self.pending[index].start.take()?;
        self.holes += 1;
        self.trim();
        // Holes between two tasks that stay must not pile up; each sweep is paid for by as many withdrawals.
        if self.holes > 32 && self.holes > self.pending.len() / 2 {
            self.pending.retain(|task| task.start.is_some());
            self.holes = 0;
        }
        Some(start)
    }

    /// Empties the queue without starting anybody.
    pub(super) fn drain(&mut self) -> Vec<Start> {
        self.holes = 0;
        self.pending.drain(..).filter_map(|task| task.start).collect()
    }

    pub(super) fn snapshot(&self, now_ns: u64) -> QueueSnapshot {
        let age = |since_ns: u64| now_ns.saturating_sub(since_ns);
        QueueSnapshot {
            key: Arc::clone(&self.key),
            level: self.level,
            running: self
                .slots
                .iter()
                .map(|(slot, since)| RunningSnapshot { slot, age_ns: age(since) })
                .collect(),
            pending_ages_ns: self
                .pending
                .iter()
                .filter(|task| task.start.is_some())
                .map(|task| age(task.since_ns))
                .collect(),
        }
    }

    fn trim(&mut self) {
        while self.pending.pop_front_if(|task| task.start.is_none()).is_some() {
            self.holes -= 1;
        }
        while self.pending.pop_back_if(|task| task.start.is_none()).is_some() {
            self.holes -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue_of(tickets: std::ops::Range<u64>) -> KeyQueue {
        let mut queue = KeyQueue::new("vm-1", 0, 0);
        queue.raise_level(1);
        for ticket in tickets {
            queue.push(ticket, u64::MAX, 1, 0, Start::Call(Box::new(|_| ())));
        }
        queue
    }

    #[test]
    fn withdrawn_tasks_take_no_room() {
        let mut queue = queue_of(0..1000);
        for ticket in (1..999).rev().chain([0]) {
            assert!(queue.withdraw(ticket).is_some());
            assert!(queue.withdraw(ticket).is_none(), "a task is withdrawn once");
        }
        assert_eq!(queue.pending_len(), 1);
        assert!(queue.pending.len() <= 33, "holes are swept");
        assert!(matches!(queue.next(0), Some(Next::Granted { slot: 0, .. })));
        assert!(queue.next(0).is_none());
        queue.free_slot(0);
        assert!(queue.is_idle());
    }

    #[test]
    fn an_expired_task_is_given_up_even_while_all_slots_are_taken() {
        let mut queue = queue_of(0..0);
        assert_eq!(queue.take_slot(0), Some(0));
        queue.push(1, 50, 1, 0, Start::Call(Box::new(|_| ())));
        assert!(queue.next(49).is_none());
        assert!(matches!(queue.next(50), Some(Next::Expired(_))));
    }
}
