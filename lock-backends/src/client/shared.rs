//! What the client, the attempts under way and the guards share, and the task that keeps the leases and ends the session.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::counts::Counters;
use super::lease::Leases;
use super::options::ClientOptions;
use super::queue::LocalQueues;
use crate::session::{Capabilities, LockError, LockSession, Mode, Now, Request};

/// Whether to wait for the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Wait,
    Try,
}

/// What the client, its tasks and its keeper share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) session: Arc<dyn LockSession>,
    pub(super) capabilities: Capabilities,
    pub(super) options: ClientOptions,
    pub(super) now: Arc<dyn Now>,
    pub(super) queues: Arc<LocalQueues>,
    pub(super) leases: Leases,
    pub(super) counters: Counters,
    /// Notified a few times per [`ClientOptions::answer_grace`]: a timer for each request that waits for its
    /// answer would wake the runtime's timer driver for each of them.
    pub(super) tick: Notify,
    /// What closing waits for: requests under way, and those whose callers left, each a task of its own.
    pub(super) tasks: TaskTracker,
    /// Where those tasks run: a guard may be dropped anywhere.
    pub(super) runtime: Handle,
    /// Fires when the client closes: waiters are refused, holders are told and released.
    pub(super) closing: CancellationToken,
    /// Fires when closing took too long: tasks are dropped where they are.
    pub(super) stop: CancellationToken,
}

impl Shared {
    /// Keeps the leases until the client closes, then sees the releases out and ends the session.
    pub(super) async fn keep(self: Arc<Self>, ttl: Duration) {
        let session_lost = self.session.lost();
        tokio::select! {
            biased;
            () = self.closing.cancelled() => {}
            () = self.keep_leases(ttl, &session_lost) => {}
            () = self.ticking() => {}
        }
        for lease in self.leases.lose_all() {
            let shared = Arc::clone(&self);
            self.go_on(async move { shared.session.release(&lease.grant).await });
        }
        self.tasks.close();
        let within = self.options.close_within;
        if timeout(within, self.tasks.wait()).await.is_err() {
            tracing::warn!(tasks = self.tasks.len(), "closing with releases unanswered");
        }
        self.stop.cancel();
        self.tick.notify_waiters();
        if timeout(within, self.session.close()).await.is_err() {
            tracing::warn!("the session did not close in time");
        }
        session_lost.cancel();
    }

    /// Until the session is lost, and then idles.
    async fn keep_leases(&self, ttl: Duration, session_lost: &CancellationToken) {
        tokio::select! {
            biased;
            () = session_lost.cancelled() => drop(self.leases.lose_all()),
            () = self.leases.watch(&*self.now, ttl, session_lost) => {}
            () = self.leases.renew(&*self.session, ttl) => {}
        }
        std::future::pending().await
    }

    /// Drives work on whose caller left, until it ends or closing took too long.
    pub(super) fn go_on(self: &Arc<Self>, work: impl Future<Output: Send> + Send + 'static) {
        let stop = self.stop.clone();
        let task = async move { drop(stop.run_until_cancelled(work).await) };
        self.tasks.spawn_on(task, &self.runtime);
    }

    /// Lets the requests under way look at the clock, for ever.
    async fn ticking(&self) {
        let period = (self.options.answer_grace / 4).max(Duration::from_millis(10));
        loop {
            tokio::time::sleep(period).await;
            self.tick.notify_waiters();
        }
    }

    /// Refuses what cannot be granted, before it costs anything.
    pub(super) fn admit(&self, request: &Request, patience: Patience) -> Result<(), LockError> {
        if self.closing.is_cancelled() {
            return Err(LockError::Unavailable("the client is closed".into()));
        }
        if self.session.lost().is_cancelled() {
            return Err(LockError::SessionLost("before the request".into()));
        }
        match (request.keys.len(), request.level) {
            (0, _) => return Err(LockError::Unsupported("a request without keys")),
            (_, 0) => return Err(LockError::Unsupported("level 0: nothing to lock")),
            (2.., 2..) => return Err(LockError::Unsupported("several keys at a level above 1")),
            _ => {}
        }
        if request.mode == Mode::Shared && !self.capabilities.shared_mode {
            return Err(LockError::Unsupported("shared mode"));
        }
        if patience == Patience::Wait && request.deadline_ns <= self.now.now_ns() {
            return Err(LockError::TimedOut);
        }
        Ok(())
    }

    /// When a caller is told that the server did not answer.
    pub(super) fn due_ns(&self, deadline_ns: u64) -> u64 {
        let grace_ns = u64::try_from(self.options.answer_grace.as_nanos()).unwrap_or(u64::MAX);
        deadline_ns.max(self.now.now_ns()).saturating_add(grace_ns)
    }
}
