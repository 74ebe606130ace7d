//! What can be asked of an etcd server, and what comes back. Whatever decides knows this and the clock; behind it stands the
//! client library, or a model in virtual time.

use std::fmt;
use std::time::Duration;

use crate::session::{BoxFuture, LockError, Operations};

/// What a request brings.
pub(super) type Reply<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// A connection to the cluster, whichever of its members serves. A request is sent as its reply is polled. Its answer is
/// waited for until `limit`, from then on it is [`Failure::Unanswered`]; dropping a reply does not take the request back. Two
/// requests may overtake each other.
pub(super) trait Requests: fmt::Debug + Send + Sync {
    /// Members of the cluster that can be asked, one after the other: the next when one has not answered.
    fn members(&self) -> u32;

    /// Grants a lease of so many seconds, or the nearest that the server grants.
    fn grant_lease(&self, ttl_s: i64, limit: Duration) -> Reply<'_, Lease>;

    /// Renews a lease. Brings how long it lives on from when the request arrived.
    fn keep_alive(&self, lease: Lease, limit: Duration) -> Reply<'_, Duration>;

    /// Ends a lease, and deletes the keys on it.
    fn revoke(&self, lease: Lease, limit: Duration) -> Reply<'_, ()>;

    /// Compares and changes keys in one step.
    fn txn(&self, txn: Txn, limit: Duration) -> Reply<'_, Answer>;

    /// As [`Requests::txn`], of a transaction about the lock of that name: it may go together with some about other locks,
    /// and has the revision of all of them then.
    fn txn_about<'a>(&'a self, name: &'a str, txn: Txn, limit: Duration) -> Reply<'a, Answer>;

    /// Reads keys.
    fn read(&self, read: Read, limit: Duration) -> Reply<'_, Vec<KeyValue>>;

    /// Has `follower` told what happens to those keys from when the server hears of it; not from a revision of the past, for
    /// which servers of series 3.4 have a sweep, ten times a second. Dropping what it brings ends that. `None`: the session ended.
    fn follow(&self, what: Followed, follower: Box<dyn Follower>) -> BoxFuture<'_, Option<Following>>;

    /// The server's own lock: puts `name/lease` on the lease and is answered, however late, with a revision at which the key
    /// is the oldest under `name/`.
    fn lock(&self, name: String, lease: Lease) -> Reply<'static, i64>;

    /// Requests sent so far.
    fn sent(&self) -> &Operations;
}

/// Operations in one transaction; a server takes 128, with those of a nested one.
pub(super) const TXN_MAX: usize = 100;

/// Why a request did not bring what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    #[error("the lease is gone")]
    LeaseGone,
    /// It may or may not have been applied.
    #[error("{0}")]
    Unanswered(String),
}

/// A lease as it was granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) id: i64,
    pub(super) ttl: Duration,
}

/// Some operations if all comparisons hold, others if not.
#[derive(Debug, Clone, Default)]
pub(super) struct Txn {
    pub(super) when: Vec<Compare>,
    pub(super) then: Vec<Op>,
    pub(super) or_else: Vec<Op>,
}

/// What has to be so.
#[derive(Debug, Clone)]
pub(super) enum Compare {
    Absent {
        key: String,
    },
    /// No key begins with that.
    NoneUnder {
        prefix: String,
    },
    Exists {
        key: String,
    },
    CreatedAt {
        key: String,
        revision: i64,
    },
    ModifiedAt {
        key: String,
        revision: i64,
    },
    Holds {
        key: String,
        value: Vec<u8>,
    },
}

/// What is done in a transaction.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Put { key: String, value: Vec<u8>, lease: Lease },
    Delete { key: String },
    Read(Read),
}

/// What is to be read.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) keys: Keys,
    pub(super) content: Content,
}

/// Which keys.
#[derive(Debug, Clone)]
pub(super) enum Keys {
    One(String),
    /// So many of those that begin with that, in that order of their creation; 0: all.
    Under {
        prefix: String,
        order: Order,
        limit: u32,
    },
}

/// Which keys come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Oldest,
    Youngest,
}

/// How much of a key is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// All but the value.
    NoValue,
    All,
}

impl Read {
    /// The key with its value.
    pub(super) fn key(key: impl Into<String>) -> Self {
        Self { keys: Keys::One(key.into()), content: Content::All }
    }

    /// The key that was created first of those that begin with that.
    pub(super) fn oldest(prefix: impl Into<String>) -> Self {
        let keys = Keys::Under { prefix: prefix.into(), order: Order::Oldest, limit: 1 };
        Self { keys, content: Content::All }
    }
}

/// A key at the server.
#[derive(Debug, Clone)]
pub(super) struct KeyValue {
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    /// Revision of its creation.
    pub(super) created: i64,
    /// Revision of the last put.
    pub(super) modified: i64,
    /// Id of the lease it is on; 0: none.
    pub(super) lease: i64,
}

/// What came of a transaction.
#[derive(Debug)]
pub(super) struct Answer {
    /// Whether its comparisons held.
    pub(super) succeeded: bool,
    /// Revision of the server with it: that of all that it put.
    pub(super) revision: i64,
    /// What each operation brought.
    pub(super) parts: Vec<Part>,
}

/// What an operation brought.
#[derive(Debug)]
pub(super) enum Part {
    Written,
    Read(Vec<KeyValue>),
}

impl Answer {
    /// The keys that were read by the operation at that place.
    pub(super) fn keys(&self, place: usize) -> Result<&[KeyValue], LockError> {
        match self.parts.get(place) {
            Some(Part::Read(keys)) => Ok(keys),
            _ => Err(LockError::Protocol("unexpected answers in a transaction".to_owned())),
        }
    }

    /// The first of them.
    pub(super) fn first_key(&self, place: usize) -> Result<Option<&KeyValue>, LockError> {
        Ok(self.keys(place)?.first())
    }
}

/// Whose changes are followed.
#[derive(Debug, Clone)]
pub(super) enum Followed {
    One(String),
    /// All keys that begin with that.
    Under(String),
}

/// Who is told what happens to the keys that it follows. It is dropped when nobody can tell it any more: then they have to be
/// looked at again.
pub(super) trait Follower: fmt::Debug + Send {
    /// Called by whoever reads the answers, in the order of the revisions, with all changes of a revision at once; first
    /// without any, when the server has begun to follow. Must not block.
    fn hear(&mut self, changes: &[Change]);
}

/// A follower that is told; dropping it ends that.
pub(super) type Following = Box<dyn Send + Sync>;

/// A change of a key.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) revision: i64,
    pub(super) kind: ChangeKind,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangeKind {
    /// Put; it was created at that revision.
    Put {
        created: i64,
    },
    Deleted,
}
