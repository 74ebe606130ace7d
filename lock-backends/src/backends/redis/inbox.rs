//! Who of this node stands in line, and the messages that hand locks over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::sync::{mpsc, oneshot, watch};

use super::requests::{self, Heard, Hears};
use crate::backends::common::lock;
use crate::session::{Grant, OwnerId, Token, Validity, split_slot};

/// No exchange has dated the server's clock yet.
const NO_CLOCK: i64 = i64::MIN;

/// The attempts of a node that a message may concern.
///
/// The server dates each hand-over on its own clock. `clock` translates: the stamp before a request was sent, less the
/// server's time in its answer. What it yields is never later than the true moment while both clocks run alike, and
/// each renewal dates it anew.
#[derive(Debug)]
pub(super) struct Inbox {
    by_attempt: Mutex<HashMap<String, Entry>>,
    /// Entries that are [`Entry::Held`]: releases look for theirs only if there are any.
    held: AtomicUsize,
    /// Counts connections: rises when one is lost.
    connection: watch::Sender<u64>,
    clock: AtomicI64,
    /// Where hand-overs go that meet nobody.
    orphans: mpsc::Sender<Grant>,
}

#[derive(Debug)]
enum Entry {
    /// Filled by the message.
    Waiting(oneshot::Sender<HandedOver>),
    /// Granted by an answer although it had stood in line: a message may follow, and says nothing new.
    Held,
}

/// What a message says.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandedOver {
    pub(super) slot: u32,
    pub(super) token: Token,
    /// The moment on the server's clock.
    pub(super) server_us: u64,
}

/// An attempt in the inbox; leaves on drop, unless granted while it stood in line.
#[derive(Debug)]
pub(super) struct Place<'a> {
    inbox: &'a Inbox,
    attempt: String,
    joined_ns: u64,
    queued: bool,
    message: oneshot::Receiver<HandedOver>,
    connections: watch::Receiver<u64>,
}

impl Inbox {
    pub(super) fn new(orphans: mpsc::Sender<Grant>) -> Self {
        Self {
            by_attempt: Mutex::default(),
            held: AtomicUsize::new(0),
            connection: watch::Sender::new(0),
            clock: AtomicI64::new(NO_CLOCK),
            orphans,
        }
    }

    /// From now on messages reach this attempt.
    pub(super) fn join(&self, key: &str, owner: &OwnerId, now_ns: u64) -> Place<'_> {
        let attempt = attempt(&owner.0, key);
        let (sender, message) = oneshot::channel();
        self.lock().insert(attempt.clone(), Entry::Waiting(sender));
        let connections = self.connection.subscribe();
        Place { inbox: self, attempt, joined_ns: now_ns, queued: false, message, connections }
    }

    pub(super) fn anybody_waits(&self) -> bool {
        self.lock().values().any(|entry| matches!(entry, Entry::Waiting(_)))
    }

    /// The grant is given back: what comes for it now comes too late.
    pub(super) fn forget(&self, grant: &Grant) {
        if self.held.load(Ordering::Acquire) == 0 {
            return;
        }
        let Some(key) = grant.keys.first() else { return };
        if self.lock().remove(&attempt(&grant.owner.0, split_slot(key).0)).is_some() {
            self.held.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// A request sent at `sent_ns` was executed at `server_us`.
    pub(super) fn set_clock(&self, sent_ns: u64, server_us: u64) {
        self.clock.store(sent_ns.cast_signed() - nanos(server_us), Ordering::Release);
    }

    fn deliver(&self, message: requests::HandedOver<'_>) {
        let requests::HandedOver { owner, key, token, server_us } = message;
        let (base, slot) = split_slot(key);
        let attempt = attempt(owner, base);
        let mut by_attempt = self.lock();
        match by_attempt.get_mut(&attempt) {
            Some(Entry::Held) => return,
            Some(Entry::Waiting(_)) => {
                let handed_over = HandedOver { slot: slot.unwrap_or(0), token, server_us };
                if let Some(Entry::Waiting(place)) = by_attempt.remove(&attempt)
                    && place.send(handed_over).is_ok()
                {
                    return;
                }
            }
            None => {}
        }
        drop(by_attempt);
        let (keys, owner) = (vec![key.into()], OwnerId(owner.into()));
        let grant = Grant { keys, owner, token: Some(token), validity: Validity::Lost };
        if self.orphans.try_send(grant).is_err() {
            tracing::debug!(key, "handed over to nobody; its claim ends");
        }
    }

    /// Which connection this is: commands on one are executed in their order.
    pub(super) fn connection(&self) -> u64 {
        *self.connection.borrow()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        lock(&self.by_attempt)
    }
}

impl Hears for Inbox {
    fn hear(&self, heard: Heard<'_>) {
        match heard {
            Heard::HandedOver(message) => self.deliver(message),
            // A message may have been missed: everybody asks again.
            Heard::Disconnected => self.connection.send_modify(|connection| *connection += 1),
            Heard::Released { .. } => {}
        }
    }
}

impl Place<'_> {
    /// It stands in line, or may.
    pub(super) fn queued(&mut self) {
        self.queued = true;
    }

    /// The answer to a request granted the lock.
    pub(super) fn granted(self) {
        if self.queued {
            self.inbox.lock().insert(self.attempt.clone(), Entry::Held);
            self.inbox.held.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn mark_seen(&mut self) {
        self.connections.mark_unchanged();
    }

    /// Waits for the message, or until the connection was lost after the last mark. Cancel safe.
    pub(super) async fn news(&mut self) -> Option<HandedOver> {
        tokio::select! {
            biased;
            // The sender lives in the inbox until it is used, so an error cannot be met.
            Ok(handed_over) = &mut self.message => Some(handed_over),
            Ok(()) = self.connections.changed() => None,
            else => std::future::pending().await,
        }
    }

    /// The latest stamp of this node that is certainly not after the server's time, and not before it joined.
    pub(super) fn stamp_ns(&self, server_us: u64) -> u64 {
        let clock = self.inbox.clock.load(Ordering::Acquire);
        let stamp = if clock == NO_CLOCK { 0 } else { clock + nanos(server_us) };
        u64::try_from(stamp).unwrap_or(0).max(self.joined_ns)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut by_attempt = self.inbox.lock();
        if matches!(by_attempt.get(&self.attempt), Some(Entry::Waiting(_))) {
            by_attempt.remove(&self.attempt);
        }
    }
}

/// With the owner's length in front, so that no two pairs are written alike.
fn attempt(owner: &str, key: &str) -> String {
    format!("{}:{owner};{key}", owner.len())
}

fn nanos(server_us: u64) -> i64 {
    server_us.cast_signed().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(sequence: u64, owner: &'a str, key: &'a str) -> Heard<'a> {
        let token = Token { generation: 0, sequence };
        Heard::HandedOver(requests::HandedOver { owner, key, token, server_us: 5 })
    }

    #[test]
    fn a_message_reaches_its_attempt_and_no_other() {
        let (orphans, mut unclaimed) = mpsc::channel(4);
        let inbox = Inbox::new(orphans);
        let owner = OwnerId("a;1:2".into());
        let mut mine = inbox.join("x##1", &owner, 0);
        let mut other = inbox.join("x", &owner, 0);
        inbox.hear(message(17, "a;1:2", "x##1#3"));
        assert!(other.message.try_recv().is_err());
        let handed_over = mine.message.try_recv().unwrap();
        assert_eq!((handed_over.slot, handed_over.token.sequence, handed_over.server_us), (3, 17, 5));
        // It comes once more, for whoever is there no longer: to be given back.
        drop(mine);
        inbox.hear(message(18, "a;1:2", "x##1#3"));
        let grant = unclaimed.try_recv().unwrap();
        assert_eq!((&*grant.keys[0], &grant.owner), ("x##1#3", &owner));
    }

    #[test]
    fn a_message_about_a_lock_that_is_held_already_is_no_news() {
        let (orphans, mut unclaimed) = mpsc::channel(4);
        let inbox = Inbox::new(orphans);
        let owner = OwnerId("a".into());
        let mut place = inbox.join("x", &owner, 0);
        place.queued();
        place.granted();
        inbox.hear(message(17, "a", "x"));
        assert!(unclaimed.try_recv().is_err());
        let keys = vec!["x".into()];
        inbox.forget(&Grant { keys, owner, token: None, validity: Validity::Lost });
        inbox.hear(message(17, "a", "x"));
        assert!(unclaimed.try_recv().is_ok());
    }

    #[test]
    fn a_hand_over_is_dated_no_later_than_it_was() {
        let inbox = Inbox::new(mpsc::channel(1).0);
        let place = inbox.join("x", &OwnerId("a".into()), 4_000);
        assert_eq!(place.stamp_ns(1_000), 4_000);
        // Sent at 10 µs here, executed at 1,000 µs there: 25 µs later there is at least 25 µs later here.
        inbox.set_clock(10_000, 1_000);
        assert_eq!(place.stamp_ns(1_025), 35_000);
        assert_eq!(place.stamp_ns(0), 4_000);
    }
}
