//! A submitted job in the hands of who waits for its outcome.

use std::fmt;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::job::{JobError, JobOutcome};
use super::shared::Shared;
use crate::now::reached;

/// A submitted job, for who waits for its outcome.
///
/// Dropping it leaves the job to run without anybody who is told.
#[must_use = "the ticket is how the outcome is learnt"]
pub struct Ticket {
    shared: Arc<Shared>,
    number: i64,
    deadline_ns: u64,
    outcome: oneshot::Receiver<JobOutcome>,
}

impl Ticket {
    pub(super) fn register(shared: &Arc<Shared>, deadline_ns: u64) -> Result<Self, JobError> {
        let (number, outcome) = shared.issuer.register().ok_or(JobError::QueueFull)?;
        Ok(Self { shared: Arc::clone(shared), number, deadline_ns, outcome })
    }

    pub(super) fn number(&self) -> i64 {
        self.number
    }

    /// Waits for the outcome. When the deadline passes, a job that has not started is withdrawn; one that has started
    /// is waited for, as long as the database answers.
    ///
    /// Cancel safe: dropping the future is dropping the ticket.
    ///
    /// # Errors
    ///
    /// [`JobError::Unknown`] when the database has not answered until grace after the deadline, or this node was
    /// declared dead and the job had no outcome by then; [`JobError::Shutdown`].
    pub async fn outcome(mut self) -> Result<JobOutcome, JobError> {
        let shared = Arc::clone(&self.shared);
        let issuer = &shared.issuer;
        loop {
            tokio::select! {
                biased;
                outcome = &mut self.outcome => return outcome.map_err(|_| shared.ended_unknown()),
                () = reached(&*issuer.now, self.deadline_ns) => {}
            }
            issuer.waiters.overdue().insert(self.number);
            issuer.look();
            if let Ok(outcome) = timeout(shared.options.poll, &mut self.outcome).await {
                return outcome.map_err(|_| shared.ended_unknown());
            }
            if issuer.is_silent_since(self.deadline_ns) {
                return Err(JobError::Unknown("the database does not answer".to_owned()));
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.issuer.waiters.waiting().remove(&self.number);
        self.shared.issuer.waiters.overdue().remove(&self.number);
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("number", &self.number).finish_non_exhaustive()
    }
}
