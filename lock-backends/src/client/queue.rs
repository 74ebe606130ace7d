//! Local order: the waiters of one node for one key, first come first served, so that one of them goes to the
//! server.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

/// Whether the waiters of a node line up in memory or all go to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Fifo,
    None,
}

/// The lines of one node, one per key in use; an idle key takes no memory.
#[derive(Debug)]
pub(super) struct LocalQueues {
    order: Order,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    by_key: HashMap<Arc<str>, Line>,
    next_ticket: u64,
}

/// Invariant: `users` counts the tickets of the key, `waiters` those of them whose turn has not come; a line
/// without users is removed.
#[derive(Debug, Default)]
struct Line {
    users: usize,
    waiters: VecDeque<(u64, oneshot::Sender<()>)>,
}

/// A place in the line of one key. Dropping it leaves the line, or passes the turn on when it had come.
#[derive(Debug)]
pub(super) struct Ticket {
    queues: Arc<LocalQueues>,
    key: Arc<str>,
    number: u64,
    /// Sent to by whoever passes the turn on; `None` once it is ours.
    turn: Option<oneshot::Receiver<()>>,
}

impl LocalQueues {
    pub(super) fn new(order: Order) -> Arc<Self> {
        Arc::new(Self { order, lines: Mutex::default() })
    }

    /// Takes the next place in the line, at once; [`Ticket::turn`] waits for it.
    pub(super) fn enter(self: &Arc<Self>, key: &Arc<str>) -> Ticket {
        let mut lines = self.lock();
        let number = lines.next_ticket;
        lines.next_ticket += 1;
        let line = lines.by_key.entry(Arc::clone(key)).or_default();
        line.users += 1;
        let turn = (self.order == Order::Fifo && line.users > 1).then(|| {
            let (sender, turn) = oneshot::channel();
            line.waiters.push_back((number, sender));
            turn
        });
        Ticket { queues: Arc::clone(self), key: Arc::clone(key), number, turn }
    }

    /// As [`LocalQueues::enter`], but only if nobody of this node holds or tries the key.
    pub(super) fn enter_if_idle(self: &Arc<Self>, key: &Arc<str>) -> Option<Ticket> {
        let mut lines = self.lock();
        if lines.by_key.contains_key(key) {
            return None;
        }
        lines.by_key.insert(Arc::clone(key), Line { users: 1, waiters: VecDeque::new() });
        let number = lines.next_ticket;
        lines.next_ticket += 1;
        Some(Ticket { queues: Arc::clone(self), key: Arc::clone(key), number, turn: None })
    }

    /// Whether this node holds or tries the key.
    pub(super) fn is_busy(&self, key: &str) -> bool {
        self.lock().by_key.contains_key(key)
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("nothing panics while the lines are locked")
    }
}

impl Ticket {
    /// Whether the turn has come and was waited for, or there was nobody ahead.
    pub(super) fn has_turn(&self) -> bool {
        self.turn.is_none()
    }

    /// Waits for the turn. Cancel safe: the place is kept.
    pub(super) async fn turn(&mut self) {
        if let Some(turn) = &mut self.turn {
            // The sender lives in the line until it is used, so an error cannot be met.
            turn.await.ok();
            self.turn = None;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut lines = self.queues.lock();
        let Some(line) = lines.by_key.get_mut(&self.key) else { return };
        // Numbers rise along the line. Whoever is not in it has had the turn, even if it was not looked at
        // yet.
        match line.waiters.binary_search_by_key(&self.number, |(number, _)| *number) {
            Ok(place) => drop(line.waiters.remove(place)),
            Err(_) => {
                if let Some((_, next)) = line.waiters.pop_front() {
                    // A receiver that is gone is a ticket being dropped: it passes the turn on itself.
                    next.send(()).ok();
                }
            }
        }
        line.users -= 1;
        if line.users == 0 {
            lines.by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_turn(ticket: &mut Ticket) -> bool {
        ticket.turn.as_mut().is_none_or(|turn| turn.try_recv().is_ok())
    }

    #[test]
    fn turns_come_in_order_and_skip_who_left() {
        let queues = LocalQueues::new(Order::Fifo);
        let key: Arc<str> = "vm-1".into();
        let first = queues.enter(&key);
        let second = queues.enter(&key);
        let mut third = queues.enter(&key);
        let mut fourth = queues.enter(&key);
        drop(second);
        assert!(!has_turn(&mut third));
        drop(first);
        assert!(!has_turn(&mut fourth));
        assert!(has_turn(&mut third));
        drop(third);
        assert!(has_turn(&mut fourth));
    }

    #[test]
    fn a_turn_given_to_somebody_who_leaves_is_passed_on() {
        let queues = LocalQueues::new(Order::Fifo);
        let key: Arc<str> = "vm-1".into();
        let first = queues.enter(&key);
        let second = queues.enter(&key);
        let mut third = queues.enter(&key);
        drop(first);
        drop(second); // its turn had come, unseen
        assert!(has_turn(&mut third));
    }

    #[test]
    fn an_idle_key_takes_no_memory() {
        let queues = LocalQueues::new(Order::Fifo);
        let key: Arc<str> = "vm-1".into();
        let tickets: Vec<_> = (0..10).map(|_| queues.enter(&key)).collect();
        assert!(queues.enter_if_idle(&key).is_none());
        drop(tickets);
        assert!(!queues.is_busy(&key));
        assert!(queues.enter_if_idle(&key).is_some());
        assert!(queues.lock().by_key.is_empty());
    }

    #[test]
    fn without_order_everybody_goes_at_once() {
        let queues = LocalQueues::new(Order::None);
        let key: Arc<str> = "vm-1".into();
        let mut tickets: Vec<_> = (0..3).map(|_| queues.enter(&key)).collect();
        assert!(tickets.iter_mut().all(has_turn));
        assert!(queues.is_busy(&key));
    }
}
