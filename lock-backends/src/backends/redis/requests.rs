//! What can be asked of a Redis server and what comes back: all that session and variants know of it, beside the clock.
//!
//! [`client`](super::client) asks a real server; whatever answers in the same way, such as a model in virtual time, can
//! stand in its place.
//!
//! Errors, of all requests: [`LockError::Unavailable`]: nothing was done; [`LockError::Unknown`]: no answer, it may have
//! been done; [`LockError::Protocol`]: the answer makes no sense, or the server cannot do it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::session::{BoxFuture, Grant, LockError, OwnerId, Token};

/// Form of the URL under which a server is reached.
pub(super) const URL: &str = "redis://[user:password@]host[:port][/database], redis+sentinel://[user:password@]host[:port],…/service, \
     redis+cluster://[user:password@]host[:port],…; over TLS rediss://, rediss+sentinel://, rediss+cluster://";

/// A server that can be reached.
pub(super) trait Redis: Send + Sync + fmt::Debug {
    /// Opens the one connection of a node, for leases of `ttl`. It is made anew whenever it breaks, with its
    /// subscriptions; what it hears goes to `hears`.
    fn connect<'a>(
        &'a self,
        ttl: Duration,
        hears: Arc<dyn Hears>,
    ) -> BoxFuture<'a, Result<Box<dyn Requests>, LockError>>;
}

/// A node's connection. Each method is one request, atomic at the server; requests on one connection are executed in the
/// order in which they were sent. A future that is dropped leaves it open whether its request is executed.
pub(super) trait Requests: Send + Sync + fmt::Debug {
    /// Equal for keys that one renewal may be about.
    fn together(&self, _key: &str) -> u16 {
        0
    }

    /// Takes a free slot, or refreshes the one that this owner has. A token is drawn in the same step.
    fn acquire<'a>(&'a self, wanted: Wanted<'a>, tokens: Tokens) -> BoxFuture<'a, Result<AskRet, LockError>>;

    /// About so many locks one request may be that does several things; 1: there is none.
    fn most_at_once(&self) -> usize {
        1
    }

    /// Does these in their order, of keys that are all [`together`](Self::together). What came of each: an error says that this one
    /// was not done.
    fn several<'a>(
        &'a self,
        _all: &'a [Joint],
        _tokens: Tokens,
        _announce: Announce,
    ) -> BoxFuture<'a, Result<Vec<Result<JointRet, LockError>>, LockError>> {
        Box::pin(std::future::ready(Err(LockError::Unsupported("several things in one request"))))
    }

    /// As [`Requests::acquire`] with tokens, behind those in the key's line: first a lock that became free by itself is
    /// handed to the first of them, for `claim`.
    fn ask<'a>(
        &'a self,
        wanted: Wanted<'a>,
        claim: Duration,
        if_held: IfHeld<'a>,
    ) -> BoxFuture<'a, Result<AskRet, LockError>>;

    /// Frees those of the keys that this owner holds: slots of one resource. Whether it held any.
    fn release<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        announce: Announce,
    ) -> BoxFuture<'a, Result<bool, LockError>>;

    /// As [`Requests::release`], but hands each to the first in line whose node hears it, for `claim`. An owner that held
    /// none leaves the line, in which it stands under the name of its `node`.
    fn pass_on<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        node: &'a str,
        claim: Duration,
    ) -> BoxFuture<'a, Result<bool, LockError>>;

    /// Lets the leases of those grants that are still held run anew.
    fn renew<'a>(
        &'a self,
        grants: &'a [Arc<Grant>],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<RenewRet, LockError>>;

    /// The description that the key's holder gave.
    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>>;

    /// Hears the channel from the answer on.
    fn subscribe<'a>(&'a self, channel: Channel<'a>) -> BoxFuture<'a, Result<(), LockError>>;

    /// Hears no more of the releases of these keys.
    fn unsubscribe<'a>(&'a self, keys: &'a [Arc<str>]) -> BoxFuture<'a, Result<(), LockError>>;
}

/// Where a connection's messages go.
pub(super) trait Hears: Send + Sync + 'static {
    /// Called by whatever drives the connection, in the order of the messages, so that no task stands between message
    /// and waiter. Must not block.
    fn hear(&self, heard: Heard<'_>);
}

/// What a connection says unasked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heard<'a> {
    /// A slot of this key was released and announced.
    Released {
        key: &'a str,
    },
    HandedOver(HandedOver<'a>),
    /// The connection broke: messages may be missing.
    Disconnected,
}

/// A lock was given to an owner in line.
#[derive(Debug, Clone, Copy)]
pub(super) struct HandedOver<'a> {
    pub(super) owner: &'a str,
    /// As in a grant: with its slot where the level is above 1.
    pub(super) key: &'a str,
    pub(super) token: Token,
    /// The moment on the server's clock.
    pub(super) server_us: u64,
}

/// What an owner wants: any slot of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) key: &'a str,
    /// Slots of the key.
    pub(super) level: u32,
    pub(super) owner: &'a OwnerId,
    /// For whoever asks what the holder is doing.
    pub(super) description: &'a str,
    pub(super) ttl: Duration,
}

/// What can be asked together with others.
#[derive(Debug, Clone)]
pub(super) enum Joint {
    /// As [`Requests::acquire`].
    Acquire { key: Arc<str>, level: u32, owner: OwnerId, description: Arc<str>, ttl: Duration },
    /// As [`Requests::release`].
    Release { keys: Vec<Arc<str>>, owner: OwnerId },
    /// As [`Requests::ask`]; whoever stands in line does so under the name of its `node`.
    Ask {
        key: Arc<str>,
        level: u32,
        owner: OwnerId,
        description: Arc<str>,
        ttl: Duration,
        claim: Duration,
        node: Option<Arc<str>>,
    },
    /// As [`Requests::pass_on`].
    PassOn { keys: Vec<Arc<str>>, owner: OwnerId, node: Arc<str>, claim: Duration },
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum JointRet {
    Asked(AskRet),
    /// Whether any was held.
    Released(bool),
}

impl Joint {
    /// One of its keys.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Acquire { key, .. } | Self::Ask { key, .. } => key,
            Self::Release { keys, .. } | Self::PassOn { keys, .. } => keys.first().map_or("", |key| key),
        }
    }

    /// About how many locks it is.
    pub(super) fn locks(&self) -> usize {
        match self {
            Self::Acquire { level, .. } | Self::Ask { level, .. } => *level as usize,
            Self::Release { keys, .. } | Self::PassOn { keys, .. } => keys.len(),
        }
    }
}

/// Whether grants carry tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tokens {
    Drawn,
    None,
}

/// Whether a release tells [`Channel::Releases`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Announce {
    Yes,
    No,
}

/// What a refused owner will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfHeld<'a> {
    GoAway,
    /// Stand in line; its node listens to [`Channel::Node`] of this name.
    Wait(&'a str),
}

/// What a node can listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Channel<'a> {
    /// Announced releases of this key.
    Releases(&'a str),
    /// What is handed to those who stand in line under this name.
    Node(&'a str),
}

/// Answer to a request for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AskRet {
    /// The slot, and the token where one is drawn.
    Granted(u32, Option<Token>),
    Held {
        /// How long the first of the leases in the way has to run.
        left: Duration,
        /// The server's time, where the request reads it.
        server_us: Option<u64>,
    },
}

/// Answer to a renewal.
#[derive(Debug, Clone)]
pub(super) struct RenewRet {
    /// Whether each grant is still held by its owner, in the order asked.
    pub(super) held: Vec<bool>,
    /// The server's time.
    pub(super) server_us: u64,
}
