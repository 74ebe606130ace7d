//! The owner's side: takes tasks into the queue and runs the handler when their turn comes.

use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::directory::{Drained, Errand, Neighbour};
use super::room::{Place, Room};
use super::takeover::{Ownership, Takeover};
use super::task::{Delivery, Handler};
use super::wire::{FRAME_OVERHEAD, Refusal};
use crate::future::{BoxFuture, caught};
use crate::queue::{Completion, Entitlement, QueueError, Submission, Token, Turn};
use crate::ring::NodeId;

/// One node as owner of keys.
pub(super) struct Owner {
    pub(super) id: NodeId,
    pub(super) ownership: Ownership,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) frame_bytes: usize,
    /// For what is accepted and has not ended.
    pub(super) room: Arc<Room>,
    /// Every accepted task, from its place in the queue to its answer.
    pub(super) tasks: TaskTracker,
    pub(super) runtime: Handle,
    /// Cancelled when handlers are to stop where they are.
    pub(super) stop: CancellationToken,
}

/// A task that has its place in the queue.
pub(super) struct Accepted {
    errand: Errand,
    turn: Turn,
    epoch: u64,
    place: Place,
}

/// A task that has ended.
pub(super) struct Served {
    pub(super) answer: Result<Bytes, Refusal>,
    /// Until the answer has left.
    pub(super) place: Place,
}

impl Owner {
    /// Room for a task, which it needs before anything of it is kept.
    pub(super) fn room_for(&self, errand: &Errand) -> Result<Place, Refusal> {
        self.room.take(errand.key.len() + errand.payload.len()).ok_or(Refusal::QueueFull)
    }

    /// Checks that this node owns the key and takes the place in the queue, both now.
    pub(super) fn accept(&self, errand: Errand, place: Place) -> Result<Accepted, Refusal> {
        let (epoch, generation) = {
            let view = self.ownership.membership.view();
            let ((owner, generation), epoch) = (view.tenure(&errand.key), view.epoch());
            if owner != Some(self.id) {
                return Err(Refusal::WrongOwner { owner, epoch });
            }
            (epoch, generation)
        };
        let Errand { ref key, level, deadline_ns, .. } = errand;
        let submission = Submission { generation, ..Submission::new(key, level).until(deadline_ns) };
        let turn =
            self.ownership.queues.enqueue(submission).map_err(|error| self.refusal(error, &errand.key))?;
        Ok(Accepted { errand, turn, epoch, place })
    }

    fn refusal(&self, error: QueueError, key: &str) -> Refusal {
        match error {
            QueueError::QueueFull => Refusal::QueueFull,
            QueueError::TimedOut => Refusal::TimedOut,
            QueueError::Purged => Refusal::Failed(error.to_string()),
            QueueError::Shutdown => Refusal::Shutdown,
            QueueError::Moved => {
                let view = self.ownership.membership.view();
                Refusal::WrongOwner { owner: view.owner(key), epoch: view.epoch() }
            }
        }
    }

    /// Waits for the slot, and for whatever the takeover has a task wait for.
    async fn admitted(
        &self,
        turn: Turn,
        key: &str,
        deadline_ns: u64,
    ) -> Result<(Completion, Entitlement), Refusal> {
        let completion = turn.granted().await.map_err(|error| self.refusal(error, key))?;
        let mut entitlement = completion.entitlement();
        if self.ownership.takeover != Takeover::Faithful {
            match self.ownership.may_start(key, deadline_ns).await {
                // The key may have come back since the task was accepted.
                Ok(generation) => {
                    entitlement.token = entitlement.token.map(|token| Token { generation, ..token });
                }
                Err(refusal) => {
                    completion.done();
                    return Err(refusal);
                }
            }
        }
        Ok((completion, entitlement))
    }

    /// Waits for the turn and runs the handler. `None` if it was cancelled before it started: then it never starts.
    /// Once started it runs to its end. The answer takes up its place until it has left.
    pub(super) async fn serve(&self, accepted: Accepted, cancelled: oneshot::Receiver<()>) -> Option<Served> {
        let Accepted { errand: Errand { key, payload, deadline_ns, .. }, turn, epoch, mut place } = accepted;
        let admitted = tokio::select! {
            biased;
            admitted = self.admitted(turn, &key, deadline_ns) => admitted,
            _ = cancelled => return None,
        };
        let (completion, entitlement) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return Some(Served { answer: Err(refusal), place }),
        };
        let delivery = Delivery { key, payload, deadline_ns, epoch, entitlement };
        let running = caught(async { self.handler.run(delivery).await });
        // In this order one that ends at once does not wait for the stop, which would be entered in a list for all tasks.
        let ended = tokio::select! {
            biased;
            ended = running => Some(ended),
            () = self.stop.cancelled() => None,
        };
        let answer = match ended {
            Some(Ok(answer)) if answer.len() + FRAME_OVERHEAD <= self.frame_bytes => Ok(answer),
            Some(Ok(answer)) => Err(Refusal::Failed(format!(
                "an answer of {} bytes exceeds the bound of frames",
                answer.len()
            ))),
            Some(Err(panic)) => Err(Refusal::Failed(format!("the handler panicked: {panic}"))),
            None => Err(Refusal::Unknown(format!("the handler was stopped with node {}", self.id))),
        };
        if answer.is_ok() {
            completion.done();
        }
        // Dropped before the answer leaves: who sees the answer may count on the slot being free.
        drop(completion);
        place.hold(answer.as_ref().map_or(0, Bytes::len));
        Some(Served { answer, place })
    }

    /// [`Owner::accept`] and [`Owner::serve`] for a submitter in this process. The handler runs in a task of this
    /// node; a dropped future cancels it if it has not started.
    pub(super) async fn submit(self: &Arc<Self>, errand: Errand) -> Result<Bytes, Refusal> {
        let place = self.room_for(&errand)?;
        self.ownership.catch_up(errand.epoch, errand.deadline_ns).await;
        let accepted = self.accept(errand, place)?;
        let (answer, answered) = oneshot::channel();
        let (_cancel, cancelled) = oneshot::channel();
        let owner = Arc::clone(self);
        let serving = async move {
            if let Some(served) = owner.serve(accepted, cancelled).await {
                // Nobody listens any more if the submitter was dropped after the start.
                drop(answer.send(served.answer));
            }
        };
        self.tasks.spawn_on(serving, &self.runtime);
        let stopped = || Refusal::Unknown(format!("the runtime of node {} stopped", self.id));
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl Neighbour for Owner {
    fn run(self: Arc<Self>, errand: Errand) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        Box::pin(async move { self.submit(errand).await })
    }

    fn drained<'a>(&'a self, epoch: u64, key: &'a str) -> BoxFuture<'a, Drained> {
        Box::pin(self.ownership.drained(epoch, key))
    }
}
