//! What a variant says of itself.

use super::backend::LockBackend;
use super::endpoint::Endpoint;
use super::error::LockError;

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

/// A registered variant: one line in its server's [`variants`](crate::Server::variants).
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

impl Variant {
    /// Contracts of the conformance suite that it breaks on purpose; nothing of one that is there to be used.
    #[must_use]
    pub fn breaks(&self) -> &'static [&'static str] {
        match self.class {
            SafetyClass::Unsafe { breaks, .. } => breaks,
            SafetyClass::Timed | SafetyClass::Fenced | SafetyClass::Atomic => &[],
        }
    }

    /// Contracts that it may break: what comes of a run tells nothing of them.
    #[must_use]
    pub fn breaks_by_chance(&self) -> &'static [&'static str] {
        match self.class {
            SafetyClass::Unsafe { by_chance, .. } => by_chance,
            SafetyClass::Timed | SafetyClass::Fenced | SafetyClass::Atomic => &[],
        }
    }

    /// Whether it is there to be caught, and never to be used.
    #[must_use]
    pub fn is_unsafe(&self) -> bool {
        matches!(self.class, SafetyClass::Unsafe { .. })
    }
}

/// How far a variant's exclusion goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SafetyClass {
    /// Lets two in where no clock and no server failed: a known mistake, built to be caught.
    Unsafe {
        /// The contracts of the conformance suite that it breaks.
        breaks: &'static [&'static str],
        /// Those that it breaks where an answer comes late enough, which no test can order.
        by_chance: &'static [&'static str],
    },
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
