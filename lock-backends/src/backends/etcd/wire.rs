//! The way of transactions to the server. A few go by themselves; those that come while these are on their way wait and go
//! together, as the nested transactions of one, each of which decides for itself. One entry in the server's log then
//! serves many locks.
//!
//! ```text
//!  a few    txn ──▶ ······ ◀── answer
//!  more      txn ─┐
//!             txn ┴─ wait ──▶ one transaction of two ······ ◀── an answer each
//! ```
//!
//! Invariant: of one lock there is at most one in a batch. A batch has one revision, which could not tell two apart.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::TXN_MAX;
use super::members::Members;
use crate::session::LockError;

/// Transactions that may be on their way by themselves: as many as the server serves about as fast as one.
const ALONE_MAX: usize = 4;
/// Transactions that may wait to be sent; more wait in their callers.
const PENDING_MAX: usize = 4096;

pub(super) struct Wire {
    members: Arc<Members>,
    operations: Arc<AtomicU64>,
    alone: Semaphore,
    pending: mpsc::Sender<Pending>,
}

/// A transaction that waits to be sent. A dropped reply means that the session ended before.
pub(super) struct Pending {
    /// The lock that it is about.
    name: Arc<str>,
    txn: Txn,
    reply: oneshot::Sender<Result<Answer, TxnError>>,
}

/// What came of a transaction.
#[derive(Debug)]
pub(in crate::backends) struct Answer {
    /// Whether its comparisons held.
    pub(in crate::backends) succeeded: bool,
    /// Revision of the server with it: that of all that it put.
    pub(in crate::backends) revision: i64,
    parts: Vec<TxnOpResponse>,
}

/// Why a transaction has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(in crate::backends) enum TxnError {
    #[error("the lease is gone")]
    LeaseGone,
    /// It may or may not have been applied.
    #[error("{0}")]
    Unanswered(String),
}

impl Wire {
    pub(super) fn new(
        members: Arc<Members>,
        operations: Arc<AtomicU64>,
    ) -> (Arc<Self>, mpsc::Receiver<Pending>) {
        let (pending, inbox) = mpsc::channel(PENDING_MAX);
        let alone = Semaphore::new(ALONE_MAX);
        (Arc::new(Self { members, operations, alone, pending }), inbox)
    }

    /// Sends a transaction by itself.
    pub(super) async fn send(&self, txn: Txn, limit: Duration) -> Result<Answer, TxnError> {
        self.operations.fetch_add(1, Ordering::Relaxed);
        let (place, client) = self.members.current();
        let why = match timeout(limit, client.kv_client().txn(txn)).await {
            Ok(Ok(answer)) => match answer.header().map(|header| header.revision()) {
                Some(revision) => return Ok(Answer::new(&answer, revision)),
                None => "answer without a header".to_owned(),
            },
            Ok(Err(error)) if lease_not_found(&error) => return Err(TxnError::LeaseGone),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.members.leave(place);
        Err(TxnError::Unanswered(why))
    }

    /// Sends a transaction about a lock, together with others if there are many.
    pub(super) async fn join(&self, name: &str, txn: Txn, limit: Duration) -> Result<Answer, TxnError> {
        let nobody_waits = self.pending.capacity() == PENDING_MAX;
        if nobody_waits && let Ok(_alone) = self.alone.try_acquire() {
            return self.send(txn, limit).await;
        }
        let (reply, answer) = oneshot::channel();
        let sent = async {
            self.pending.send(Pending { name: name.into(), txn, reply }).await.ok()?;
            answer.await.ok()
        };
        match timeout(limit, sent).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(TxnError::Unanswered("the session ended".to_owned())),
            Err(_) => Err(TxnError::Unanswered("no answer in time".to_owned())),
        }
    }

    /// Sends what waits, batch after batch, until the session is lost.
    pub(super) async fn run(
        self: Arc<Self>,
        mut inbox: mpsc::Receiver<Pending>,
        limit: Duration,
        lost: CancellationToken,
    ) {
        let mut waiting = Vec::new();
        let serving = async {
            loop {
                if waiting.is_empty() && inbox.recv_many(&mut waiting, TXN_MAX).await == 0 {
                    return;
                }
                while waiting.len() < TXN_MAX
                    && let Ok(next) = inbox.try_recv()
                {
                    waiting.push(next);
                }
                self.serve(next_batch(&mut waiting), limit).await;
            }
        };
        lost.run_until_cancelled(serving).await;
    }

    async fn serve(&self, batch: Vec<Pending>, limit: Duration) {
        let (nested, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (TxnOp::txn(pending.txn), pending.reply)).unzip();
        if nested.is_empty() {
            return;
        }
        // Nobody takes the answer of a caller who left: what it did is withdrawn by others.
        match self.send(Txn::new().and_then(nested), limit).await {
            Ok(whole) => {
                for (part, reply) in whole.parts.into_iter().zip(replies) {
                    if let TxnOpResponse::Txn(part) = part {
                        reply.send(Ok(Answer::new(&part, whole.revision))).ok();
                    }
                }
            }
            Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
        }
    }
}

/// One of each lock, in the order in which they came; the others go with the next batch. Whose callers left are not sent.
fn next_batch(waiting: &mut Vec<Pending>) -> Vec<Pending> {
    waiting.retain(|pending| !pending.reply.is_closed());
    let mut names = HashSet::new();
    waiting.extract_if(.., |pending| names.insert(Arc::clone(&pending.name))).collect()
}

impl Answer {
    /// Of a nested transaction, whose header says nothing, the revision is that of the whole.
    fn new(answer: &TxnResponse, revision: i64) -> Self {
        Self { succeeded: answer.succeeded(), revision, parts: answer.op_responses() }
    }

    /// The keys that were read by the operation at that place.
    pub(in crate::backends) fn keys(&self, place: usize) -> Result<&[KeyValue], LockError> {
        match self.parts.get(place) {
            Some(TxnOpResponse::Get(read)) => Ok(read.kvs()),
            _ => Err(LockError::Protocol("unexpected answers in a transaction".to_owned())),
        }
    }

    /// The first of them.
    pub(in crate::backends) fn first_key(&self, place: usize) -> Result<Option<KeyValue>, LockError> {
        Ok(self.keys(place)?.first().cloned())
    }
}

fn lease_not_found(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status) if status.message().contains("requested lease not found"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(name: &str) -> (Pending, oneshot::Receiver<Result<Answer, TxnError>>) {
        let (reply, answer) = oneshot::channel();
        (Pending { name: name.into(), txn: Txn::new(), reply }, answer)
    }

    #[test]
    fn a_batch_holds_one_of_each_lock_and_nobody_who_left() {
        let (mut waiting, mut answers): (Vec<_>, Vec<_>) =
            ["a", "b", "a", "c", "a"].map(pending).into_iter().unzip();
        answers.remove(1);
        let mut names = || -> Vec<String> {
            next_batch(&mut waiting).iter().map(|pending| pending.name.to_string()).collect()
        };
        assert_eq!(names(), ["a", "c"]);
        assert_eq!(names(), ["a"]);
        assert_eq!(names(), ["a"]);
        assert!(names().is_empty());
    }
}
