//! What can be asked of a ZooKeeper server in one session, and what comes back. Whatever decides knows this and the clock;
//! behind it stands the client library, or a model in virtual time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backends::common::Panicked;
use crate::session::BoxFuture;

/// What a request brings.
pub(super) type Reply<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// One session. A request is on its way when its method returns, polled or not, and the server takes and answers those of a
/// session in the order of the calls; [`Requests::mkdir`] and [`Requests::lock`] alone send as they are polled. Dropping a
/// reply does not take the request back. Replies have no time limit of their own.
///
/// The session lives as long as a handle on this: when the last is dropped it is closed.
pub(super) trait Requests: fmt::Debug + Send + Sync {
    /// Creates an ephemeral node; its path is `prefix` and the next sequence number of its parent.
    /// [`Failure::NoNode`]: there is no parent.
    fn create<'a>(&'a self, prefix: &'a str, data: &'a [u8]) -> Reply<'a, Created>;

    /// Creates an ephemeral node of that very path, and brings its `czxid`. [`Failure::NodeExists`]: there is one;
    /// [`Failure::NoNode`]: there is no parent.
    fn put_if_absent<'a>(&'a self, path: &'a str, data: &'a [u8]) -> Reply<'a, i64>;

    /// Makes a node that the server removes once it has been empty for a while, and its parents; those that exist stay.
    fn mkdir<'a>(&'a self, path: &'a str) -> Reply<'a, ()>;

    /// The names of the nodes under this one.
    fn children<'a>(&'a self, path: &'a str) -> Reply<'a, Vec<String>>;

    /// The `czxid` of a node: the transaction that made it. `None`: it does not exist.
    fn exists<'a>(&'a self, path: &'a str) -> Reply<'a, Option<i64>>;

    /// A node as it is.
    fn read<'a>(&'a self, path: &'a str) -> Reply<'a, Found>;

    /// Watches a node that exists, from this request on, for the first thing that happens to it.
    fn watch<'a>(&'a self, path: &'a str) -> Reply<'a, Watch>;

    /// Deletes a node.
    fn delete<'a>(&'a self, path: &'a str) -> Reply<'a, ()>;

    /// Answered when this member has caught up with the leader.
    fn sync<'a>(&'a self, path: &'a str) -> Reply<'a, ()>;

    /// The client library's own lock: creates a node as [`Requests::create`] does, with its parents, and waits until none
    /// of its siblings is before it. Brings its path. Dropping the reply has the node deleted some time later.
    fn lock<'a>(&'a self, prefix: &'a str, data: &'a [u8]) -> Reply<'a, String>;
}

/// A session as it begins.
pub(super) struct Opened {
    pub(super) requests: Arc<dyn Requests>,
    /// The negotiated session timeout.
    pub(super) timeout: Duration,
    /// Completes when the session has ended, by the server's or the library's word, or closed. To be polled all along: it
    /// looks after the session's connections.
    pub(super) ended: BoxFuture<'static, ()>,
}

/// A node that was created.
#[derive(Debug, Clone)]
pub(super) struct Created {
    pub(super) path: String,
    /// Its number among all that were ever created under its parent.
    pub(super) sequence: i64,
    /// The transaction that made it.
    pub(super) czxid: i64,
}

/// A node that was read.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) data: Vec<u8>,
    /// The transaction that made it.
    pub(super) czxid: i64,
}

/// Completes with the first thing that happens to a node under watch. Dropping it ends the watch.
pub(super) type Watch = BoxFuture<'static, Event>;

/// What happens to a node under watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Deleted,
    /// Something else, and the watch is over.
    Changed,
    SessionEnded,
}

/// Why a request did not bring what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failure {
    #[error("no such node")]
    NoNode,
    #[error("the node is there")]
    NodeExists,
    #[error("session ended")]
    SessionEnded,
    /// It may or may not have been applied.
    #[error("{0}")]
    Unanswered(String),
    #[error("{0}")]
    Refused(String),
}

impl<T> Panicked for Result<T, Failure> {
    fn panicked(what: String) -> Self {
        Err(Failure::Unanswered(what))
    }
}
