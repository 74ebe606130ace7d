//! What can be asked of a PostgreSQL server and what comes back: all that sessions and variants know of it, beside the
//! clock.
//!
//! [`client`](super::client) asks a real server; whatever answers in the same way, such as a model in virtual time, can
//! stand in its place. How long to wait for an answer is the session's business: a request whose future is dropped may
//! have been executed, and its connection is of no more use.

use std::sync::Arc;

use crate::backends::sql::{Answer, Connected, Connection, HoldServer, Holding, LeaseServer};
use crate::session::{BoxFuture, LockError, Mode, SessionOptions, Token};

/// Form of the URL under which a server is reached.
pub(super) const URL: &str = "postgres://user[:password]@host[:port]/database[?sslmode=verify-full]";

/// A server that can be reached: opens the connections of a node, each a session of the server's. What the variants need
/// in the database is there once [`Connection::set_up`] was answered.
pub(super) trait Postgres: LeaseServer {
    /// That a connection is a session of the server's for as long as it is open, as those of [`Self::hold`] and
    /// [`Self::multiplex`] have to be: [`LockError::Unsupported`] where a pooler lends sessions.
    fn lends_no_session<'a>(&'a self, node: &'a SessionOptions) -> BoxFuture<'a, Result<(), LockError>>;

    /// For one holder or waiter at a time.
    fn hold<'a>(&'a self, node: &'a SessionOptions, scope: Scope) -> Connected<'a, dyn Holding>;

    /// For the advisory locks of a whole node.
    fn multiplex<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Multiplexed>;
}

/// The server for locks that end with that.
#[derive(Debug)]
pub(super) struct Scoped(pub(super) Arc<dyn Postgres>, pub(super) Scope);

impl HoldServer for Scoped {
    fn lends_no_session<'a>(&'a self, node: &'a SessionOptions) -> BoxFuture<'a, Result<(), LockError>> {
        self.0.lends_no_session(node)
    }

    fn hold<'a>(&'a self, node: &'a SessionOptions) -> Connected<'a, dyn Holding> {
        self.0.hold(node, self.1)
    }
}

/// A connection that holds many advisory locks and waits for none.
pub(super) trait Multiplexed: Connection {
    /// A [`MuxAction::Unlock`], [`MuxAction::Try`] or [`MuxAction::TryOrShow`] alone: half the server's work of a batch.
    /// `None`: refused, and only a batch can show the waiter.
    fn one(&mut self, op: MuxOp) -> Answer<'_, Option<MuxRet>>;

    /// One statement for all, in order: an answer each. After [`Failure::Refused`](crate::backends::sql::Failure::Refused), some may stand all the same.
    fn batch<'a>(&'a mut self, ops: &'a [MuxOp]) -> Answer<'a, Vec<MuxRet>>;

    /// Completes when the connection has ended. Cancel safe.
    fn ended(&mut self) -> BoxFuture<'_, ()>;
}

/// A lock of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advisory {
    pub(super) key: i64,
    pub(super) mode: Mode,
    pub(super) scope: Scope,
}

/// What a connection locks, and what ends with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// An advisory lock, until it is given back.
    Session,
    /// An advisory lock, and a transaction.
    Transaction,
    /// A row, and the transaction that has selected it.
    Row,
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
