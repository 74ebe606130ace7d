//! What a waiter knows of its tries, and what it makes of that.

use std::time::Duration;

use super::node::Asked;
use crate::session::{Grant, LockError, OwnerId, ReleaseRet};

/// First pause after a failed try; doubles up to [`RETRY_MAX`].
pub(super) const RETRY_FIRST: Duration = Duration::from_millis(5);
pub(super) const RETRY_MAX: Duration = Duration::from_millis(200);

/// Waiters of one lock try at different moments after a lease ended.
const JITTER_MAX: Duration = Duration::from_millis(20);

/// The tries of one attempt.
#[derive(Debug)]
pub(super) struct Tries {
    /// The connection on which a try stayed unanswered: a grant may stand.
    doubt: Option<u64>,
    /// Why the last try did not reach the server.
    unreached: Option<LockError>,
    retry: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { doubt: None, unreached: None, retry: RETRY_FIRST }
    }
}

impl Tries {
    /// A try was refused, and this is the connection since: a lost answer before it was a refusal too, since commands of
    /// one connection are executed in their order.
    pub(super) fn refused(&mut self, connection: u64) {
        self.unreached = None;
        self.doubt = self.doubt.filter(|doubt| *doubt != connection);
    }

    /// How long to wait after this failure of a try that began on this connection, if there is sense in another one.
    pub(super) fn failed(&mut self, error: LockError, connection: u64) -> Result<Duration, LockError> {
        match error {
            LockError::Unknown(_) => _ = self.doubt.get_or_insert(connection),
            LockError::Unavailable(_) => self.unreached = Some(error),
            error if self.doubt.is_some() => return Err(LockError::Unknown(error.to_string())),
            error => return Err(error),
        }
        Ok(self.back_off(RETRY_MAX))
    }

    /// The next pause.
    pub(super) fn back_off(&mut self, most: Duration) -> Duration {
        let pause = self.retry;
        self.retry = (pause * 2).min(most);
        pause
    }

    /// Begins again with the shortest pause.
    pub(super) fn hurry(&mut self) {
        self.retry = RETRY_FIRST;
    }

    /// Whether a try is in doubt: a grant may stand.
    pub(super) fn in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// What to say when nothing is in doubt.
    pub(super) fn timed_out(&mut self) -> LockError {
        self.unreached.take().unwrap_or(LockError::TimedOut)
    }

    /// What to say after a withdrawal by owner, and this is the connection since. It proves that no grant can follow if it
    /// came behind every request that stayed unanswered.
    pub(super) fn withdrawn(&self, answer: Result<ReleaseRet, LockError>, connection: u64) -> LockError {
        match (answer, self.doubt) {
            (Ok(_), Some(doubt)) if doubt != connection => {
                LockError::Unknown("withdrawn on another connection than asked".into())
            }
            (Ok(_), _) => LockError::TimedOut,
            (Err(error), _) => LockError::Unknown(error.to_string()),
        }
    }
}

/// Asks, and once more if there was no answer. The second one tells what came of the first: a grant is this owner's
/// whichever took it, a refusal says so of both if they went over one connection. Anything else leaves the first in doubt.
pub(super) async fn asked_twice<F>(
    connection: impl Fn() -> u64,
    ask: impl Fn() -> F,
) -> Result<Option<Grant>, LockError>
where
    F: Future<Output = Result<Asked, LockError>>,
{
    let first = connection();
    match ask().await {
        Err(LockError::Unknown(_)) => {}
        answered => return answered.map(Asked::granted),
    }
    match ask().await {
        Ok(Asked::Granted(grant)) => Ok(Some(grant)),
        Ok(Asked::Held(_)) if connection() == first => Ok(None),
        Ok(Asked::Held(_)) => {
            Err(LockError::Unknown("refused on another connection than first asked".into()))
        }
        Err(error) => Err(LockError::Unknown(error.to_string())),
    }
}

/// Up to a twentieth of the lease that was waited for, at most 20 ms, drawn from the owner.
pub(super) fn jitter(owner: &OwnerId, left: Duration) -> Duration {
    let most = (left / 20).min(JITTER_MAX).max(Duration::from_millis(2));
    Duration::from_millis(1) + owner.spread(0, most)
}
