//! The transactions: each either has an answer, or may have been applied.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{
    Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse,
};
use tokio::time::timeout;

use super::{GRACE, Node};
use crate::session::{Grant, LockError, ReleaseRet, Request, Token, Validity};

impl Node {
    /// Holds while nothing was withdrawn since: to be part of every transaction that takes a key.
    pub(in crate::backends) fn fence(&self) -> Result<Compare, LockError> {
        self.ensure_alive()?;
        let fence = self.fence.load(Ordering::Acquire);
        Ok(Compare::mod_revision(self.fence_key.as_str(), CompareOp::Equal, fence))
    }

    /// To be read where the fence did not hold.
    pub(in crate::backends) fn read_fence(&self) -> TxnOp {
        TxnOp::get(self.fence_key.as_str(), None)
    }

    /// Takes over the fence as it was read; without one, the lease is gone.
    pub(in crate::backends) fn set_fence(&self, read: Option<KeyValue>) -> Result<(), LockError> {
        let read = read.ok_or_else(|| self.gone())?;
        self.fence.fetch_max(read.mod_revision(), Ordering::AcqRel);
        Ok(())
    }

    /// How long a request may take that nobody waits for.
    pub(in crate::backends) fn patience(&self) -> Duration {
        self.ttl / 2
    }

    /// How long a request may take for a caller.
    pub(in crate::backends) fn limit(&self, request: &Request) -> Duration {
        (self.remaining(request) + GRACE).min(self.patience())
    }

    /// Deletes the key if `mine` holds, and makes sure that nothing that was sent before puts it later; says whether
    /// it was there.
    pub(in crate::backends) async fn withdraw(
        &self,
        key: &str,
        mine: Compare,
    ) -> Result<ReleaseRet, LockError> {
        let lease = PutOptions::new().with_lease(self.lease);
        let raise = TxnOp::put(self.fence_key.as_str(), "", Some(lease));
        let txn =
            Txn::new().when([mine]).and_then([TxnOp::delete(key, None), raise.clone()]).or_else([raise]);
        match self.txn(txn, self.patience()).await {
            Ok(answer) => {
                self.fence.fetch_max(revision(&answer)?, Ordering::AcqRel);
                Ok(if answer.succeeded() { ReleaseRet::Released } else { ReleaseRet::AlreadyLost })
            }
            // Nothing can be put on a lease that is gone.
            Err(TxnError::LeaseGone) => Err(self.gone()),
            Err(TxnError::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }

    /// Deletes the key if it is still the one that the grant's token names.
    pub(in crate::backends) async fn release_by_revision(
        &self,
        key: String,
        grant: &Grant,
    ) -> Result<ReleaseRet, LockError> {
        let revision = grant.token.map_or(0, |token| token.sequence).cast_signed();
        self.delete_if(Compare::create_revision(key.as_str(), CompareOp::Equal, revision), key).await
    }

    /// Deletes the key if that holds.
    pub(in crate::backends) async fn delete_if(
        &self,
        mine: Compare,
        key: String,
    ) -> Result<ReleaseRet, LockError> {
        let txn = Txn::new().when([mine]).and_then([TxnOp::delete(key, None)]);
        match self.txn(txn, self.patience()).await {
            Ok(answer) if answer.succeeded() => Ok(ReleaseRet::Released),
            Ok(_) | Err(TxnError::LeaseGone) => Ok(ReleaseRet::AlreadyLost),
            Err(TxnError::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }

    pub(in crate::backends) async fn txn(&self, txn: Txn, limit: Duration) -> Result<TxnResponse, TxnError> {
        self.operations.fetch_add(1, Ordering::Relaxed);
        let (place, client) = self.members.current();
        let why = match timeout(limit, client.kv_client().txn(txn)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if lease_not_found(&error) => return Err(TxnError::LeaseGone),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.members.leave(place);
        Err(TxnError::Unanswered(why))
    }

    /// Which of the keys exist.
    pub(super) async fn exist(&self, keys: &[String]) -> Result<Vec<bool>, LockError> {
        let keys_only = GetOptions::new().with_keys_only();
        let reads: Vec<_> =
            keys.iter().map(|key| TxnOp::get(key.as_str(), Some(keys_only.clone()))).collect();
        match self.txn(Txn::new().and_then(reads), self.ttl / 4).await {
            Ok(answer) => (0..keys.len()).map(|place| Ok(first_key(&answer, place)?.is_some())).collect(),
            Err(error) => Err(LockError::Unavailable(error.to_string())),
        }
    }

    /// The first key found.
    pub(in crate::backends) async fn first_key(
        &self,
        key: String,
        options: Option<GetOptions>,
    ) -> Result<Option<KeyValue>, LockError> {
        self.operations.fetch_add(1, Ordering::Relaxed);
        let (place, client) = self.members.current();
        let why = match timeout(self.patience(), client.kv_client().get(key, options)).await {
            Ok(Ok(read)) => return Ok(read.kvs().first().cloned()),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.members.leave(place);
        Err(LockError::Unavailable(why))
    }

    /// The value of the first key found.
    pub(in crate::backends) async fn first_value(
        &self,
        key: String,
        options: Option<GetOptions>,
    ) -> Result<Option<String>, LockError> {
        let first = self.first_key(key, options).await?;
        Ok(first.map(|kv| String::from_utf8_lossy(kv.value()).into_owned()))
    }

    pub(in crate::backends) fn grant(
        &self,
        name: &Arc<str>,
        request: &Request,
        revision: i64,
    ) -> Result<Grant, LockError> {
        self.ensure_alive()?;
        Ok(Grant {
            keys: vec![name.clone()],
            owner: request.owner.clone(),
            token: Some(Token { generation: 0, sequence: revision.unsigned_abs() }),
            validity: Validity::Until(self.valid_until.load(Ordering::Acquire)),
        })
    }
}

/// Why a transaction has no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::backends) enum TxnError {
    #[error("the lease is gone")]
    LeaseGone,
    /// It may or may not have been applied.
    #[error("{0}")]
    Unanswered(String),
}

fn lease_not_found(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().contains("requested lease not found"))
}

pub(in crate::backends) fn revision(answer: &TxnResponse) -> Result<i64, LockError> {
    let header = answer.header().ok_or_else(|| LockError::Protocol("answer without a header".to_owned()))?;
    Ok(header.revision())
}

/// The first key of the read at that place of a transaction.
pub(in crate::backends) fn first_key(
    answer: &TxnResponse,
    place: usize,
) -> Result<Option<KeyValue>, LockError> {
    match answer.op_responses().into_iter().nth(place) {
        Some(TxnOpResponse::Get(read)) => Ok(read.kvs().first().cloned()),
        _ => Err(LockError::Protocol("unexpected answers in a transaction".to_owned())),
    }
}
