//! Until when the lease of a whole session holds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::session::{Now, Validity};

/// The stamp until which a session's lease holds at least, on the node's clock. It only rises, however the answers to
/// renewals overtake each other.
#[derive(Debug)]
pub(crate) struct LeaseEnd(AtomicU64);

impl LeaseEnd {
    pub(crate) fn new(validity: Validity) -> Self {
        Self(AtomicU64::new(stamp(validity)))
    }

    /// A renewal was acknowledged, which proves this.
    pub(crate) fn raise(&self, validity: Validity) {
        self.0.fetch_max(stamp(validity), Ordering::AcqRel);
    }

    pub(crate) fn validity(&self) -> Validity {
        Validity::Until(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn has_passed(&self, now: &dyn Now) -> bool {
        now.now_ns() >= self.0.load(Ordering::Acquire)
    }
}

/// The stamp until which something is valid; 0 when it is not.
fn stamp(validity: Validity) -> u64 {
    match validity {
        Validity::Until(stamp_ns) => stamp_ns,
        Validity::NoLease | Validity::Lost => 0,
    }
}
