//! The transactions: each either has an answer, or may have been applied.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use tokio::time::timeout;

use super::{EtcdSession, lock_key, the_key};
use crate::session::{Grant, LockError, OwnerId, ReleaseRet, Request, Token, Validity};

/// What one try brought.
pub(super) enum Attempt {
    Granted(Grant),
    /// Held by somebody else as of this revision.
    Refused(i64),
}

impl EtcdSession {
    /// Tries once, giving the answer until `limit`. [`LockError::Unknown`]: it was lost and has to be withdrawn.
    pub(super) async fn attempt(&self, request: &Request, limit: Duration) -> Result<Attempt, LockError> {
        let name = the_key(request)?;
        let (key, fence_key) = (lock_key(name), self.fence_key.as_str());
        loop {
            self.ensure_alive()?;
            let fence = self.fence.load(Ordering::Acquire);
            let put = PutOptions::new().with_lease(self.lease);
            let txn = Txn::new()
                .when([
                    Compare::create_revision(key.as_str(), CompareOp::Equal, 0),
                    Compare::mod_revision(fence_key, CompareOp::Equal, fence),
                ])
                .and_then([TxnOp::put(key.as_str(), request.owner.0.as_bytes(), Some(put))])
                .or_else([TxnOp::get(key.as_str(), None), TxnOp::get(fence_key, None)]);
            let answer = match self.txn(txn, limit).await {
                Ok(answer) => answer,
                Err(TxnError::LeaseGone) => return Err(self.gone()),
                Err(TxnError::Unanswered(why)) => return Err(LockError::Unknown(why)),
            };
            let revision = revision(&answer)?;
            if answer.succeeded() {
                return self.grant(name, request, revision);
            }
            let [holder, fence_now] = first_keys(&answer)?;
            let Some(fence_now) = fence_now else { return Err(self.gone()) };
            match holder {
                // My own earlier try, whose answer was lost.
                Some(kv) if kv.value() == request.owner.0.as_bytes() && kv.lease() == self.lease => {
                    return self.grant(name, request, kv.create_revision());
                }
                Some(_) => return Ok(Attempt::Refused(revision)),
                // The key was free and only the fence was outdated: again with the new one.
                None => _ = self.fence.fetch_max(fence_now.mod_revision(), Ordering::AcqRel),
            }
        }
    }

    /// Makes sure that no try of `owner` holds the key, now or later; says whether one did.
    pub(super) async fn withdraw(&self, name: &str, owner: &OwnerId) -> Result<ReleaseRet, LockError> {
        let (key, owner) = (lock_key(name), owner.0.as_bytes());
        let lease = PutOptions::new().with_lease(self.lease);
        let raise = TxnOp::put(self.fence_key.as_str(), owner, Some(lease));
        let txn = Txn::new()
            .when([Compare::value(key.as_str(), CompareOp::Equal, owner)])
            .and_then([TxnOp::delete(key.as_str(), None), raise.clone()])
            .or_else([raise]);
        match self.txn(txn, self.ttl / 2).await {
            Ok(answer) => {
                self.fence.fetch_max(revision(&answer)?, Ordering::AcqRel);
                Ok(if answer.succeeded() { ReleaseRet::Released } else { ReleaseRet::AlreadyLost })
            }
            // Nothing can be put on a lease that is gone.
            Err(TxnError::LeaseGone) => Err(self.gone()),
            Err(TxnError::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }

    pub(super) async fn release_key(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        let Some(name) = grant.keys.first() else { return Ok(ReleaseRet::AlreadyLost) };
        if self.ensure_alive().is_err() {
            return Ok(ReleaseRet::AlreadyLost);
        }
        let Some(token) = grant.token else { return self.withdraw(name, &grant.owner).await };
        let key = lock_key(name);
        let mine = Compare::create_revision(key.as_str(), CompareOp::Equal, token.sequence.cast_signed());
        let txn = Txn::new().when([mine]).and_then([TxnOp::delete(key.as_str(), None)]);
        match self.txn(txn, self.ttl / 2).await {
            Ok(answer) if answer.succeeded() => Ok(ReleaseRet::Released),
            Ok(_) | Err(TxnError::LeaseGone) => Ok(ReleaseRet::AlreadyLost),
            Err(TxnError::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }

    async fn txn(&self, txn: Txn, limit: Duration) -> Result<TxnResponse, TxnError> {
        self.operations.fetch_add(1, Ordering::Relaxed);
        match timeout(limit, self.kv.clone().txn(txn)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) if lease_not_found(&error) => Err(TxnError::LeaseGone),
            Ok(Err(error)) => Err(TxnError::Unanswered(error.to_string())),
            Err(_) => Err(TxnError::Unanswered("no answer in time".to_owned())),
        }
    }

    fn grant(&self, name: &Arc<str>, request: &Request, revision: i64) -> Result<Attempt, LockError> {
        self.ensure_alive()?;
        Ok(Attempt::Granted(Grant {
            keys: vec![name.clone()],
            owner: request.owner.clone(),
            token: Some(Token { generation: 0, sequence: revision.unsigned_abs() }),
            validity: Validity::Until(self.valid_until.load(Ordering::Acquire)),
        }))
    }
}

/// Why a transaction has no answer.
#[derive(Debug, thiserror::Error)]
enum TxnError {
    #[error("the lease is gone")]
    LeaseGone,
    /// It may or may not have been applied.
    #[error("{0}")]
    Unanswered(String),
}

fn lease_not_found(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().contains("requested lease not found"))
}

fn revision(answer: &TxnResponse) -> Result<i64, LockError> {
    let header = answer.header().ok_or_else(|| LockError::Protocol("answer without a header".to_owned()))?;
    Ok(header.revision())
}

/// The first key of each of two reads.
fn first_keys(answer: &TxnResponse) -> Result<[Option<KeyValue>; 2], LockError> {
    match answer.op_responses().as_slice() {
        [TxnOpResponse::Get(one), TxnOpResponse::Get(two)] => {
            Ok([one.kvs().first().cloned(), two.kvs().first().cloned()])
        }
        _ => Err(LockError::Protocol("unexpected answers in a transaction".to_owned())),
    }
}
