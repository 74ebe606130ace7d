//! What can be asked of a PostgreSQL server and what comes back: all that sessions and variants know of it, beside the
//! clock.
//!
//! [`client`](super::client) asks a real server; whatever answers in the same way, such as a model in virtual time, can
//! stand in its place. How long to wait for an answer is the session's business: a request whose future is dropped may
//! have been executed, and its connection is of no more use.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::session::{BoxFuture, Grant, LockError, Mode, OwnerId, SessionOptions, Token};

/// Form of the URL under which a server is reached.
pub(super) const URL: &str = "postgres://user[:password]@host[:port]/database";

/// Answer to a request on a connection.
pub(super) type Answer<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// Answer to an attempt to connect.
pub(super) type Connected<'a, C> = BoxFuture<'a, Result<Box<C>, LockError>>;

/// A server that can be reached: opens the connections of a node, each a session of the server's. What the variants need
/// in the database is there once [`Connection::set_up`] was answered.
pub(super) trait Postgres: Send + Sync + fmt::Debug {
    /// For one holder or waiter of an advisory lock at a time.
    fn hold<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Holding>;

    /// For the advisory locks of a whole node.
    fn multiplex<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Multiplexed>;

    /// For the table of leases.
    fn lease<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Leases>;

    /// Hears of released keys from the answer on.
    fn listen<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Announcements>;
}

/// What every connection can.
pub(super) trait Connection: Send + fmt::Debug {
    /// Makes what the variants need in the database, if it is not there.
    fn set_up(&mut self) -> Answer<'_, ()>;

    /// Says goodbye. All that the connection holds ends with it.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// A connection that holds or awaits one advisory lock.
pub(super) trait Holding: Connection {
    /// The server's process behind it.
    fn backend(&self) -> Backend;

    /// Waits for the lock in the server, for so long at most ([`Failure::TimedOut`]); then draws a token.
    fn lock<'a>(&'a mut self, lock: Advisory, within: Duration, description: &'a str) -> Answer<'a, Token>;

    /// Takes the lock and draws a token, if it is free. After `None`, [`Holding::roll_back`] is due in
    /// [`Scope::Transaction`].
    fn try_lock(&mut self, lock: Advisory) -> Answer<'_, Option<Token>>;

    /// Ends a transaction in which nothing is held.
    fn roll_back(&mut self) -> Answer<'_, ()>;

    /// Whether the lock was held until now.
    fn unlock(&mut self, lock: Advisory) -> Answer<'_, bool>;

    /// A sign of life.
    fn ping(&mut self) -> Answer<'_, ()>;

    /// What is known of the holder of a key.
    fn holder(&mut self, key: i64) -> Answer<'_, Option<String>>;

    /// Ends another backend and with it all that it holds or waits for. True, within that time, is the proof.
    fn terminate(&mut self, backend: Backend, within: Duration) -> Answer<'_, bool>;
}

/// A connection that holds many advisory locks and waits for none.
pub(super) trait Multiplexed: Connection {
    /// A [`MuxAction::Unlock`], [`MuxAction::Try`] or [`MuxAction::TryOrShow`] alone: half the server's work of a batch.
    /// `None`: refused, and only a batch can show the waiter.
    fn one(&mut self, op: MuxOp) -> Answer<'_, Option<MuxRet>>;

    /// One statement for all, in order: an answer each. After [`Failure::Refused`], some may stand all the same.
    fn batch<'a>(&'a mut self, ops: &'a [MuxOp]) -> Answer<'a, Vec<MuxRet>>;

    /// Completes when the connection has ended. Cancel safe.
    fn ended(&mut self) -> BoxFuture<'_, ()>;
}

/// A connection to the table of leases: a row for each name, on the database's clock.
pub(super) trait Leases: Connection {
    /// Takes the row if its lease is over, or renews it for the same owner. The token is drawn in the same statement.
    fn take<'a>(
        &'a mut self,
        name: &'a str,
        owner: &'a OwnerId,
        description: &'a str,
        ttl: Duration,
    ) -> Answer<'a, Option<Token>>;

    /// Marks the row as awaited, so that its release is announced. How long its lease has to run; `None`: it is over.
    fn mark_awaited<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<Duration>>;

    /// Ends the lease, and announces `key` if it is awaited. Whether the owner still had it.
    fn release<'a>(&'a mut self, name: &'a str, owner: &'a OwnerId, key: i64) -> Answer<'a, bool>;

    /// Lets the leases of those that are still held run anew: whether it is, for each.
    fn renew<'a>(&'a mut self, grants: &'a [Arc<Grant>], ttl: Duration) -> Answer<'a, Vec<bool>>;

    /// The description that the holder gave.
    fn holder<'a>(&'a mut self, name: &'a str) -> Answer<'a, Option<String>>;
}

/// A connection that hears of released keys.
pub(super) trait Announcements: Connection {
    /// The next key that was announced; `None`: the connection ended. Cancel safe.
    fn next(&mut self) -> BoxFuture<'_, Option<i64>>;
}

/// An advisory lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advisory {
    pub(super) key: i64,
    pub(super) mode: Mode,
    pub(super) scope: Scope,
}

/// What ends with an advisory lock's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Session,
    Transaction,
}

/// A process of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) pid: i32,
}

/// One operation of a node's lock connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MuxOp {
    pub(super) action: MuxAction,
    pub(super) key: i64,
}

/// What to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MuxAction {
    /// Give it back, and announce it if a waiter is shown.
    Unlock,
    Try,
    /// Try; refused, show a waiter.
    TryOrShow,
    /// Try for a waiter that is shown already; granted, show it no longer.
    TryShown,
    /// Show no waiter any more.
    Leave,
}

/// Answer to a [`MuxOp`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MuxRet {
    Granted(Token),
    Refused,
    /// Held when tried, and just being released: no waiter is shown.
    Passing,
    /// It was held, or shown, until now.
    Done(bool),
}

/// Why a request brought nothing.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// The server gave up waiting for the lock.
    TimedOut,
    /// The server said no; the connection is good.
    Refused(String),
    /// It may have been executed; the connection is of no more use.
    Unanswered(String),
}
