//! The client of one node: everything about a lock that is not protocol, written once above all backends.

mod attempt;
mod driven;
mod guard;
mod hold;
mod lease;
mod queue;
mod slots;

#[cfg(test)]
mod memory;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::attempt::{Attempt, Patience};
use self::driven::Driven;
pub use self::guard::Guard;
use self::lease::Leases;
use self::queue::{LocalQueues, Order};
use crate::session::{
    Capabilities, Endpoint, LocalFifo, LockBackend, LockError, LockSession, Now, Request, SessionOptions,
    Variant,
};

/// All locks of one node, on its one session.
///
/// Waiters of one key line up here, first come first served, and one of them goes to the server. Callers may
/// drop their futures at any point: a task of the client then drives the request to its end. One timer renews
/// all leases; each guard is told of the end of its lease by this client's own clock.
///
/// A level above 1 is, unless the backend serves it natively, so many keys `key#0`, `key#1` …: slots, not
/// work-conserving.
///
/// ```
/// use std::time::Duration;
/// use lock_backends::{ClientOptions, Endpoint, LockClient, OwnerId, Request, SessionOptions, SinceStart, variant};
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async { let ttl =
/// Duration::from_secs(2); let options = SessionOptions { node: "node-1".into(), ttl, now:
/// std::sync::Arc::new(SinceStart::default()) }; let endpoint = Endpoint(String::new()); let local =
/// variant("local-mutex").expect("always registered"); let client = LockClient::connect(local, &endpoint,
/// options, ClientOptions::default()).await?;
///
/// let guard = client.acquire(Request::exclusive("vm-7", OwnerId("node-1:1".into()), u64::MAX)).await?;
/// let second = Request::exclusive("vm-7", OwnerId("node-1:2".into()), u64::MAX);
/// assert!(client.try_acquire(second).await?.is_none());
/// guard.release().await?;
/// client.close().await;
/// # Ok::<(), lock_backends::LockError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LockClient {
    shared: Arc<Shared>,
    /// Owns the one task that keeps the leases and, in the end, closes the session.
    keeper: TaskTracker,
}

/// How a client treats its callers.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Whether waiters of one key line up in this node. Cannot be switched off where the variant requires it.
    pub local_fifo: bool,
    /// How long past its deadline a call waits for a server that does not answer, before it is told
    /// [`LockError::Unknown`], to a quarter of it. The call goes on in the background.
    pub answer_grace: Duration,
    /// How long [`LockClient::close`] waits for releases on their way, and then again for the session.
    pub close_within: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let (answer_grace, close_within) = (Duration::from_secs(1), Duration::from_secs(2));
        Self { local_fifo: true, answer_grace, close_within }
    }
}

/// What a client has done so far.
///
/// Invariant: with nothing under way, `attempts = grants + refused + timed_out + withdrawn + failed +
/// unknown` and `grants = released + already_lost + release_unknown` once every guard is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls to acquire and try.
    pub attempts: u64,
    /// Guards made, also for callers who had left.
    pub grants: u64,
    /// Tries that met a holder.
    pub refused: u64,
    /// Deadline passed, withdrawal proven.
    pub timed_out: u64,
    /// The caller's future was dropped while it waited.
    pub withdrawn: u64,
    /// The server was not there, the session lost, the request not supported.
    pub failed: u64,
    /// Outcome unknown to the caller.
    pub unknown: u64,
    /// Guards dropped without a release, also those that met no caller.
    pub dropped_guards: u64,
    /// Holds that ended in a clean release.
    pub released: u64,
    /// Holds that were lost before the release.
    pub already_lost: u64,
    /// Holds whose release was not answered in time.
    pub release_unknown: u64,
    /// Requests sent to the server, renewals included.
    pub operations: u64,
}

/// [`Counts`] in the making.
#[derive(Debug, Default)]
struct Counters {
    attempts: AtomicU64,
    grants: AtomicU64,
    refused: AtomicU64,
    timed_out: AtomicU64,
    withdrawn: AtomicU64,
    failed: AtomicU64,
    unknown: AtomicU64,
    dropped_guards: AtomicU64,
    released: AtomicU64,
    already_lost: AtomicU64,
    release_unknown: AtomicU64,
}

/// What the client, its tasks and its keeper share.
#[derive(Debug)]
struct Shared {
    session: Arc<dyn LockSession>,
    capabilities: Capabilities,
    options: ClientOptions,
    now: Arc<dyn Now>,
    queues: Arc<LocalQueues>,
    leases: Leases,
    counters: Counters,
    /// Notified a few times per [`ClientOptions::answer_grace`]: a timer for each request that waits for its
    /// answer would wake the runtime's timer driver for each of them.
    tick: Notify,
    /// What closing waits for: requests under way, and those whose callers left, each a task of its own.
    tasks: TaskTracker,
    /// Where those tasks run: a guard may be dropped anywhere.
    runtime: Handle,
    /// Fires when the client closes: waiters are refused, holders are told and released.
    closing: CancellationToken,
    /// Fires when closing took too long: tasks are dropped where they are.
    stop: CancellationToken,
}

impl LockClient {
    /// Opens a node's session with the variant's server.
    ///
    /// # Errors [`LockError::Unavailable`] when the server cannot be reached, [`LockError::Protocol`] when it
    /// answers nonsense.
    pub async fn connect(
        variant: &Variant,
        endpoint: &Endpoint,
        session: SessionOptions,
        options: ClientOptions,
    ) -> Result<Self, LockError> {
        Self::connect_on(&*(variant.open)(endpoint)?, variant.capabilities, session, options).await
    }

    /// As [`LockClient::connect`], on a backend that is already open: the nodes of one process share the
    /// table of `local-mutex` by sharing the backend.
    ///
    /// # Errors
    /// As [`LockClient::connect`].
    pub async fn connect_on(
        backend: &dyn LockBackend,
        capabilities: Capabilities,
        session: SessionOptions,
        options: ClientOptions,
    ) -> Result<Self, LockError> {
        let opened = backend.connect(session.clone()).await?;
        Ok(Self::over(opened, &session, capabilities, options))
    }

    /// Runs on a session that is already open. `session_options` are those that it was opened with.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn over(
        session: Arc<dyn LockSession>,
        session_options: &SessionOptions,
        capabilities: Capabilities,
        options: ClientOptions,
    ) -> Self {
        let in_line = options.local_fifo || capabilities.local_fifo == LocalFifo::Required;
        let ttl = session.ttl().unwrap_or(session_options.ttl);
        let shared = Arc::new(Shared {
            session,
            capabilities,
            options,
            now: Arc::clone(&session_options.now),
            queues: LocalQueues::new(if in_line { Order::Fifo } else { Order::None }),
            leases: Leases::new(),
            counters: Counters::default(),
            tick: Notify::new(),
            tasks: TaskTracker::new(),
            runtime: Handle::current(),
            closing: CancellationToken::new(),
            stop: CancellationToken::new(),
        });
        let keeper = TaskTracker::new();
        keeper.spawn(Arc::clone(&shared).keep(ttl));
        Self { shared, keeper }
    }

    /// Takes the keys, waiting until the request's deadline. Waiters of one key and node are served in the
    /// order in which their futures were first polled.
    ///
    /// Cancel safe: dropping the future at any point leaves no lock behind; a grant that comes later is
    /// released.
    ///
    /// # Errors [`LockError::TimedOut`] at the deadline with the withdrawal proven, [`LockError::Unknown`]
    /// when a grant may stand at the server (it is being withdrawn in the background),
    /// [`LockError::SessionLost`], [`LockError::Unavailable`] (nothing is held), [`LockError::Unsupported`].
    pub async fn acquire(&self, request: Request) -> Result<Guard, LockError> {
        let granted = self.attempt(request, Patience::Wait).await?;
        granted.ok_or_else(|| LockError::Protocol("a waiting request was refused".into()))
    }

    /// Takes the keys if nobody holds them or lines up for them in this node. `Ok(None)`: somebody does.
    ///
    /// Cancel safe, as [`LockClient::acquire`].
    ///
    /// # Errors
    /// As [`LockClient::acquire`], but never [`LockError::TimedOut`].
    pub async fn try_acquire(&self, request: Request) -> Result<Option<Guard>, LockError> {
        self.attempt(request, Patience::Try).await
    }

    async fn attempt(&self, request: Request, patience: Patience) -> Result<Option<Guard>, LockError> {
        let shared = &self.shared;
        shared.counters.attempts.fetch_add(1, Relaxed);
        if let Err(error) = shared.admit(&request, patience) {
            let timed_out = matches!(error, LockError::TimedOut);
            let counter = if timed_out { &shared.counters.timed_out } else { &shared.counters.failed };
            counter.fetch_add(1, Relaxed);
            return Err(error);
        }
        let request = Request { left: shared.closing.child_token(), ..request };
        let due_ns = shared.due_ns(request.deadline_ns);
        let _leaving = request.left.clone().drop_guard();
        let told = Arc::new(AtomicBool::new(false));
        let attempt = Attempt::new(shared, request, patience);
        let attempt = Driven::new(shared, attempt.run(Arc::clone(&told)));
        if let Some(outcome) = attempt.until(due_ns, &told).await {
            return outcome;
        }
        shared.counters.unknown.fetch_add(1, Relaxed);
        Err(LockError::Unknown("the server did not answer by the deadline".into()))
    }

    /// What the holder of the key says that it is doing, for whoever was refused: the description of its request,
    /// or the little that the server knows. One read at the server. `None`: nobody holds it, or the variant cannot
    /// tell.
    ///
    /// # Errors [`LockError::Unavailable`] when the server did not answer.
    pub async fn holder(&self, key: &str) -> Result<Option<String>, LockError> {
        self.shared.session.holder(&slots::plain_key(&key.into())).await
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.shared.counters;
        Counts {
            attempts: counters.attempts.load(Relaxed),
            grants: counters.grants.load(Relaxed),
            refused: counters.refused.load(Relaxed),
            timed_out: counters.timed_out.load(Relaxed),
            withdrawn: counters.withdrawn.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            unknown: counters.unknown.load(Relaxed),
            dropped_guards: counters.dropped_guards.load(Relaxed),
            released: counters.released.load(Relaxed),
            already_lost: counters.already_lost.load(Relaxed),
            release_unknown: counters.release_unknown.load(Relaxed),
            operations: self.shared.session.operations().load(Relaxed),
        }
    }

    /// The negotiated time to live; `None`: no lease.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.shared.session.ttl()
    }

    /// Fires when the session, and with it every guard, is lost.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.shared.session.lost()
    }

    /// Refuses waiters, tells holders that they have lost, gives everything back and ends the session. Takes
    /// at most twice [`ClientOptions::close_within`].
    ///
    /// Cancel safe: it goes on in the background. Dropping the client does the same without waiting.
    pub async fn close(self) {
        self.shared.closing.cancel();
        self.keeper.close();
        self.keeper.wait().await;
    }
}

impl Drop for LockClient {
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}

impl Shared {
    /// Keeps the leases until the client closes, then sees the releases out and ends the session.
    async fn keep(self: Arc<Self>, ttl: Duration) {
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
    fn go_on(self: &Arc<Self>, work: impl Future<Output: Send> + Send + 'static) {
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
    fn admit(&self, request: &Request, patience: Patience) -> Result<(), LockError> {
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
        if request.mode == crate::session::Mode::Shared && !self.capabilities.shared_mode {
            return Err(LockError::Unsupported("shared mode"));
        }
        if patience == Patience::Wait && request.deadline_ns <= self.now.now_ns() {
            return Err(LockError::TimedOut);
        }
        Ok(())
    }

    /// When a caller is told that the server did not answer.
    fn due_ns(&self, deadline_ns: u64) -> u64 {
        let grace_ns = u64::try_from(self.options.answer_grace.as_nanos()).unwrap_or(u64::MAX);
        deadline_ns.max(self.now.now_ns()).saturating_add(grace_ns)
    }
}
