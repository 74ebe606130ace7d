//! What a caller holds while it holds a lock.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use tokio_util::sync::CancellationToken;

use super::driven::Driven;
use super::hold::Hold;
use super::lease::Lease;
use crate::session::{LockError, ReleaseRet, Token, Validity};

/// A lock being held. Give it back with [`Guard::release`], whose error tells of a lock that was lost meanwhile.
///
/// Dropping it abandons it: a task of the client releases it in the background, and counts it in
/// [`Counts::dropped_guards`](crate::Counts::dropped_guards). It is not renewed from then on.
#[must_use = "dropping a guard abandons the lock; call `release().await`"]
pub struct Guard {
    keys: Vec<Arc<str>>,
    slot: u32,
    /// Taken by whoever ends it.
    hold: Option<Hold>,
}

impl Guard {
    pub(super) fn new(keys: Vec<Arc<str>>, slot: u32, hold: Hold) -> Self {
        Self { keys, slot, hold: Some(hold) }
    }

    /// The fencing token: of the only key, or of the first in sorted order (see [`Guard::tokens`]). `None`
    /// where the variant has no tokens.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.leases().first().and_then(|lease| lease.grant.token)
    }

    /// Every key as the backend saw it (see [`slot_key`](crate::slot_key)), with the token that was drawn for it.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, Option<Token>)> {
        self.leases().iter().flat_map(|lease| lease.grant.keys.iter().map(|key| (&**key, lease.grant.token)))
    }

    /// The slot of the resource, from 0; 0 at level 1.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// The keys that were asked for, sorted, each once.
    #[must_use]
    pub fn keys(&self) -> &[Arc<str>] {
        &self.keys
    }

    /// How long all of it is certain to be held, as of now: it moves with each renewal. Compare it with the
    /// node's clock before a side effect.
    #[must_use]
    pub fn valid_until(&self) -> Validity {
        self.leases().iter().map(|lease| lease.validity()).fold(Validity::NoLease, |a, b| match (a, b) {
            (Validity::Lost, _) | (_, Validity::Lost) => Validity::Lost,
            (Validity::NoLease, other) | (other, Validity::NoLease) => other,
            (Validity::Until(a), Validity::Until(b)) => Validity::Until(a.min(b)),
        })
    }

    /// Fires when any of it is lost: at the end of its validity at the latest, whatever the server does.
    /// Child of the session's.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.hold.as_ref().map(|hold| hold.lost.clone()).unwrap_or_default()
    }

    /// Gives the lock back. `Ok`: it was held until now.
    ///
    /// Cancel safe: once polled, the release goes on in the background.
    ///
    /// # Errors
    /// [`LockError::AlreadyLost`] when it ended before, also with its session or by closing the client: what was done
    /// under it may have met another holder. [`LockError::Unknown`] or [`LockError::Unavailable`] when the server did not
    /// answer; the client goes on releasing in the background, and the next waiter of this node waits for that.
    pub async fn release(mut self) -> Result<(), LockError> {
        let Some(hold) = self.hold.take() else { return Err(LockError::AlreadyLost) };
        let shared = Arc::clone(&hold.shared);
        let told = Arc::new(AtomicBool::new(false));
        let counted = hold.counted;
        let ending = Driven::new(&shared, hold.end(Some(Arc::clone(&told))));
        if let Some(ret) = ending.until(shared.due_ns(0), &told).await {
            return match ret? {
                ReleaseRet::Released => Ok(()),
                ReleaseRet::AlreadyLost => Err(LockError::AlreadyLost),
            };
        }
        let error = LockError::Unknown("the server did not answer the release".into());
        if counted {
            shared.counters.gave_back(&Err(error.clone()));
        }
        Err(error)
    }

    fn leases(&self) -> &[Arc<Lease>] {
        self.hold.as_ref().map_or(&[], |hold| &hold.leases)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (token, valid_until) = (self.token(), self.valid_until());
        let mut guard = f.debug_struct("Guard");
        guard.field("keys", &self.keys).field("slot", &self.slot).field("token", &token);
        guard.field("valid_until", &valid_until).finish_non_exhaustive()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        let shared = Arc::clone(&hold.shared);
        if !shared.closing.is_cancelled() {
            if hold.counted {
                shared.counters.dropped_guards.fetch_add(1, Relaxed);
            }
            shared.go_on(hold.end(None));
        } else if hold.counted {
            // The closing client gives it back.
            shared.counters.gave_back(&Ok(ReleaseRet::AlreadyLost));
        }
    }
}
