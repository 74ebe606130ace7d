//! The queues in which a session's attempts wait, each followed by one watch: whoever waits hears that its turn has come, and
//! between a release and the next grant no request lies.
//!
//! **Why one watch, and kept.** Servers of series 3.4 read their revision first and begin the watch then, one revision later: what
//! they write in between makes it a watch from the past, which hears nothing until the next sweep, up to 100 ms later. Under many
//! writes that meets every watch now and then; one for each attempt met it often enough to make a hand-over ten times as long.
//!
//! ```text
//!  watch ──▶ begun       changes ≤ 7 are in the read    changes after 7
//!            read ───────────────▶ keys as of 7         ──────▶ keys as of 8, 9, …: the oldest one's is the lock
//! ```

use std::collections::{BTreeSet, HashMap};
use std::mem::{replace, take};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OnceCell, oneshot};

use super::requests::{
    Change, ChangeKind, Content, Followed, Follower, Following, KeyValue, Keys, Op, Order, Read, Requests,
    Txn,
};
use crate::backends::common::lock;
use crate::session::LockError;

/// What there is to hear of a key in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the oldest.
    Come,
    /// It is deleted.
    Gone,
}

/// The queues that a session follows.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<HashMap<Arc<str>, Entry>>);

#[derive(Debug)]
struct Entry {
    line: Arc<OnceCell<Line>>,
    /// Nobody has waited since it was last asked who does.
    idle: bool,
}

/// A queue under watch.
struct Line {
    seen: Arc<Mutex<Seen>>,
    /// Dropped with it.
    _following: Following,
}

impl Lines {
    /// Waits for the turn of the key that was created at that revision in the queue of that name, all of whose keys begin with
    /// `prefix`; `limit` is that of the read with which a watch begins. Cancel safe.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] where the watch did not begin, or ended: it has to be waited for again.
    pub(super) async fn turn(
        &self,
        requests: &dyn Requests,
        name: &Arc<str>,
        prefix: &str,
        created: i64,
        limit: Duration,
    ) -> Result<Turn, LockError> {
        let line = self.join(name);
        let turn = {
            let line = line.get_or_try_init(|| Line::follow(requests, prefix, limit)).await?;
            lock(&line.seen).turn(created)
        };
        match turn.await {
            Ok(turn) => Ok(turn),
            Err(_) => {
                self.forget(name, &line);
                Err(ended())
            }
        }
    }

    /// Whether it is certain enough that somebody is in that queue to join it without a look.
    pub(super) fn is_busy(&self, name: &str) -> bool {
        let line = self.entries().get(name).map(|entry| Arc::clone(&entry.line));
        line.as_ref().and_then(|line| line.get()).is_some_and(|line| lock(&line.seen).is_busy())
    }

    /// Follows no longer where nobody has waited since the last call.
    pub(super) fn drop_idle(&self) {
        self.entries()
            .retain(|_, entry| !replace(&mut entry.idle, true) || Arc::strong_count(&entry.line) > 1);
    }

    fn join(&self, name: &Arc<str>) -> Arc<OnceCell<Line>> {
        let mut entries = self.entries();
        let entry =
            entries.entry(Arc::clone(name)).or_insert_with(|| Entry { line: Arc::default(), idle: false });
        entry.idle = false;
        if entry.line.get().is_some_and(|line| lock(&line.seen).ended) {
            entry.line = Arc::default();
        }
        Arc::clone(&entry.line)
    }

    /// Whoever comes next begins anew.
    fn forget(&self, name: &str, line: &Arc<OnceCell<Line>>) {
        let mut entries = self.entries();
        if entries.get(name).is_some_and(|entry| Arc::ptr_eq(&entry.line, line)) {
            entries.remove(name);
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Arc<str>, Entry>> {
        lock(&self.0)
    }
}

impl Line {
    async fn follow(requests: &dyn Requests, prefix: &str, limit: Duration) -> Result<Self, LockError> {
        let seen = Arc::<Mutex<Seen>>::default();
        let (begins, begun) = oneshot::channel();
        let listener = Listener { seen: Arc::clone(&seen), begins: Some(begins) };
        let following = requests.follow(Followed::Under(prefix.to_owned()), Box::new(listener)).await;
        let following = following.ok_or_else(ended)?;
        begun.await.map_err(|_| ended())?;
        let keys = Keys::Under { prefix: prefix.to_owned(), order: Order::Oldest, limit: 0 };
        let read = Op::Read(Read { keys, content: Content::NoValue });
        let answer = requests.txn(Txn { then: vec![read], ..Txn::default() }, limit).await;
        let answer = answer.map_err(|failure| LockError::Unavailable(failure.to_string()))?;
        lock(&seen).begin(answer.keys(0)?, answer.revision);
        Ok(Self { seen, _following: following })
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("seen", &self.seen).finish_non_exhaustive()
    }
}

fn ended() -> LockError {
    LockError::Unavailable("the watch of the queue ended".to_owned())
}

/// Tells what a watch brings, until it ends.
#[derive(Debug)]
struct Listener {
    seen: Arc<Mutex<Seen>>,
    /// Taken when the server has begun.
    begins: Option<oneshot::Sender<()>>,
}

impl Follower for Listener {
    fn hear(&mut self, changes: &[Change]) {
        if let Some(begins) = self.begins.take() {
            // Whoever left does not begin.
            begins.send(()).ok();
        }
        lock(&self.seen).hear(changes);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        lock(&self.seen).end();
    }
}

/// A queue as it is seen.
///
/// Invariant: as of `revision`, `by_age` and `created` are the keys of the queue, all of them.
#[derive(Debug, Default)]
struct Seen {
    /// 0 before the read with which it begins.
    revision: i64,
    /// The create revisions, each of one key: no transaction puts two of one queue.
    by_age: BTreeSet<i64>,
    created: HashMap<String, i64>,
    /// Changes that came before that read was answered.
    early: Vec<Change>,
    /// By the create revision of their key. Those whose caller left stay until the key is deleted.
    waiters: HashMap<i64, oneshot::Sender<Turn>>,
    /// Nothing more is heard.
    ended: bool,
}

impl Seen {
    /// Takes over the keys as they were read at that revision.
    fn begin(&mut self, keys: &[KeyValue], revision: i64) {
        self.revision = revision;
        for key in keys {
            self.put(key.key.clone(), key.created);
        }
        let early = take(&mut self.early);
        self.hear(&early);
    }

    fn hear(&mut self, changes: &[Change]) {
        if self.revision == 0 {
            self.early.extend_from_slice(changes);
            return;
        }
        let read_at = self.revision;
        for change in changes.iter().filter(|change| change.revision > read_at) {
            self.revision = change.revision;
            match change.kind {
                ChangeKind::Put { created } => self.put(change.key.clone(), created),
                ChangeKind::Deleted => self.delete(&change.key),
            }
        }
        let first = self.by_age.first();
        if let Some(waiter) = first.and_then(|first| self.waiters.remove(first)) {
            // Whoever left deletes its key.
            waiter.send(Turn::Come).ok();
        }
    }

    fn put(&mut self, key: String, created: i64) {
        if let Some(before) = self.created.insert(key, created) {
            self.by_age.remove(&before);
        }
        self.by_age.insert(created);
    }

    fn delete(&mut self, key: &str) {
        let Some(created) = self.created.remove(key) else { return };
        self.by_age.remove(&created);
        if let Some(waiter) = self.waiters.remove(&created) {
            waiter.send(Turn::Gone).ok();
        }
    }

    /// Brings the turn of the key that was created then; nothing, if the end comes first.
    fn turn(&mut self, created: i64) -> oneshot::Receiver<Turn> {
        let (waiter, turn) = oneshot::channel();
        if self.by_age.first() == Some(&created) {
            waiter.send(Turn::Come).ok();
        } else if self.revision >= created && !self.by_age.contains(&created) {
            waiter.send(Turn::Gone).ok();
        } else if !self.ended {
            self.waiters.insert(created, waiter);
        }
        turn
    }

    fn is_busy(&self) -> bool {
        !self.ended && !self.by_age.is_empty()
    }

    fn end(&mut self) {
        self.ended = true;
        self.waiters.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, revision: i64) -> Change {
        Change { key: key.to_owned(), revision, kind: ChangeKind::Put { created: revision } }
    }

    fn deleted(key: &str, revision: i64) -> Change {
        Change { key: key.to_owned(), revision, kind: ChangeKind::Deleted }
    }

    fn read(keys: &[(&str, i64)]) -> Vec<KeyValue> {
        let key = |&(key, created): &(&str, i64)| KeyValue {
            key: key.to_owned(),
            value: Vec::new(),
            created,
            modified: created,
            lease: 0,
        };
        keys.iter().map(key).collect()
    }

    /// A name that is used again is another key, and what the read showed already is not taken for news.
    #[test]
    fn changes_from_before_the_read_and_names_that_come_back_are_told_apart() {
        let mut seen = Seen::default();
        seen.hear(&[deleted("a", 4)]);
        seen.hear(&[put("a", 6)]);
        seen.hear(&[deleted("b", 8)]);
        seen.begin(&read(&[("b", 5), ("a", 6), ("c", 7)]), 7);
        let mut c = seen.turn(7);
        assert!(c.try_recv().is_err());
        assert_eq!(seen.turn(6).try_recv(), Ok(Turn::Come));
        seen.hear(&[deleted("a", 9), put("a", 10)]);
        assert_eq!(c.try_recv(), Ok(Turn::Come));
        let mut a = seen.turn(10);
        seen.hear(&[deleted("c", 11)]);
        assert_eq!(a.try_recv(), Ok(Turn::Come));
        assert_eq!(seen.by_age, BTreeSet::from([10]));
    }

    /// A key whose put is not heard of yet is not gone.
    #[test]
    fn a_key_is_gone_when_it_was_seen_to_go_and_not_before_it_came() {
        let mut seen = Seen::default();
        seen.begin(&read(&[("a", 3)]), 4);
        let mut early = seen.turn(5);
        assert!(early.try_recv().is_err());
        seen.hear(&[put("b", 5)]);
        assert!(early.try_recv().is_err());
        seen.hear(&[deleted("b", 6)]);
        assert_eq!(early.try_recv(), Ok(Turn::Gone));
        assert_eq!(seen.turn(5).try_recv(), Ok(Turn::Gone));
        assert_eq!(seen.turn(3).try_recv(), Ok(Turn::Come));
    }

    /// A waiter that left passes its turn on by deleting its key.
    #[test]
    fn whoever_left_holds_nobody_up_and_all_are_told_of_the_end() {
        let mut seen = Seen::default();
        seen.begin(&read(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]), 4);
        drop(seen.turn(2));
        let (mut c, mut d) = (seen.turn(3), seen.turn(4));
        seen.hear(&[deleted("a", 5)]);
        assert!(c.try_recv().is_err());
        seen.hear(&[deleted("b", 6)]);
        assert_eq!(c.try_recv(), Ok(Turn::Come));
        seen.end();
        assert!(matches!(d.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(seen.turn(4).blocking_recv().is_err());
        assert!(!seen.is_busy());
    }
}
