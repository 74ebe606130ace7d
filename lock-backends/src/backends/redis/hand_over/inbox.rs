//! Who of this node stands in line, and the messages that hand locks over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use redis::aio::SendError;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::super::scripts::{head, key_of};
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
        let attempt = attempt(owner, key);
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
        if self.lock().remove(&attempt(&grant.owner, split_slot(key).0)).is_some() {
            self.held.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// A request sent at `sent_ns` was executed at `server_us`.
    pub(super) fn set_clock(&self, sent_ns: u64, server_us: u64) {
        self.clock.store(sent_ns.cast_signed() - nanos(server_us), Ordering::Release);
    }

    /// Takes what the connection pushes. Must not block it.
    pub(super) fn push(&self, push: &PushInfo) -> Result<(), SendError> {
        match (&push.kind, push.data.last()) {
            (PushKind::Message, Some(Value::BulkString(payload))) => {
                match std::str::from_utf8(payload).ok().and_then(parse) {
                    Some((attempt, lock, handed_over)) => self.deliver(attempt, lock, handed_over),
                    None => tracing::warn!("not a hand-over of ours"),
                }
            }
            // A message may have been missed: everybody asks again.
            (PushKind::Disconnection, _) => self.connection.send_modify(|connection| *connection += 1),
            _ => {}
        }
        Ok(())
    }

    fn deliver(&self, attempt: String, lock: &str, handed_over: HandedOver) {
        let mut by_attempt = self.lock();
        match by_attempt.get_mut(&attempt) {
            Some(Entry::Held) => return,
            Some(Entry::Waiting(_)) => {
                if let Some(Entry::Waiting(place)) = by_attempt.remove(&attempt)
                    && place.send(handed_over).is_ok()
                {
                    return;
                }
            }
            None => {}
        }
        drop(by_attempt);
        let owner = attempt.split_once(':').and_then(|(length, rest)| rest.get(..length.parse().ok()?));
        let (Some(owner), Some(key)) = (owner, key_of(lock)) else { return };
        let grant = Grant {
            keys: vec![key.into()],
            owner: OwnerId(owner.into()),
            token: Some(handed_over.token),
            validity: Validity::Lost,
        };
        if self.orphans.try_send(grant).is_err() {
            tracing::debug!(lock, "handed over to nobody; its claim ends");
        }
    }

    /// Which connection this is: commands on one are executed in their order.
    pub(super) fn connection(&self) -> u64 {
        *self.connection.borrow()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.by_attempt.lock().expect("nothing panics while the inbox is locked")
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

fn attempt(owner: &OwnerId, key: &str) -> String {
    let mut attempt = head(owner);
    attempt.push_str(key);
    attempt
}

/// `token:µs:length:owner;lock` as the attempt, the lock's name and the rest.
fn parse(payload: &str) -> Option<(String, &str, HandedOver)> {
    let (token, rest) = payload.split_once(':')?;
    let (server_us, whole) = rest.split_once(':')?;
    let (length, rest) = whole.split_once(':')?;
    let lock = rest.get(length.parse::<usize>().ok()?..)?.strip_prefix(';')?;
    let (key, slot) = split_slot(key_of(lock)?);
    let attempt = format!("{}{key}", whole.strip_suffix(lock)?);
    let token = Token { generation: 0, sequence: token.parse().ok()? };
    let handed_over = HandedOver { slot: slot.unwrap_or(0), token, server_us: server_us.parse().ok()? };
    Some((attempt, lock, handed_over))
}

fn nanos(server_us: u64) -> i64 {
    server_us.cast_signed().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &str) -> PushInfo {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        PushInfo { kind: PushKind::Message, data: vec![text("lockbench:node:1"), text(payload)] }
    }

    #[test]
    fn a_message_reaches_its_attempt_and_no_other() {
        let (orphans, mut unclaimed) = mpsc::channel(4);
        let inbox = Inbox::new(orphans);
        let owner = OwnerId("a;1:2".into());
        let mut mine = inbox.join("x##1", &owner, 0);
        let mut other = inbox.join("x", &owner, 0);
        inbox.push(&message("17:5:5:a;1:2;lockbench:lock:x##1#3")).unwrap();
        assert!(other.message.try_recv().is_err());
        let handed_over = mine.message.try_recv().unwrap();
        assert_eq!((handed_over.slot, handed_over.token.sequence, handed_over.server_us), (3, 17, 5));
        // It comes once more, for whoever is there no longer: to be given back.
        drop(mine);
        inbox.push(&message("18:6:5:a;1:2;lockbench:lock:x##1#3")).unwrap();
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
        inbox.push(&message("17:5:1:a;lockbench:lock:x")).unwrap();
        assert!(unclaimed.try_recv().is_err());
        let keys = vec!["x".into()];
        inbox.forget(&Grant { keys, owner, token: None, validity: Validity::Lost });
        inbox.push(&message("17:5:1:a;lockbench:lock:x")).unwrap();
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
