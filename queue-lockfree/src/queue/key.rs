//! The queue of one key as plain state: no lock, no clock, no callback.

use std::collections::VecDeque;

use super::census::{QueueSnapshot, RunningSnapshot};
use super::name::Name;
use super::slots::{Slots, Taken};

/// The tasks of one key; `S` is what starts one.
///
/// Invariant: it is in its shard's table exactly while it is not [idle](KeyQueue::is_idle).
pub(super) struct KeyQueue<S> {
    pub(super) key: Name,
    pub(super) hash: u32,
    /// Tells this queue from a later one of the same key.
    pub(super) identity: u64,
    level: u32,
    pub(super) slots: Slots,
    /// A started task has a limit on its hold.
    pub(super) limited: bool,
    /// How many may wait before that is called abnormal.
    alarm: usize,
    /// In order of ticket. Withdrawn tasks leave a hole, which is never at either end.
    pending: VecDeque<Pending<S>>,
    holes: usize,
}

/// When a task came, in queues that keep no ages.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// A task that waits.
pub(super) struct Pending<S> {
    pub(super) ticket: u64,
    pub(super) since_ns: u64,
    /// `None` if it is [`Asked::NOTHING`].
    pub(super) asked: Option<Box<Asked>>,
    /// `None` once withdrawn.
    pub(super) start: Option<S>,
}

/// What some tasks ask for; the others do not carry it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) deadline_ns: u64,
    pub(super) hold_limit_ns: u64,
    pub(super) generation: u64,
}

impl Asked {
    const NOTHING: Self = Self { deadline_ns: u64::MAX, hold_limit_ns: u64::MAX, generation: 1 };

    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::NOTHING).then(|| Box::new(self))
    }
}

impl<S> Pending<S> {
    pub(super) fn asked(&self) -> Asked {
        self.asked.as_deref().copied().unwrap_or(Asked::NOTHING)
    }
}

/// A task that leaves the queue.
pub(super) enum Next<S> {
    /// A slot is free for it.
    Granted(S, Asked),
    /// Its deadline has passed.
    Expired(S),
}

impl<S> KeyQueue<S> {
    pub(super) fn new(key: &str, hash: u32, identity: u64, alarm: usize) -> Self {
        Self {
            key: key.into(),
            hash,
            identity,
            level: 0,
            slots: Slots::default(),
            limited: false,
            alarm,
            pending: VecDeque::new(),
            holes: 0,
        }
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

    /// A slot may be taken past the queue, for that overtakes nobody.
    pub(super) fn has_room(&self) -> bool {
        self.pending.is_empty() && self.slots.taken() < self.level
    }

    /// Enters a started task.
    pub(super) fn take_slot(&mut self, taken: Taken) -> u32 {
        self.limited |= taken.until_ns != u64::MAX;
        self.slots.take(taken)
    }

    /// Ends the holds whose limit has passed; returns how many.
    pub(super) fn reclaim(&mut self, now_ns: u64) -> usize {
        let overdue: Vec<(u32, u64)> = self
            .slots
            .iter()
            .filter(|(_, taken)| taken.until_ns <= now_ns)
            .map(|(slot, taken)| (slot, taken.sequence))
            .collect();
        for &(slot, sequence) in &overdue {
            drop(self.slots.free(slot, sequence));
        }
        overdue.len()
    }

    /// Appends a task. Tickets must rise.
    pub(super) fn push(&mut self, task: Pending<S>) {
        self.pending.push_back(task);
    }

    /// True if more wait than is normal; the next alarm is at five times as many.
    pub(super) fn is_alarming(&mut self) -> bool {
        let alarming = self.pending_len() > self.alarm;
        if alarming {
            self.alarm = self.alarm.saturating_mul(5);
        }
        alarming
    }

    /// A task found a free slot: the queue is normal again.
    pub(super) fn reset_alarm(&mut self, alarm: usize) {
        self.alarm = alarm;
    }

    /// Whether the time matters to who is next.
    pub(super) fn is_timed(&self) -> bool {
        self.pending.front().is_some_and(|task| task.asked.is_some())
    }

    /// The task of this ticket waits.
    pub(super) fn awaits(&self, ticket: u64) -> bool {
        self.pending(ticket).is_some()
    }

    pub(super) fn pending(&self, ticket: u64) -> Option<&Pending<S>> {
        let index = self.pending.binary_search_by_key(&ticket, |task| task.ticket).ok()?;
        Some(&self.pending[index])
    }

    /// The task to start now, or to give up; `None` if all slots are taken or nobody waits.
    pub(super) fn next(&mut self, now_ns: u64) -> Option<Next<S>> {
        let expired = self.pending.front()?.asked().deadline_ns <= now_ns;
        if !expired && self.slots.taken() >= self.level {
            return None;
        }
        let task = self.pending.pop_front()?;
        self.trim();
        let asked = task.asked();
        let start = task.start.expect("no hole is at the front");
        Some(if expired { Next::Expired(start) } else { Next::Granted(start, asked) })
    }

    /// Takes a pending task out; `None` if it has left already.
    pub(super) fn withdraw(&mut self, ticket: u64) -> Option<S> {
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
    pub(super) fn drain(&mut self) -> Vec<S> {
        self.holes = 0;
        self.pending.drain(..).filter_map(|task| task.start).collect()
    }

    pub(super) fn snapshot(&self, now_ns: u64) -> QueueSnapshot {
        let age = |since_ns| if since_ns == UNKNOWN { UNKNOWN } else { now_ns.saturating_sub(since_ns) };
        QueueSnapshot {
            key: self.key.as_str().into(),
            level: self.level,
            running: self
                .slots
                .iter()
                .map(|(slot, taken)| RunningSnapshot { slot, age_ns: age(taken.since_ns) })
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
        if self.holes == 0 {
            return;
        }
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
    use super::super::slots::Loss;
    use super::*;

    fn queue_of(tickets: std::ops::Range<u64>) -> KeyQueue<()> {
        let mut queue = KeyQueue::new("vm-1", 0, 0, 50);
        queue.raise_level(1);
        for ticket in tickets {
            queue.push(task(ticket, u64::MAX));
        }
        queue
    }

    fn task(ticket: u64, deadline_ns: u64) -> Pending<()> {
        let asked = Asked { deadline_ns, ..Asked::NOTHING }.boxed();
        Pending { ticket, since_ns: 0, asked, start: Some(()) }
    }

    fn taken(until_ns: u64) -> Taken {
        Taken { since_ns: 0, until_ns, sequence: 1, lost: Loss::Held }
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
        assert!(matches!(queue.next(0), Some(Next::Granted(..))));
        assert!(queue.next(0).is_none());
        assert!(queue.is_idle());
    }

    #[test]
    fn an_expired_task_is_given_up_even_while_all_slots_are_taken() {
        let mut queue = queue_of(0..0);
        assert!(queue.has_room());
        assert_eq!(queue.take_slot(taken(u64::MAX)), 0);
        queue.push(task(1, 50));
        assert!(queue.next(49).is_none());
        assert!(matches!(queue.next(50), Some(Next::Expired(_))));
    }

    #[test]
    fn a_hold_ends_at_its_limit_and_not_before() {
        let mut queue = queue_of(0..0);
        queue.raise_level(2);
        assert_eq!((queue.take_slot(taken(u64::MAX)), queue.take_slot(taken(50))), (0, 1));
        assert_eq!((queue.reclaim(49), queue.slots.taken()), (0, 2));
        assert_eq!((queue.reclaim(50), queue.slots.taken()), (1, 1));
        assert_eq!(queue.take_slot(taken(60)), 1, "the slot is free again");
    }

    #[test]
    fn the_alarm_goes_off_at_five_times_the_depth_each_time() {
        let mut queue = queue_of(0..0);
        let alarms: Vec<usize> = (1..=1300_u64)
            .filter(|&depth| {
                queue.push(task(depth, u64::MAX));
                queue.is_alarming()
            })
            .map(|depth| depth as usize)
            .collect();
        assert_eq!(alarms, [51, 251, 1251]);
        queue.reset_alarm(50);
        assert!(queue.is_alarming());
    }
}
