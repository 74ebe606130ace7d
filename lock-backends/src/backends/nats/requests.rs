//! What can be asked of a bucket, and what comes back. Whatever decides knows this and the clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::session::{BoxFuture, LockError, Operations, OwnerId};

/// What a request brings.
pub(super) type Reply<'a, T> = BoxFuture<'a, Result<T, Unanswered>>;

/// A connection to the bucket. A request is sent as its reply is polled. Its answer is waited for so long as `limit` says;
/// dropping a reply does not take the request back. After a connection broke, requests may overtake each other.
pub(super) trait Requests: fmt::Debug + Send + Sync {
    /// Writes under a key if the last that was written there has that revision; 0: if nothing is there, or no longer.
    fn put<'a>(&'a self, key: &'a str, entry: &'a Entry, replaces: u64, limit: Duration) -> Reply<'a, Put>;

    /// What was written last under a key, unless it ended.
    fn last<'a>(&'a self, key: &'a str, limit: Duration) -> Reply<'a, Option<Last>>;

    /// Listens for what is written under a key, from before any request that is sent later.
    fn listen<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn Listening>, Unanswered>>;

    /// Requests sent so far.
    fn sent(&self) -> &Operations;

    /// Sends what is to be sent, and closes the connection.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// No answer: what was asked may have been done, or may be done yet.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unanswered(pub(super) String);

impl Unanswered {
    /// Of a request from which no grant can come.
    pub(super) fn harmless(self) -> LockError {
        LockError::Unavailable(self.0)
    }

    /// Of a request from which one can.
    pub(super) fn in_doubt(self) -> LockError {
        LockError::Unknown(self.0)
    }
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) what: What,
    /// The attempt that wrote it.
    pub(super) owner: OwnerId,
    /// What the holder does; empty where the key is free.
    pub(super) description: Arc<str>,
}

/// Whether a key is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Held,
    /// The mark of a deleted entry. It ends after the ttl too.
    Free,
}

impl Entry {
    pub(super) fn free(owner: &OwnerId) -> Self {
        Self { what: What::Free, owner: owner.clone(), description: "".into() }
    }

    pub(super) fn held(owner: &OwnerId, description: &Arc<str>) -> Self {
        Self { what: What::Held, owner: owner.clone(), description: description.clone() }
    }

    /// The payload: the length of the owner, a space, the owner, the description.
    pub(super) fn to_payload(&self) -> String {
        format!("{} {}{}", self.owner.0.len(), self.owner.0, self.description)
    }

    /// `None`: it was not written here.
    pub(super) fn from_payload(what: What, payload: &[u8]) -> Option<Self> {
        let (length, rest) = std::str::from_utf8(payload).ok()?.split_once(' ')?;
        let (owner, description) = rest.split_at_checked(length.parse().ok()?)?;
        Some(Self { what, owner: OwnerId(owner.into()), description: description.into() })
    }
}

/// What came of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Put {
    /// Under this revision: one counter for the whole bucket, which only rises.
    Written(u64),
    /// Another revision is the last one.
    Refused,
}

/// What was written last under a key.
#[derive(Debug, Clone)]
pub(super) struct Last {
    pub(super) revision: u64,
    pub(super) entry: Entry,
}

/// Listens for what is written under one key; dropping it ends that.
pub(super) trait Listening: Send {
    /// Cancel safe. Never ready once the connection is closed.
    fn next(&mut self) -> BoxFuture<'_, Heard>;
}

/// What was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    Written {
        revision: u64,
        what: What,
    },
    /// The connection was made again: something may have been missed.
    Gap,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_read_as_it_was_written() {
        let owner = OwnerId("node 1:ü:7".into());
        for description in ["", "7 boots vm-7", "a\nb"] {
            let entry = Entry::held(&owner, &description.into());
            assert_eq!(Entry::from_payload(What::Held, entry.to_payload().as_bytes()), Some(entry));
        }
        for strange in ["", "7", "9 short", "x y", "1 ü"] {
            let read = Entry::from_payload(What::Held, strange.as_bytes());
            assert_eq!(read, None, "{strange}");
        }
    }
}
