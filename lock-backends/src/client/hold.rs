//! What an attempt has taken and a guard holds, and how it is given back.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::lease::Lease;
use super::queue::Ticket;
use super::shared::Shared;
use crate::session::{Grant, LockError, ReleaseRet, Validity};

/// First pause between two tries to give a doubtful grant back; doubles up to [`SETTLE_MAX`].
const SETTLE_FIRST: Duration = Duration::from_millis(10);
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Taken keys with their places in the local lines.
///
/// Invariant: a line's turn is passed on only when the server has answered for good.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) shared: Arc<Shared>,
    /// The guard's lost signal.
    pub(super) lost: CancellationToken,
    pub(super) tickets: Vec<Ticket>,
    pub(super) leases: Vec<Arc<Lease>>,
    /// Grants that may stand at the server: to be released until it answers.
    pub(super) doubtful: Vec<Arc<Grant>>,
    /// Whether its end is to be counted: it was counted as a grant.
    pub(super) counted: bool,
}

impl Hold {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            lost: shared.session.lost().child_token(),
            tickets: Vec::new(),
            leases: Vec::new(),
            doubtful: Vec::new(),
            counted: false,
        }
    }

    /// Keeps what the server granted. What is over already, because its answer was late, is lost at once.
    pub(super) fn add(&mut self, grant: Grant) {
        if matches!(grant.validity, Validity::Until(stamp) if stamp <= self.shared.now.now_ns()) {
            self.lost.cancel();
        }
        self.leases.push(self.shared.leases.add(grant, &self.lost));
    }

    /// Releases everything once; what the server did not answer for becomes doubtful.
    pub(super) async fn give_back(&mut self) -> Result<ReleaseRet, LockError> {
        let leases = std::mem::take(&mut self.leases);
        let mut whole = Ok(ReleaseRet::Released);
        // Out of the table before the first is sent: from then on none is renewed.
        let mine: Vec<bool> = leases.iter().map(|lease| self.shared.leases.remove(lease)).collect();
        for (lease, mine) in leases.iter().zip(mine).rev() {
            if !mine && self.shared.closing.is_cancelled() {
                // The closing client gives it back.
                whole = whole.map(|_| ReleaseRet::AlreadyLost);
                continue;
            }
            match self.shared.session.release(&lease.grant).await {
                Ok(ReleaseRet::Released) => {}
                // The session took everything with it.
                Ok(ReleaseRet::AlreadyLost) | Err(LockError::SessionLost(_)) => {
                    whole = whole.map(|_| ReleaseRet::AlreadyLost);
                }
                Err(error) => {
                    tracing::warn!(%error, keys = ?lease.grant.keys, "release not answered");
                    self.doubtful.push(Arc::clone(&lease.grant));
                    whole = Err(error);
                }
            }
        }
        whole
    }

    /// Ends a guard: gives everything back and passes the turns on. `told`: the caller was told meanwhile that the
    /// outcome is unknown.
    pub(super) async fn end(mut self, told: Option<Arc<AtomicBool>>) -> Result<ReleaseRet, LockError> {
        let ret = self.give_back().await;
        if self.counted && !told.is_some_and(|told| told.load(Relaxed)) {
            self.shared.counters.gave_back(&ret);
        }
        self.settle();
        ret
    }

    /// Passes the turns on before the caller hears of the end, so that it finds its key free; but while the server
    /// owes an answer, a task of the client releases what is doubtful until it comes, and only then.
    pub(super) fn settle(mut self) {
        if self.doubtful.is_empty() {
            self.tickets.clear();
        } else {
            let shared = Arc::clone(&self.shared);
            shared.go_on(self.settled());
        }
    }

    async fn settled(self) {
        let mut pause = SETTLE_FIRST;
        for grant in &self.doubtful {
            loop {
                match self.shared.session.release(grant).await {
                    Ok(_) | Err(LockError::SessionLost(_)) => break,
                    Err(error @ (LockError::Protocol(_) | LockError::Unsupported(_))) => {
                        tracing::error!(%error, keys = ?grant.keys, "cannot give back");
                        break;
                    }
                    Err(_) => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(SETTLE_MAX);
            }
        }
    }
}
