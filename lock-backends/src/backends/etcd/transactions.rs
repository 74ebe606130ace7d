//! The transactions: each either has an answer, or may have been applied.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp};
use tokio::time::timeout;

use super::Node;
use super::wire::{Answer, TxnError};
use crate::backends::common::answer_within;
use crate::session::{Grant, LockError, ReleaseRet, Request, Token};

impl Node {
    /// Holds while nothing was withdrawn since: to be part of every transaction that takes a key.
    pub(in crate::backends) fn fence(&self) -> Result<Compare, LockError> {
        self.ensure_alive()?;
        Ok(self.fence_is(self.fence.load(Ordering::Acquire)))
    }

    fn fence_is(&self, revision: i64) -> Compare {
        Compare::mod_revision(self.fence_key.as_str(), CompareOp::Equal, revision)
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
        answer_within(request, &*self.now, self.patience())
    }

    /// Deletes the key if `mine` holds, and makes sure that nothing that was sent before changes it later, neither a put
    /// nor an earlier withdrawal; says whether it was there.
    pub(in crate::backends) async fn withdraw(
        &self,
        key: &str,
        mine: Compare,
    ) -> Result<ReleaseRet, LockError> {
        // One after the other: each raises the fence that the next compares.
        let Ok(_turn) = timeout(self.patience(), self.withdrawing.lock()).await else {
            return Err(LockError::Unknown("earlier withdrawals are not answered".to_owned()));
        };
        let lease = PutOptions::new().with_lease(self.lease);
        let raise = TxnOp::put(self.fence_key.as_str(), "", Some(lease));
        loop {
            let fence = self.fence.load(Ordering::Acquire);
            let txn = Txn::new()
                .when([mine.clone(), self.fence_is(fence)])
                .and_then([TxnOp::delete(key, None), raise.clone()])
                .or_else([self.read_fence(), raise.clone()]);
            let answer = match self.wire.send(txn, self.patience()).await {
                Ok(answer) => answer,
                // Nothing can be put on a lease that is gone.
                Err(TxnError::LeaseGone) => return Err(self.gone()),
                Err(TxnError::Unanswered(why)) => return Err(LockError::Unknown(why)),
            };
            self.fence.fetch_max(answer.revision, Ordering::AcqRel);
            if answer.succeeded {
                return Ok(ReleaseRet::Released);
            }
            let before = answer.first_key(0)?.ok_or_else(|| self.gone())?;
            if before.mod_revision() == fence {
                return Ok(ReleaseRet::AlreadyLost);
            }
            // An earlier withdrawal, whose answer was lost, had raised it: again with the present one.
        }
    }

    /// Deletes the lock's key if it is still the one that the grant's token names.
    pub(in crate::backends) async fn release_by_revision(
        &self,
        name: &str,
        key: String,
        grant: &Grant,
    ) -> Result<ReleaseRet, LockError> {
        let revision = grant.token.map_or(0, |token| token.sequence).cast_signed();
        self.delete_if(name, Compare::create_revision(key.as_str(), CompareOp::Equal, revision), key).await
    }

    /// Deletes the lock's key if that holds.
    pub(in crate::backends) async fn delete_if(
        &self,
        name: &str,
        mine: Compare,
        key: String,
    ) -> Result<ReleaseRet, LockError> {
        let txn = Txn::new().when([mine]).and_then([TxnOp::delete(key, None)]);
        match self.txn(name, txn, self.patience()).await {
            Ok(answer) if answer.succeeded => Ok(ReleaseRet::Released),
            Ok(_) | Err(TxnError::LeaseGone) => Ok(ReleaseRet::AlreadyLost),
            Err(TxnError::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }

    /// Sends a transaction about a lock, perhaps together with others.
    pub(in crate::backends) async fn txn(
        &self,
        name: &str,
        txn: Txn,
        limit: Duration,
    ) -> Result<Answer, TxnError> {
        self.wire.join(name, txn, limit).await
    }

    /// Which of the keys exist.
    pub(super) async fn exist(&self, keys: &[String]) -> Result<Vec<bool>, LockError> {
        let keys_only = GetOptions::new().with_keys_only();
        let reads: Vec<_> =
            keys.iter().map(|key| TxnOp::get(key.as_str(), Some(keys_only.clone()))).collect();
        match self.wire.send(Txn::new().and_then(reads), self.ttl / 4).await {
            Ok(answer) => (0..keys.len()).map(|place| Ok(!answer.keys(place)?.is_empty())).collect(),
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
            validity: self.valid_until.validity(),
        })
    }
}
