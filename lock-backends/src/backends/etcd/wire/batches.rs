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
use std::time::Duration;

use etcd_client::{TxnOp, TxnOpResponse, TxnResponse};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::members::Members;
use super::words;
use crate::backends::etcd::requests::{Answer, Failure, TXN_MAX, Txn};
use crate::session::{Operations, Purpose};

/// Transactions that may be on their way by themselves: as many as the server serves about as fast as one.
const ALONE_MAX: usize = 4;
/// Transactions that may wait to be sent; more wait in their callers.
const PENDING_MAX: usize = 4096;

pub(super) struct Batches {
    members: Arc<Members>,
    operations: Arc<Operations>,
    alone: Semaphore,
    pending: mpsc::Sender<Pending>,
}

/// A transaction that waits to be sent. A dropped reply means that the session ended before.
pub(super) struct Pending {
    /// The lock that it is about.
    name: Arc<str>,
    txn: Txn,
    purpose: Purpose,
    reply: oneshot::Sender<Result<Answer, Failure>>,
}

impl Batches {
    pub(super) fn new(
        members: Arc<Members>,
        operations: Arc<Operations>,
    ) -> (Arc<Self>, mpsc::Receiver<Pending>) {
        let (pending, inbox) = mpsc::channel(PENDING_MAX);
        let alone = Semaphore::new(ALONE_MAX);
        (Arc::new(Self { members, operations, alone, pending }), inbox)
    }

    /// Sends a transaction by itself.
    pub(super) async fn send(&self, txn: Txn, limit: Duration) -> Result<Answer, Failure> {
        let (answer, revision) = self.transact(words::txn(txn), limit).await?;
        Ok(words::answer(&answer, revision))
    }

    async fn transact(&self, txn: etcd_client::Txn, limit: Duration) -> Result<(TxnResponse, i64), Failure> {
        self.operations.add(1);
        let (place, client) = self.members.current();
        let failure = match timeout(limit, client.kv_client().txn(txn)).await {
            Ok(Ok(answer)) => match answer.header().map(|header| header.revision()) {
                Some(revision) => return Ok((answer, revision)),
                None => Failure::Unanswered("answer without a header".to_owned()),
            },
            Ok(Err(error)) => words::failure(&error),
            Err(_) => Failure::Unanswered("no answer in time".to_owned()),
        };
        if matches!(failure, Failure::Unanswered(_)) {
            self.members.leave(place);
        }
        Err(failure)
    }

    /// Sends a transaction about a lock, together with others if there are many.
    pub(super) async fn join(&self, name: &str, txn: Txn, limit: Duration) -> Result<Answer, Failure> {
        let nobody_waits = self.pending.capacity() == PENDING_MAX;
        if nobody_waits && let Ok(_alone) = self.alone.try_acquire() {
            return self.send(txn, limit).await;
        }
        let (reply, answer) = oneshot::channel();
        let sent = async {
            self.pending
                .send(Pending { name: name.into(), txn, purpose: Purpose::current(), reply })
                .await
                .ok()?;
            answer.await.ok()
        };
        match timeout(limit, sent).await {
            Ok(Some(answer)) => answer,
            Ok(None) => Err(Failure::Unanswered("the session ended".to_owned())),
            Err(_) => Err(Failure::Unanswered("no answer in time".to_owned())),
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
        let purpose = Purpose::of_all(batch.iter().map(|pending| pending.purpose));
        let (nested, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (TxnOp::txn(words::txn(pending.txn)), pending.reply)).unzip();
        if nested.is_empty() {
            return;
        }
        // Nobody takes the answer of a caller who left: what it did is withdrawn by others.
        match purpose.scope(self.transact(etcd_client::Txn::new().and_then(nested), limit)).await {
            Ok((whole, revision)) => {
                for (part, reply) in whole.op_responses().into_iter().zip(replies) {
                    if let TxnOpResponse::Txn(part) = part {
                        reply.send(Ok(words::answer(&part, revision))).ok();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(name: &str) -> (Pending, oneshot::Receiver<Result<Answer, Failure>>) {
        let (reply, answer) = oneshot::channel();
        (Pending { name: name.into(), txn: Txn::default(), purpose: Purpose::Work, reply }, answer)
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
