//! What a client has done so far.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::session::{LockError, Operations, Purpose, ReleaseRet};

/// What a client has done so far.
///
/// Invariant: with nothing under way, `attempts = grants + refused + timed_out + withdrawn + failed +
/// unknown` and `grants = released + already_lost + release_unknown` once every guard is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls to acquire and try.
    pub attempts: u64,
    /// Guards made, also for callers who had left.
    pub grants: u64,
    /// Tries that met a holder.
    pub refused: u64,
    /// Deadline passed, withdrawal proven.
    pub timed_out: u64,
    /// The caller's future was dropped while it waited.
    pub withdrawn: u64,
    /// The server was not there, the session lost, the request not supported.
    pub failed: u64,
    /// Outcome unknown to the caller.
    pub unknown: u64,
    /// Guards dropped without a release, also those that met no caller.
    pub dropped_guards: u64,
    /// Holds that ended in a clean release.
    pub released: u64,
    /// Holds that were lost before the release.
    pub already_lost: u64,
    /// Holds whose release was not answered in time.
    pub release_unknown: u64,
    /// Requests sent to the server, renewals and probes included.
    pub operations: u64,
    /// Those of them that kept leases.
    pub renewals: u64,
    /// Those that were asked for inside [`Purpose::Probe`].
    pub probes: u64,
}

/// [`Counts`] in the making.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) attempts: AtomicU64,
    pub(super) grants: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) timed_out: AtomicU64,
    pub(super) withdrawn: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) dropped_guards: AtomicU64,
    pub(super) released: AtomicU64,
    pub(super) already_lost: AtomicU64,
    pub(super) release_unknown: AtomicU64,
}

impl Counters {
    /// As of now, beside the requests sent.
    pub(super) fn so_far(&self, operations: &Operations) -> Counts {
        Counts {
            attempts: self.attempts.load(Relaxed),
            grants: self.grants.load(Relaxed),
            refused: self.refused.load(Relaxed),
            timed_out: self.timed_out.load(Relaxed),
            withdrawn: self.withdrawn.load(Relaxed),
            failed: self.failed.load(Relaxed),
            unknown: self.unknown.load(Relaxed),
            dropped_guards: self.dropped_guards.load(Relaxed),
            released: self.released.load(Relaxed),
            already_lost: self.already_lost.load(Relaxed),
            release_unknown: self.release_unknown.load(Relaxed),
            operations: operations.total(),
            renewals: operations.of(Purpose::Renewal),
            probes: operations.of(Purpose::Probe),
        }
    }

    /// Counts the end of a hold.
    pub(super) fn gave_back(&self, ret: &Result<ReleaseRet, LockError>) {
        let counter = match ret {
            Ok(ReleaseRet::Released) => &self.released,
            Ok(ReleaseRet::AlreadyLost) => &self.already_lost,
            Err(_) => &self.release_unknown,
        };
        counter.fetch_add(1, Relaxed);
    }
}
