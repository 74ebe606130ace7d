//! A place in a queue that a future waits on.

use std::fmt;

use tokio::sync::oneshot;

use super::completion::{Completion, Link, Outcome};
use super::held::Place;
use super::submission::QueueError;
use crate::now::reached;

/// A task's place in its queue. Dropping it takes the task out, or passes on the slot that it was given.
#[must_use = "dropping the turn takes the task out of the queue"]
pub struct Turn {
    state: State,
}

enum State {
    Granted(Completion),
    Waiting(Waiting),
}

struct Waiting {
    link: Link,
    place: Place,
    deadline_ns: u64,
    outcome: oneshot::Receiver<Outcome>,
    /// The task has left the queue, and this turn knows.
    settled: bool,
}

impl Turn {
    pub(super) fn granted_at_once(completion: Completion) -> Self {
        Self { state: State::Granted(completion) }
    }

    pub(super) fn waiting(
        link: Link,
        place: Place,
        deadline_ns: u64,
        outcome: oneshot::Receiver<Outcome>,
    ) -> Self {
        Self { state: State::Waiting(Waiting { link, place, deadline_ns, outcome, settled: false }) }
    }

    /// Waits for the slot, at the longest until the deadline. Needs a tokio runtime with time, for the deadline.
    ///
    /// Cancel safe: dropping the future is dropping the turn.
    ///
    /// # Errors
    ///
    /// [`QueueError::TimedOut`] when the deadline passed: the task has left the queue and will not start;
    /// [`QueueError::Shutdown`] when the queues were closed.
    pub async fn granted(self) -> Result<Completion, QueueError> {
        match self.state {
            State::Granted(completion) => Ok(completion),
            State::Waiting(waiting) => waiting.granted().await,
        }
    }
}

impl Waiting {
    async fn granted(mut self) -> Result<Completion, QueueError> {
        let outcome = if self.deadline_ns == u64::MAX {
            (&mut self.outcome).await.unwrap_or(Err(QueueError::Shutdown))
        } else {
            // A timer is large, and most have none.
            Box::pin(self.granted_in_time()).await
        };
        self.settled = true;
        outcome
    }

    async fn granted_in_time(&mut self) -> Result<Completion, QueueError> {
        let outcome = tokio::select! {
            biased;
            outcome = &mut self.outcome => outcome,
            () = reached(&*self.link.node.now, self.deadline_ns) => {
                if self.withdraw() {
                    return Err(QueueError::TimedOut);
                }
                // The outcome was decided just before and is on its way.
                (&mut self.outcome).await
            }
        };
        outcome.unwrap_or(Err(QueueError::Shutdown))
    }
}

impl Waiting {
    fn withdraw(&self) -> bool {
        self.link.shard(self.place.shard).withdraw(&self.place)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.outcome.close();
        if self.outcome.try_recv().is_err() {
            self.withdraw();
        }
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Granted(_) => "granted",
            State::Waiting(_) => "waiting",
        };
        f.debug_tuple("Turn").field(&state).finish()
    }
}
