//! How an attempt is taken back, and a key given back.
//!
//! **A lost answer.** Two requests of one client may overtake each other in the server, so that a delete
//! proves nothing about a put that is still on its way. Each acquire therefore also compares the revision of
//! a key of the session's own, the *fence*, and [`Node::withdraw`] rewrites the fence in the
//! transaction that deletes what the lost request may have put: whatever was sent before can no longer
//! succeed. That is the proof of withdrawal. Withdrawals compare the fence as well: a late one must not
//! delete what was put after a later one was answered. After a lost answer nothing is tried again before the withdrawal
//! is answered; what is not withdrawn by the deadline is *unknown*.

use std::sync::atomic::Ordering;

use tokio::time::{sleep, timeout};

use super::node::{Node, RETRY_DELAY};
use super::requests::{Compare, Failure, KeyValue, Op, Read, Txn};
use crate::session::{Grant, LockError, ReleaseRet, Request};

impl Node {
    /// Holds while nothing was withdrawn since: to be part of every transaction that takes a key.
    pub(super) fn fence(&self) -> Result<Compare, LockError> {
        self.ensure_alive()?;
        Ok(self.fence_is(self.fence.load(Ordering::Acquire)))
    }

    fn fence_is(&self, revision: i64) -> Compare {
        Compare::ModifiedAt { key: self.fence_key.clone(), revision }
    }

    /// To be read where the fence did not hold.
    pub(super) fn read_fence(&self) -> Op {
        Op::Read(Read::key(self.fence_key.as_str()))
    }

    /// Takes over the fence as it was read; without one, the lease is gone.
    pub(super) fn set_fence(&self, read: Option<&KeyValue>) -> Result<(), LockError> {
        let read = read.ok_or_else(|| self.gone())?;
        self.fence.fetch_max(read.modified, Ordering::AcqRel);
        Ok(())
    }

    /// Deletes the key if `mine` holds, and makes sure that nothing that was sent before changes it later, neither a put
    /// nor an earlier withdrawal; says whether it was there.
    pub(super) async fn withdraw(&self, key: &str, mine: Compare) -> Result<ReleaseRet, LockError> {
        // One after the other: each raises the fence that the next compares.
        let Ok(_turn) = timeout(self.patience(), self.withdrawing.lock()).await else {
            return Err(LockError::Unknown("earlier withdrawals are not answered".to_owned()));
        };
        let raise = Op::Put { key: self.fence_key.clone(), value: Vec::new(), lease: self.lease };
        loop {
            let fence = self.fence.load(Ordering::Acquire);
            let txn = Txn {
                when: vec![mine.clone(), self.fence_is(fence)],
                then: vec![Op::Delete { key: key.to_owned() }, raise.clone()],
                or_else: vec![self.read_fence(), raise.clone()],
            };
            let answer = match self.requests.txn(txn, self.patience()).await {
                Ok(answer) => answer,
                // Nothing can be put on a lease that is gone.
                Err(Failure::LeaseGone) => return Err(self.gone()),
                Err(Failure::Unanswered(why)) => return Err(LockError::Unknown(why)),
            };
            self.fence.fetch_max(answer.revision, Ordering::AcqRel);
            if answer.succeeded {
                return Ok(ReleaseRet::Released);
            }
            let before = answer.first_key(0)?.ok_or_else(|| self.gone())?;
            if before.modified == fence {
                return Ok(ReleaseRet::AlreadyLost);
            }
            // An earlier withdrawal, whose answer was lost, had raised it: again with the present one.
        }
    }

    /// Withdraws, again and again until the deadline: after it, the withdrawal is the outcome.
    pub(super) async fn withdraw_by_deadline(
        &self,
        key: &str,
        mine: Compare,
        request: &Request,
    ) -> Result<(), LockError> {
        loop {
            let withdrawn = self.withdraw(key, mine.clone()).await;
            let in_time = !self.remaining(request).is_zero();
            match withdrawn {
                Ok(_) if in_time => return Ok(()),
                Ok(_) => return Err(LockError::TimedOut),
                Err(LockError::Unknown(_)) if in_time => {
                    sleep(RETRY_DELAY.min(self.remaining(request))).await
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Deletes the lock's key if it is still the one that the grant's token names.
    pub(super) async fn release_by_revision(
        &self,
        name: &str,
        key: String,
        grant: &Grant,
    ) -> Result<ReleaseRet, LockError> {
        let revision = grant.token.map_or(0, |token| token.sequence).cast_signed();
        self.delete_if(name, Compare::CreatedAt { key: key.clone(), revision }, key).await
    }

    /// Deletes the lock's key if that holds.
    pub(super) async fn delete_if(
        &self,
        name: &str,
        mine: Compare,
        key: String,
    ) -> Result<ReleaseRet, LockError> {
        let txn = Txn { when: vec![mine], then: vec![Op::Delete { key }], or_else: Vec::new() };
        match self.txn(name, txn, self.patience()).await {
            Ok(answer) if answer.succeeded => Ok(ReleaseRet::Released),
            Ok(_) | Err(Failure::LeaseGone) => Ok(ReleaseRet::AlreadyLost),
            Err(Failure::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }
}
