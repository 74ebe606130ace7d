//! What a waiter knows of its tries, and what it makes of that.

use std::time::Duration;

use crate::session::{LockError, OwnerId};

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
    /// A try was answered on this connection: a lost answer before it was a refusal too, since commands of one
    /// connection are executed in their order.
    pub(super) fn refused(&mut self, connection: u64) {
        self.unreached = None;
        self.doubt = self.doubt.filter(|doubt| *doubt != connection);
    }

    /// How long to wait after this failure, if there is sense in another try.
    pub(super) fn failed(&mut self, error: LockError, connection: u64) -> Result<Duration, LockError> {
        match error {
            LockError::Unknown(_) => _ = self.doubt.get_or_insert(connection),
            LockError::Unavailable(_) => self.unreached = Some(error),
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

    /// The connection on which a try is in doubt.
    pub(super) fn doubt(&self) -> Option<u64> {
        self.doubt
    }

    /// What to say when nothing was ever in doubt.
    pub(super) fn timed_out(&mut self) -> LockError {
        self.unreached.take().unwrap_or(LockError::TimedOut)
    }
}

/// Up to a twentieth of the lease that was waited for, at most 20 ms, drawn from the owner.
pub(super) fn jitter(owner: &OwnerId, left: Duration) -> Duration {
    let most = (left / 20).min(JITTER_MAX).max(Duration::from_millis(2));
    Duration::from_millis(1) + owner.spread(0, most)
}
