//! The two traits that a variant implements.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::clock::{Now, SinceStart};
use super::error::LockError;
use super::grant::{Grant, ReleaseRet, Renewal};
use super::operations::Operations;
use super::request::Request;

/// A boxed future: the traits here are object-safe, and one allocation is noise beside a round trip.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A variant of a distributed lock: how to reach its server and open a node's session there.
pub trait LockBackend: Send + Sync + fmt::Debug {
    /// Opens the one session of a node. A session is never shared between nodes.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] when the server cannot be reached, [`LockError::Protocol`] when it
    /// answers nonsense.
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>>;
}

/// What a node asks for when it opens its session.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Name of the node, unique in the run; shows up in owner ids.
    pub node: String,
    /// Asked time to live of the lease; the server may negotiate another, see [`LockSession::ttl`].
    pub ttl: Duration,
    /// The node's clock.
    pub now: Arc<dyn Now>,
}

impl SessionOptions {
    /// With a clock of its own, that starts now.
    #[must_use]
    pub fn new(node: &str, ttl: Duration) -> Self {
        Self { node: node.to_owned(), ttl, now: Arc::new(SinceStart::default()) }
    }
}

/// One node's session with the lock server.
///
/// To implement it, write the protocol and nothing else. The shared layer promises: with `local_fifo`
/// Required or switched on, at most one `acquire`/`try_acquire` per key is under way per session and never
/// for a key that the session holds (at a level above 1, served natively, a held slot does not count, nor
/// does a shared hold); futures are driven to their end (never dropped half-way) unless the session is being closed; `renew` is
/// called every `ttl / 3` (without a ttl: of the asked ttl), also with no grants, so that a session lease
/// stays alive, sooner after a failure, never twice at once; a renewal that hangs is dropped only after a
/// whole `ttl`, so bound your own calls well below `ttl / 3`. After [`LockError::Unknown`] from an acquire,
/// `release` is called with a grant of that owner without a token until it answers: withdraw by owner, from
/// every key that the grant names (all slots, where the level is above 1).
pub trait LockSession: Send + Sync + fmt::Debug {
    /// Takes the keys if nobody holds them; does not wait. `Ok(None)`: held by somebody else.
    ///
    /// # Errors
    /// [`LockError::SessionLost`] once [`LockSession::lost`] fired; [`LockError::Unknown`] when the
    /// answer was lost and the grant may stand at the server.
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>>;

    /// Takes the keys, waiting in the backend's own best way until [`Request::over`].
    ///
    /// # Errors
    /// [`LockError::TimedOut`] after the deadline with the withdrawal proven (no grant can follow);
    /// [`LockError::Unknown`] when it is not proven; otherwise as [`LockSession::try_acquire`].
    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>>;

    /// Renews the session's lease and the given grants in as few operations as the backend allows.
    ///
    /// # Errors
    /// A failed renewal is not a loss: the lease runs on until its last acknowledged validity.
    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>>;

    /// Notified when the session has heard that a grant may be lost: the next [`LockSession::renew`] comes at once then, and
    /// tells. `None`: it hears of that only from renewals.
    fn news(&self) -> Option<&Notify> {
        None
    }

    /// Gives the keys back. Never reports a lost lock as released.
    ///
    /// # Errors
    /// [`LockError::Unknown`] when the answer was lost.
    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>>;

    /// What the holder of the key says that it is doing, as of now: the description of its request, or the
    /// little that the server knows about it. `None`: nobody holds it, or this variant cannot tell.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] when the server did not answer.
    fn holder<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Fires when the session, and with it every grant, is lost.
    fn lost(&self) -> CancellationToken;

    /// The negotiated time to live; `None`: the backend has no lease (Postgres sessions).
    fn ttl(&self) -> Option<Duration>;

    /// Requests sent to the server so far, renewals included.
    fn operations(&self) -> &Operations;

    /// Ends the session: its leases are revoked where the protocol can.
    fn close(&self) -> BoxFuture<'_, ()>;
}
