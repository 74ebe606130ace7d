//! The contract that a backend implements: protocol only. Local FIFO, lease clock, lost signal, deadlines,
//! cancel safety and counting are written once above it, in [`crate::client`].

use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// A boxed future: the traits here are object-safe, and one allocation is noise beside a round trip.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The clock of one node, in nanoseconds of a monotonic clock. Deadlines and validities are stamps on it.
pub trait Now: Send + Sync + fmt::Debug {
    /// The present stamp.
    fn now_ns(&self) -> u64;
}

/// Nanoseconds since this was made, on tokio's monotonic clock (so tests may pause it). Stamps of two of
/// them, or of two processes, are not comparable; where they must be, hand in a clock of your own.
#[derive(Debug, Clone)]
pub struct SinceStart(tokio::time::Instant);

impl Default for SinceStart {
    fn default() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Now for SinceStart {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Sleeps until the clock shows the stamp. tokio's timer is 1 ms coarse and never early. Cancel safe.
pub async fn sleep_until(now: &dyn Now, stamp_ns: u64) {
    loop {
        let left_ns = stamp_ns.saturating_sub(now.now_ns());
        if left_ns == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_nanos(left_ns)).await;
    }
}

/// A variant of a distributed lock: how to reach its server and open a node's session there.
pub trait LockBackend: Send + Sync + fmt::Debug {
    /// Opens the one session of a node. A session is never shared between nodes.
    ///
    /// # Errors [`LockError::Unavailable`] when the server cannot be reached, [`LockError::Protocol`] when it
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
    /// # Errors [`LockError::SessionLost`] once [`LockSession::lost`] fired; [`LockError::Unknown`] when the
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

    /// Gives the keys back. Never reports a lost lock as released.
    ///
    /// # Errors
    /// [`LockError::Unknown`] when the answer was lost.
    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>>;

    /// What the holder of the key says that it is doing, as of now: the description of its request, or the
    /// little that the server knows about it. `None`: nobody holds it, or this variant cannot tell.
    ///
    /// # Errors [`LockError::Unavailable`] when the server did not answer.
    fn holder<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Fires when the session, and with it every grant, is lost.
    fn lost(&self) -> CancellationToken;

    /// The negotiated time to live; `None`: the backend has no lease (Postgres sessions).
    fn ttl(&self) -> Option<Duration>;

    /// Requests sent to the server so far, renewals included.
    fn operations(&self) -> &AtomicU64;

    /// Ends the session: its leases are revoked where the protocol can.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What a caller wants. Above the shared layer `keys` and `level` are free; below it a backend without
/// [`Capabilities::native_level`] and [`Capabilities::native_many`] sees exactly one key, level 1.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names of the locks; all or nothing.
    pub keys: Vec<Arc<str>>,
    /// Exclusive or shared.
    pub mode: Mode,
    /// Slots of the resource: how many holders may be inside at once. At least 1.
    pub level: u32,
    /// Seeds the order in which slots are tried.
    pub slot_seed: u64,
    /// Who asks: unique per attempt, kept over retries of the same attempt, so that a retry is recognised.
    pub owner: OwnerId,
    /// What the holder is doing, for whoever is refused.
    pub description: Arc<str>,
    /// Absolute deadline of the wait, on the node's clock; a retry never extends it.
    pub deadline_ns: u64,
    /// Fires when the caller no longer waits, as if the deadline had come. The shared layer puts its own here.
    pub left: CancellationToken,
}

impl Request {
    /// Asks for one key, exclusive, level 1.
    #[must_use]
    pub fn exclusive(key: &str, owner: OwnerId, deadline_ns: u64) -> Self {
        Self {
            keys: vec![key.into()],
            mode: Mode::Exclusive,
            level: 1,
            slot_seed: 0,
            owner,
            description: "".into(),
            deadline_ns,
            left: CancellationToken::new(),
        }
    }

    /// What may stand at the server after an answer was lost: a grant of this owner, without a token, on the keys,
    /// or on any slot where the level is above 1.
    #[must_use]
    pub fn unproven_grant(&self) -> Grant {
        let keys = match self.keys.as_slice() {
            [key] if self.level > 1 => (0..self.level).map(|slot| slot_key(key, slot).into()).collect(),
            keys => keys.to_vec(),
        };
        Grant { keys, owner: self.owner.clone(), token: None, validity: Validity::Lost }
    }

    /// How long the caller still waits.
    #[must_use]
    pub fn remaining(&self, now: &dyn Now) -> Duration {
        let left_ns = self.deadline_ns.saturating_sub(now.now_ns());
        if self.left.is_cancelled() { Duration::ZERO } else { Duration::from_nanos(left_ns) }
    }

    /// Completes when the caller no longer waits: at the deadline, or when it left. Cancel safe.
    pub async fn over(&self, now: &dyn Now) {
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = sleep_until(now, self.deadline_ns) => {}
        }
    }
}

/// The name of one slot of a key. No other key has it: names reach a backend with each `#` doubled.
#[must_use]
pub fn slot_key(key: &str, slot: u32) -> String {
    format!("{key}#{slot}")
}

/// The key and slot of a name made by [`slot_key`]; of a key of level 1 the name itself.
#[must_use]
pub fn split_slot(name: &str) -> (&str, Option<u32>) {
    let key = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let hashes = key.len() - key.trim_end_matches('#').len();
    match (name[key.len()..].parse(), hashes % 2) {
        (Ok(slot), 1) => (&key[..key.len() - 1], Some(slot)),
        _ => (name, None),
    }
}

/// Identity of one attempt to hold a lock: `node:counter`, unique over nodes and restarts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OwnerId(pub Arc<str>);

impl OwnerId {
    /// Anything below `most`, drawn from the owner and the number of its try: so that those who woke together do not all
    /// ask together.
    #[must_use]
    pub fn spread(&self, number: u32, most: Duration) -> Duration {
        let mut hasher = DefaultHasher::new();
        (self, number).hash(&mut hasher);
        let most_us = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(hasher.finish() % most_us)
    }
}

/// How a key is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Holders of this mode do not exclude each other.
    Shared,
}

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

/// Answer of [`LockSession::renew`].
#[derive(Debug, Clone)]
pub struct Renewal {
    /// The session's own lease; [`Validity::NoLease`] where only grants have one.
    pub session: Validity,
    /// One answer per grant, in the order asked.
    pub grants: Vec<Validity>,
}

/// Answer to a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseRet {
    /// It was held until now and is free.
    Released,
    /// It was no longer ours; nothing was changed.
    AlreadyLost,
}

/// Why a lock operation did not do what was asked. Being held by another is not an error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LockError {
    /// The server did not answer or refused the connection; nothing happened.
    #[error("lock server unavailable: {0}")]
    Unavailable(String),
    /// The deadline passed and it is proven that no grant can follow.
    #[error("deadline passed while waiting; the request is withdrawn")]
    TimedOut,
    /// It may have happened: the answer was lost.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The session is gone, and all its grants with it.
    #[error("session lost: {0}")]
    SessionLost(String),
    /// The server answered something that the protocol does not allow.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// This variant cannot do that; its [`Capabilities`] say so.
    #[error("not supported by this variant: {0}")]
    Unsupported(&'static str),
}

/// What a variant promises; drives the conformance suite and the report.
#[expect(clippy::struct_excessive_bools, reason = "independent promises, each asked for on its own")]
#[derive(Debug, Clone, Copy)]
pub struct Capabilities {
    /// Whether waiters of one node may reach the server side by side.
    pub local_fifo: LocalFifo,
    /// Serves level N itself; otherwise level N is N keys, "slots, not work-conserving".
    pub native_level: bool,
    /// Takes several keys in one atomic step; otherwise one by one in order.
    pub native_many: bool,
    /// Grants carry a fencing token.
    pub token: bool,
    /// Has shared mode.
    pub shared_mode: bool,
    /// Has a lease that ends by itself when the holder is silent.
    pub lease: bool,
    /// Waiters of different sessions are granted in the order of their arrival at the server.
    pub fair: bool,
}

/// One waiter per key and node goes to the server; the others wait in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalFifo {
    /// On by default; off is measured, to show what it is worth.
    Optional,
    /// Two tasks of one session would both be granted: always on.
    Required,
}

/// What a grant survives. Equal fsync settings do not make locks equally durable.
#[derive(Debug, Clone, Copy)]
pub struct Survives {
    /// The holder's node crashes: when is its key free again?
    pub node_crash: &'static str,
    /// The lock server is killed and restarted.
    pub server_kill: &'static str,
    /// The server's machine loses power.
    pub power_loss: &'static str,
}

/// A registered variant: one line in its server's [`Server::variants`].
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    /// Name on the command line and in reports, such as `redis-fenced`.
    pub name: &'static str,
    /// One sentence on the protocol.
    pub summary: &'static str,
    /// How far its exclusion goes.
    pub class: SafetyClass,
    /// What an uncontended pair of acquire and release cannot do without.
    pub least: Least,
    /// What it promises.
    pub capabilities: Capabilities,
    /// What a grant survives under the durable profile.
    pub survives: Survives,
    /// Makes the backend for the server at this address.
    pub open: fn(&Endpoint) -> Result<Box<dyn LockBackend>, LockError>,
}

/// How far a variant's exclusion goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SafetyClass {
    /// Exclusive while clocks run at similar rates, pauses stay below the lease's margin and the server's state survives.
    Timed,
    /// [`SafetyClass::Timed`], with a token: exclusive at a resource that checks it.
    Fenced,
    /// Atomic with what is protected.
    Atomic,
}

/// The least that acquire and release of a free lock take, each: their sum is the floor of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Least {
    /// No request.
    Nothing,
    /// A round trip.
    RoundTrips,
    /// A write that the server acknowledges, round trip included.
    Writes,
}

/// A server product and all that is asked of it: its one line in [`crate::backends::SERVERS`].
#[derive(Debug)]
pub struct Server {
    /// Name on the command line, in records and in reports, such as `redis`.
    pub name: &'static str,
    /// Form of the URL under which it is reached.
    pub url: &'static str,
    /// The variants on it.
    pub variants: &'static [&'static Variant],
    /// Settings of the server that decide what a lock is worth, each with what it decides.
    pub settings: &'static [(&'static str, &'static str)],
    /// Connects a client that only asks. Leaves a small key or table of its own on the server. The error says that the
    /// server cannot be reached.
    pub bare: fn(&Endpoint) -> BoxFuture<'_, Result<Box<dyn Bare>, LockError>>,
}

/// A connection to a server for one request at a time, through the detour that variants take too (a task that drives
/// the connection): the yardstick of what a request and a write take there.
pub trait Bare: Send + Sync + fmt::Debug {
    /// A round trip that writes nothing.
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>>;

    /// A small write that the server acknowledges, round trip included.
    fn write(&self) -> BoxFuture<'_, Result<(), LockError>>;
}

/// An error of a client crate that says that the server cannot be reached.
pub(crate) fn unavailable(error: impl fmt::Display) -> LockError {
    LockError::Unavailable(error.to_string())
}

/// Where a server listens. May hold a password: `Debug` hides it.
#[derive(Clone)]
pub struct Endpoint(pub String);

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Endpoint(…)")
    }
}
