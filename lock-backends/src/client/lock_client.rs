//! The handle that callers have.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::Attempt;
use super::counts::{Counters, Counts};
use super::driven::Driven;
use super::guard::Guard;
use super::lease::Leases;
use super::options::ClientOptions;
use super::queue::{LocalQueues, Order};
use super::shared::{Patience, Shared};
use super::slots;
use crate::session::{
    Capabilities, Endpoint, LocalFifo, LockBackend, LockError, LockSession, OwnerId, Request, SessionOptions,
    Variant, remedy,
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
/// use lock_backends::{ClientOptions, LockClient, SessionOptions};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// let variant = lock_backends::variant("local-mutex")?;
/// let session = SessionOptions::new("node-1", Duration::from_secs(2));
/// let client = LockClient::connect(variant, &"memory:".into(), session, ClientOptions::default()).await?;
///
/// let guard = client.acquire("vm-7", Duration::from_secs(5)).await?;
/// assert!(client.try_acquire("vm-7").await?.is_none());
/// guard.release().await?;
///
/// // One of three slots, and a word for whoever is refused.
/// let request = client.request("host-1", Duration::from_secs(5)).at_level(3).describing("boots vm-7");
/// client.acquire_request(request).await?.release().await?;
/// client.close().await;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Cheap to clone; all clones are one client. Dropping the last closes it as [`LockClient::close`] does, without waiting.
#[derive(Debug, Clone)]
pub struct LockClient(Arc<Open>);

/// Closes the client when its last handle goes. Guards hold what is shared, not this.
#[derive(Debug)]
struct Open {
    shared: Arc<Shared>,
    /// Name in the owners that the client makes.
    node: String,
    /// Owns the one task that keeps the leases and, in the end, closes the session.
    keeper: TaskTracker,
}

/// What went wrong, and what to do about it where that is known.
fn with_remedy(why: String) -> String {
    match remedy(&why) {
        Some(remedy) => format!("{why}: {remedy}"),
        None => why,
    }
}

impl LockClient {
    /// Opens a node's session with the variant's server.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] when the server cannot be reached, [`LockError::Protocol`] when it
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
        let opened = backend.connect(session.clone()).await.map_err(|error| match error {
            // Who has no session holds nothing.
            LockError::Unknown(what) => LockError::Protocol(what),
            LockError::Unavailable(why) => LockError::Unavailable(with_remedy(why)),
            LockError::Protocol(why) => LockError::Protocol(with_remedy(why)),
            error => error,
        })?;
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
        Self(Arc::new(Open { shared, node: session_options.node.clone(), keeper }))
    }

    /// Takes the key for itself alone, waiting at most so long: [`LockClient::acquire_request`] with
    /// [`LockClient::request`].
    ///
    /// Cancel safe: dropping the future at any point leaves no lock behind; a grant that comes later is released.
    ///
    /// # Errors
    /// [`LockError::TimedOut`] after `within` with the withdrawal proven; otherwise as
    /// [`LockClient::acquire_request`].
    pub async fn acquire(&self, key: &str, within: Duration) -> Result<Guard, LockError> {
        self.acquire_request(self.request(key, within)).await
    }

    /// Takes the key for itself alone if nobody holds it or lines up for it in this node. `Ok(None)`: somebody does.
    ///
    /// Cancel safe, as [`LockClient::acquire`].
    ///
    /// # Errors
    /// As [`LockClient::acquire`], but never [`LockError::TimedOut`].
    pub async fn try_acquire(&self, key: &str) -> Result<Option<Guard>, LockError> {
        self.try_acquire_request(self.request(key, Duration::ZERO)).await
    }

    /// A request for the key, exclusive and of level 1, by a new owner of this node, with a deadline so far from now.
    /// For one attempt: each needs an owner of its own.
    #[must_use]
    pub fn request(&self, key: &str, within: Duration) -> Request {
        Request::exclusive(key, OwnerId::unique(&self.0.node), self.deadline_in(within))
    }

    /// The present stamp of the node's clock, in ns: what [`Guard::valid_until`] is to be compared with.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.shared.now.now_ns()
    }

    /// The stamp of the node's clock so far from now, for [`Request::deadline_ns`].
    #[must_use]
    pub fn deadline_in(&self, within: Duration) -> u64 {
        self.now_ns().saturating_add(u64::try_from(within.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Takes the keys, waiting until the request's deadline. Waiters of one key and node are served in the
    /// order in which their futures were first polled.
    ///
    /// Cancel safe: dropping the future at any point leaves no lock behind; a grant that comes later is
    /// released.
    ///
    /// # Errors
    /// [`LockError::TimedOut`] at the deadline with the withdrawal proven, [`LockError::Unknown`]
    /// when a grant may stand at the server (it is being withdrawn in the background),
    /// [`LockError::SessionLost`], [`LockError::Unavailable`] (nothing is held), [`LockError::Unsupported`].
    pub async fn acquire_request(&self, request: Request) -> Result<Guard, LockError> {
        let granted = self.attempt(request, Patience::Wait).await?;
        granted.ok_or_else(|| LockError::Protocol("a waiting request was refused".into()))
    }

    /// Takes the keys if nobody holds them or lines up for them in this node. `Ok(None)`: somebody does.
    ///
    /// Cancel safe, as [`LockClient::acquire_request`].
    ///
    /// # Errors
    /// As [`LockClient::acquire_request`], but never [`LockError::TimedOut`].
    pub async fn try_acquire_request(&self, request: Request) -> Result<Option<Guard>, LockError> {
        self.attempt(request, Patience::Try).await
    }

    async fn attempt(&self, request: Request, patience: Patience) -> Result<Option<Guard>, LockError> {
        let shared = &self.0.shared;
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
    /// # Errors
    /// [`LockError::Unavailable`] when the server did not answer.
    pub async fn holder(&self, key: &str) -> Result<Option<String>, LockError> {
        self.0.shared.session.holder(&slots::plain_key(&key.into())).await
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.shared.counters.so_far(self.0.shared.session.operations())
    }

    /// The negotiated time to live; `None`: no lease.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        self.0.shared.session.ttl()
    }

    /// Fires when the session, and with it every guard, is lost.
    #[must_use]
    pub fn lost(&self) -> CancellationToken {
        self.0.shared.session.lost()
    }

    /// Refuses waiters of every handle, tells holders that they have lost, gives everything back and ends the session. Takes
    /// at most twice [`ClientOptions::close_within`].
    ///
    /// Cancel safe: it goes on in the background. May be called again, to wait for its end.
    pub async fn close(&self) {
        self.0.shared.closing.cancel();
        self.0.keeper.close();
        self.0.keeper.wait().await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}
