//! What a server has granted, and until when it is certain.

use std::sync::Arc;
use std::time::Duration;

use super::owner::OwnerId;

/// A key taken at the server. Plain data; the [`crate::Guard`] is what callers hold.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The keys, as the backend saw them; a native level above 1 names its slot, see [`slot_key`].
    pub keys: Vec<Arc<str>>,
    /// The attempt that holds them.
    pub owner: OwnerId,
    /// Fencing token, drawn in the same atomic step as the grant.
    pub token: Option<Token>,
    /// Valid until then at least, on the node's clock; counted from before the request was sent.
    pub validity: Validity,
}

/// A fencing token: strictly increasing over the holders of a key. Compared as (generation, sequence).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Major part; 0 where the server draws one counter.
    pub generation: u64,
    /// Minor part.
    pub sequence: u64,
}

/// How long something is certain to be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Until this stamp of the node's clock.
    Until(u64),
    /// As long as the connection lives; no lease.
    NoLease,
    /// No longer.
    Lost,
}

/// How long a lease of `ttl` is certain to be held when the request that was acknowledged was sent at
/// `sent_ns`: less a margin of 1 % of the ttl, at least 2 ms, for clocks that run at different rates and for
/// the server's rounding.
#[must_use]
pub fn valid_until(sent_ns: u64, ttl: Duration) -> Validity {
    let ttl_ns = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
    let margin_ns = (ttl_ns / 100).max(2_000_000);
    Validity::Until(sent_ns.saturating_add(ttl_ns.saturating_sub(margin_ns)))
}

/// Answer of [`LockSession::renew`](crate::LockSession::renew).
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The session's own lease; [`Validity::NoLease`] where only grants have one.
    pub session: Validity,
    /// One answer per grant, in the order asked.
    pub grants: Vec<Validity>,
}

/// Answer of a backend to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseRet {
    /// It was held until now and is free.
    Released,
    /// It was no longer ours; nothing was changed.
    AlreadyLost,
}
