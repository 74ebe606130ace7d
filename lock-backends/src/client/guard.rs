//! What a caller holds while it holds a lock.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use crate::session::{LockError, ReleaseRet, Token, Validity};

/// Where the answer to a release goes.
pub(super) type ReleaseReply = oneshot::Sender<Result<ReleaseRet, LockError>>;

/// A lock being held. Give it back with [`Guard::release`].
///
/// Dropping it abandons it: the client's task releases it in the background, and counts it in
/// [`Counts::dropped_guards`](crate::Counts::dropped_guards). It is not renewed from then on.
#[derive(Debug)]
#[must_use = "dropping a guard abandons the lock; call `release().await`"]
pub struct Guard {
    pub(super) keys: Vec<Arc<str>>,
    pub(super) slot: u32,
    pub(super) leases: Vec<Arc<Lease>>,
    pub(super) lost: CancellationToken,
    /// Read by the client's task that holds the lock; closed unused, it is an abandoned guard.
    pub(super) release: oneshot::Sender<ReleaseReply>,
}

impl Guard {
    /// The fencing token: of the only key, or of the first in sorted order (see [`Guard::tokens`]). `None`
    /// where the variant has no tokens.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.leases.first().and_then(|lease| lease.grant.token)
    }

    /// Every key as the backend saw it (`key#slot` for a slot), with the token that was drawn for it.
    pub fn tokens(&self) -> impl Iterator<Item = (&str, Option<Token>)> {
        self.leases.iter().flat_map(|lease| lease.grant.keys.iter().map(|key| (&**key, lease.grant.token)))
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
        self.leases.iter().map(|lease| lease.validity()).fold(Validity::NoLease, |a, b| match (a, b) {
            (Validity::Lost, _) | (_, Validity::Lost) => Validity::Lost,
            (Validity::NoLease, other) | (other, Validity::NoLease) => other,
            (Validity::Until(a), Validity::Until(b)) => Validity::Until(a.min(b)),
        })
    }

    /// Fires when any of it is lost: at the end of its validity at the latest, whatever the server does.
    /// Child of the session's.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    /// Gives the lock back and says whether it was still held. After a lost session or a closed client:
    /// [`ReleaseRet::AlreadyLost`].
    ///
    /// Cancel safe: once polled, the release goes on in the background.
    ///
    /// # Errors [`LockError::Unknown`] or [`LockError::Unavailable`] when the server did not answer; the
    /// client goes on releasing in the background, and the next waiter of this node waits for that.
    pub async fn release(self) -> Result<ReleaseRet, LockError> {
        let (reply, answer) = oneshot::channel();
        if self.release.send(reply).is_err() {
            return Ok(ReleaseRet::AlreadyLost);
        }
        answer.await.unwrap_or_else(|_| Err(LockError::Unknown("the client was closed meanwhile".into())))
    }
}
