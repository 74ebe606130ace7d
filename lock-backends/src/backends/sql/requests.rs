//! What can be asked of an SQL server on which names are locked, and what comes back. Each server's client answers it in
//! its own dialect.
//!
//! How long to wait for an answer is the session's business: a request whose future is dropped may have been executed, and
//! its connection is of no more use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backends::common::Panicked;
use crate::session::{BoxFuture, Grant, LockError, Mode, OwnerId, SessionOptions, Token};

/// Answer to a request on a connection.
pub(in crate::backends) type Answer<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// Answer to an attempt to connect.
pub(in crate::backends) type Connected<'a, C> = BoxFuture<'a, Result<Box<C>, LockError>>;

/// A server whose named locks belong to connections: opens those of a node.
pub(in crate::backends) trait HoldServer: Send + Sync + fmt::Debug {
    /// That a connection is a session of the server's for as long as it is open. [`LockError::Unsupported`] where something
    /// between is seen to lend sessions to several connections in turn.
    fn lends_no_session<'a>(&'a self, node: &'a SessionOptions) -> BoxFuture<'a, Result<(), LockError>>;

    /// For one holder or waiter at a time.
    fn hold<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Holding>;
}

/// A server with a table of leases: opens the connections of a node to it.
pub(in crate::backends) trait LeaseServer: Send + Sync + fmt::Debug {
    /// For one request at a time.
    fn lease<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Leases>;

    /// Hears of released keys from the answer on. `None`: the server announces nothing, and waiters poll.
    fn listen<'a>(&'a self, node: &'a SessionOptions) -> Option<Connected<'a, dyn Announcements>>;
}

/// What every connection can.
pub(in crate::backends) trait Connection: Send + fmt::Debug {
    /// Makes what the variants need in the database, if it is not there.
    fn set_up(&mut self) -> Answer<'_, ()>;

    /// Says goodbye. All that the connection holds ends with it.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// A connection that holds or awaits one lock.
pub(in crate::backends) trait Holding: Connection {
    /// The server's side of it.
    fn backend(&self) -> Backend;

    /// Waits for the lock in the server, for so long at most ([`Failure::TimedOut`]); then draws a token, where the server
    /// has tokens.
    fn lock<'a>(
        &'a mut self,
        name: &'a str,
        mode: Mode,
        within: Duration,
        description: &'a str,
    ) -> Answer<'a, Option<Token>>;

    /// Takes the lock and draws a token, if it is free; `None`: it is not.
    fn try_lock<'a>(&'a mut self, name: &'a str, mode: Mode) -> Answer<'a, Option<Option<Token>>>;

    /// Whether a refused [`Holding::try_lock`] leaves something open, so that [`Holding::roll_back`] is due.
    fn refusal_leaves_open(&self) -> bool;

    /// Ends what a refusal or a wait in vain has left open.
    fn roll_back(&mut self) -> Answer<'_, ()>;

    /// Whether the lock was held until now.
    fn unlock<'a>(&'a mut self, name: &'a str, mode: Mode) -> Answer<'a, bool>;

    /// A sign of life.
    fn ping(&mut self) -> Answer<'_, ()>;

    /// What is known of the holder of a name.
    fn holder<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<String>>;

    /// Ends another backend and with it all that it holds or waits for, and none that has its number since. True, within
    /// that time, is the proof.
    fn terminate(&mut self, backend: Backend, within: Duration) -> Answer<'_, bool>;
}

/// A connection to the table of leases: a row for each name, on the database's clock.
pub(in crate::backends) trait Leases: Connection {
    /// Takes the row if its lease is over, or renews it for the same owner. The token is drawn in the same statement.
    fn take<'a>(
        &'a mut self,
        name: &'a str,
        owner: &'a OwnerId,
        description: &'a str,
        ttl: Duration,
    ) -> Answer<'a, Option<Token>>;

    /// Marks the row as awaited, so that its release is announced. How long its lease has to run, or less where nothing is
    /// announced: then the row is tried again. `None`: it is over.
    fn mark_awaited<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<Duration>>;

    /// Ends the lease, and announces `key` if it is awaited. Whether the owner still had it.
    fn release<'a>(&'a mut self, name: &'a str, owner: &'a OwnerId, key: i64) -> Answer<'a, bool>;

    /// Lets the leases of those that are still held run anew: whether it is, for each.
    fn renew<'a>(&'a mut self, grants: &'a [Arc<Grant>], ttl: Duration) -> Answer<'a, Vec<bool>>;

    /// The description that the holder gave.
    fn holder<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<String>>;
}

/// A connection that hears of released keys.
pub(in crate::backends) trait Announcements: Connection {
    /// The next key that was announced; `None`: the connection ended. Cancel safe.
    fn next(&mut self) -> BoxFuture<'_, Option<i64>>;
}

/// The server's side of a connection: a process or a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backends) struct Backend {
    /// Its number there, which another one may have once this one ended.
    pub(in crate::backends) number: i64,
    /// What tells it from all others of that number: when it began, or from where it was asked for.
    pub(in crate::backends) mark: i64,
}

/// Why a request brought nothing.
#[derive(Debug, Clone)]
pub(in crate::backends) enum Failure {
    /// The server gave up waiting for the lock.
    TimedOut,
    /// The server said no; the connection is good.
    Refused(String),
    /// It may have been executed; the connection is of no more use.
    Unanswered(String),
}

impl<T> Panicked for Result<T, Failure> {
    fn panicked(what: String) -> Self {
        Err(Failure::Unanswered(what))
    }
}

/// An announcement: the connection ended.
impl Panicked for Option<i64> {
    fn panicked(what: String) -> Self {
        tracing::warn!(%what, "a connection that hears of released keys is replaced");
        None
    }
}

/// A goodbye.
impl Panicked for () {
    fn panicked(what: String) {
        tracing::debug!(%what, "a connection was dropped without a goodbye");
    }
}
