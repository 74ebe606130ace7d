//! Distributed mechanisms without sockets, in virtual time: a lock on a lease server and a ring, on links and clocks
//! that misbehave by seed.
//!
//! It has two uses. It proves the checks: every [`Flaw`] is a known way to get a lock or a ring wrong, and must be
//! caught, while the honest versions never are (`harness/tests/cheats.rs`). And it looks for failures by itself, among many seeds with
//! many faults at once (`lockbench explore`). Decisions of a protocol are apart from messages
//! ([`LeaseTable`] knows no time but what it is told), every node has a clock of its own, and all that is random comes
//! from one seed.
//!
//! * [`queueing`]: what a design would take and carry at sizes that nobody can run, from what its requests cost.
//! * [`World`]: links, clocks and pauses of a run. [`Weather`] says how bad they are. [`Connection`]: messages that keep their order.
//! * [`LeaseTable`]: the server's decisions. [`SimulatedLock`]: its clients', as a mechanism.
//! * [`SimulatedRing`]: owners by view, with a work queue each, as a mechanism.
//! * [`SimulatedBank`]: accounts whose money the tasks of another mechanism move.
//! * [`try_out`]: one run with faults, many at once, if so planned; [`walk()`]: many of them; [`shrink()`]: the least of a plan that still fails.

pub mod queueing;
mod lease_table;
mod chance;
mod troubles;
mod world;
mod connection;
mod lock;
mod ring;
mod bank;
mod trial;
mod shrink;
mod walk;

pub use bank::SimulatedBank;
pub use connection::{Connection, Ended};
pub use lease_table::{Extended, LeaseTable, Rules};
pub use lock::SimulatedLock;
pub use ring::SimulatedRing;
pub use shrink::{Kept, shrink};
pub use trial::{Place, try_out};
pub use walk::walk;
pub use world::{Pauses, Weather, World};

/// A way to get a lock or a ring wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// None: honest.
    None,
    /// The client never looks at its clock: a grant may be over when its answer arrives, and a lease when its holder
    /// still works.
    NoExpiryCheck,
    /// The server frees a key on anybody's release.
    ReleaseWithoutOwnerCheck,
    /// The renewals go on after the release, also when that never arrived.
    RenewalOutlivesRelease,
    /// The key is taken first and its expiry set by a second request: nobody sends it when the first answer is lost.
    ExpirySetApart,
    /// A renewal takes the key again, from whomever; the client trusts it instead of its clock.
    ExtendRecreates,
    /// Tokens are read off the client's wall clock.
    WallClockToken,
    /// The release is sent ahead, while the section still has to write, to save the time that it takes to arrive.
    ReleaseAhead,
    /// A waiter asks again only when it is told that the key is free; the server says so once, to one waiter, when a
    /// release arrives.
    OneNotice,
    /// Owners of a ring act on whatever view they have, and no epoch tells the resource whose view is newer.
    RingWithoutEpoch,
    /// A step whose answer is lost is sent again, and nothing tells the owner that it has run it already.
    SendsAgain,
    /// A step is answered as completed as soon as it is in the owner's queue.
    AnswersOnReceipt,
    /// The owner keeps no queue: who waits asks again from time to time, and whoever asks first then is first.
    NoQueue,
    /// An account is written with what was in it when the section began, less what is taken: whatever came in meanwhile is lost.
    ReadsAhead,
}
