//! `etcd-cas`: one key per lock, taken by whoever creates it; all keys of a node hang on the node's one
//! lease.
//!
//! **Protocol.** Acquire is one transaction: if the key does not exist, put it with my lease and my owner id
//! as its value, else read it. A waiter watches the key for its deletion, from the revision after the one
//! that refused it, and then tries at once; all watches of a node share one stream ([`watches`]). Release
//! deletes the key if its create revision is still mine. Renewal is one message on the keep-alive stream, for
//! all keys of the node.
//!
//! ```text
//!  node A  delete k if create revision = 7 ──▶ revision 8
//!  node B  watches k from 8 ◀── DELETE ────────┘
//!          put k if absent ──▶ revision 9 = token
//! ```
//!
//! **A lost answer.** Two requests of one client may overtake each other in the server, so that a delete
//! proves nothing about a put that is still on its way. Each acquire therefore also compares the revision of
//! a key of the session's own, the *fence*, and [`EtcdSession::withdraw`] rewrites the fence in the
//! transaction that deletes what the lost request may have put: whatever was sent before can no longer
//! succeed. That is the proof of withdrawal. After a lost answer nothing is tried again before the withdrawal
//! is answered; what is not withdrawn by the deadline is *unknown*.
//!
//! **Round trips.** 1 transaction to acquire, 1 to release, each one entry in the server's log. Refused once:
//! a watch more, and one more transaction per lost race.
//!
//! **Safety class F**: exclusive while clocks run at similar rates and pauses stay below the lease's margin,
//! and fenced by a token.
//!
//! **Token.** The key's create revision, which is the revision of the transaction that granted it.
//!
//! **Crash release.** After the lease's ttl, at most half a second and the server's queue of expiries later.
//! Servers of series 3.4 grant no lease below 2 s: the session reports the negotiated one.
//!
//! Sources: etcd documentation, "etcd API" (transactions, watch, lease) and "KV API guarantees".

mod transactions;
mod watches;

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, KvClient, LeaseClient, LeaseKeepAliveStream, LeaseKeeper, PutOptions,
};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::transactions::Attempt;
use self::watches::Watches;
use crate::session::{
    BoxFuture, Capabilities, Endpoint, Grant, LocalFifo, LockBackend, LockError, LockSession, Mode, Now,
    ReleaseRet, Renewal, Request, Server, SessionOptions, Survives, Validity, Variant, valid_until,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "etcd-cas",
    summary: "one key per lock on the node's lease, put if absent; waiters watch for its deletion",
    server: Server::Etcd,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: Survives {
        node_crash: "free after the lease: ttl, at least 2 s, plus up to 0.5 s",
        server_kill: "grants and tokens; the restarted server gives every lease its full ttl again",
        power_loss: "grants and tokens, while fsync is on",
    },
    open,
};

/// The shortest lease worth asking for: servers of series 3.4 round up to it.
const TTL_MIN_S: u64 = 2;
/// Bound on opening a session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause before asking again on a connection that just failed.
const RETRY_DELAY: Duration = Duration::from_millis(50);
/// How long an answer that is due at the deadline may still take before it is withdrawn.
const GRACE: Duration = Duration::from_millis(200);

fn open(endpoint: &Endpoint) -> Result<Box<dyn LockBackend>, LockError> {
    let endpoints: Vec<String> = endpoint.0.split(',').map(|one| one.trim().to_owned()).collect();
    if endpoints.iter().any(String::is_empty) {
        return Err(LockError::Protocol("empty etcd endpoint".to_owned()));
    }
    Ok(Box::new(EtcdCas { endpoints }))
}

struct EtcdCas {
    endpoints: Vec<String>,
}

impl fmt::Debug for EtcdCas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EtcdCas")
    }
}

impl LockBackend for EtcdCas {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let session = timeout(CONNECT_TIMEOUT, EtcdSession::open(&self.endpoints, options)).await;
            match session {
                Ok(Ok(session)) => Ok(Arc::new(session) as Arc<dyn LockSession>),
                Ok(Err(error)) => Err(LockError::Unavailable(error.to_string())),
                Err(_) => Err(LockError::Unavailable("no answer from etcd".to_owned())),
            }
        })
    }
}

/// A node's session: one lease, one connection, one watch stream, one keep-alive stream.
struct EtcdSession {
    kv: KvClient,
    leases: LeaseClient,
    lease: i64,
    ttl: Duration,
    /// A key of this session's own, on its lease. Its deletion says that the lease ended.
    fence_key: String,
    /// Revision of the fence; acquires compare it, withdrawals raise it.
    fence: AtomicI64,
    /// The lease is alive until then at least, on the node's clock. Raised by acknowledged renewals alone.
    valid_until: AtomicU64,
    /// Streams to renew on. Empty while a renewal is under way and after one that failed: a late answer to an earlier
    /// renewal must not be taken for the answer to a later one.
    keeper: tokio::sync::Mutex<Option<(LeaseKeeper, LeaseKeepAliveStream)>>,
    watches: Arc<Watches>,
    lost: CancellationToken,
    operations: Arc<AtomicU64>,
    now: Arc<dyn Now>,
    tasks: Mutex<JoinSet<()>>,
}

impl EtcdSession {
    async fn open(endpoints: &[String], options: SessionOptions) -> Result<Self, etcd_client::Error> {
        let asked_s = options.ttl.as_secs_f64().ceil().max(TTL_MIN_S as f64) as i64;
        // A ping only when renewals, due every ttl / 3, stay unanswered: servers close connections that ping idly.
        let half = Duration::from_secs(asked_s.unsigned_abs()) / 2;
        let connect = ConnectOptions::new()
            .with_keep_alive(half, half)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_require_leader(true);
        let client = Client::connect(endpoints, Some(connect)).await?;
        let (mut kv, mut leases) = (client.kv_client(), client.lease_client());

        let sent_ns = options.now.now_ns();
        let granted = leases.grant(asked_s, None).await?;
        let (lease, ttl) = (granted.id(), Duration::from_secs(granted.ttl().unsigned_abs()));
        let fence_key = format!("lockbench/session/{:x}", lease.cast_unsigned());
        let put = PutOptions::new().with_lease(lease);
        let written = kv.put(fence_key.clone(), options.node.as_str(), Some(put)).await?;
        let fence = written.header().map_or(0, |header| header.revision());

        let operations = Arc::new(AtomicU64::new(2));
        let lost = CancellationToken::new();
        let (watches, inbox) = Watches::new(operations.clone());
        let mut tasks = JoinSet::new();
        let watching =
            watches.clone().run(client.watch_client(), inbox, fence_key.clone(), fence + 1, lost.clone());
        tasks.spawn(watching);
        Ok(Self {
            kv,
            leases,
            lease,
            ttl,
            fence_key,
            fence: AtomicI64::new(fence),
            valid_until: AtomicU64::new(stamp(valid_until(sent_ns, ttl))),
            keeper: tokio::sync::Mutex::new(None),
            watches,
            lost,
            operations,
            now: options.now,
            tasks: Mutex::new(tasks),
        })
    }

    fn remaining(&self, request: &Request) -> Duration {
        request.remaining(&*self.now)
    }

    fn gone(&self) -> LockError {
        self.lost.cancel();
        LockError::SessionLost("the lease ended".to_owned())
    }

    /// The session ends with its lease, and does not come back: nothing renews it any more.
    fn ensure_alive(&self) -> Result<(), LockError> {
        let expired = self.now.now_ns() >= self.valid_until.load(Ordering::Acquire);
        if expired || self.lost.is_cancelled() { Err(self.gone()) } else { Ok(()) }
    }

    async fn acquire_key(&self, request: &Request) -> Result<Grant, LockError> {
        let name = the_key(request)?;
        let mut watch = None;
        loop {
            let limit = (self.remaining(request) + GRACE).min(self.ttl / 2);
            let refused_at = match self.attempt(request, limit).await {
                Ok(Attempt::Granted(grant)) => return Ok(grant),
                Ok(Attempt::Refused(revision)) => revision,
                Err(LockError::Unknown(_)) => {
                    self.withdraw_by_deadline(name, request).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // From here to the next try no request is under way: giving up needs no withdrawal.
            let wait = async {
                if watch.is_none() {
                    watch = self.watches.watch(&lock_key(name), refused_at + 1).await;
                }
                let Some(watching) = &mut watch else { return };
                if !watching.deleted_after(refused_at).await {
                    watch = None;
                }
            };
            tokio::select! {
                biased;
                () = self.lost.cancelled() => return Err(self.gone()),
                () = wait => {}
                () = request.over(&*self.now) => return Err(LockError::TimedOut),
            }
        }
    }

    /// Withdraws, again and again until the deadline: after it, the withdrawal is the outcome.
    async fn withdraw_by_deadline(&self, name: &str, request: &Request) -> Result<(), LockError> {
        loop {
            let withdrawn = self.withdraw(name, &request.owner).await;
            let in_time = !self.remaining(request).is_zero();
            match withdrawn {
                Ok(_) if in_time => return Ok(()),
                Ok(_) => return Err(LockError::TimedOut),
                Err(LockError::Unknown(_)) if in_time => {
                    sleep(RETRY_DELAY.min(self.remaining(request))).await
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One keep-alive; answers the lease's ttl in seconds, 0 when it is gone.
    async fn keep_alive(&self) -> Result<i64, etcd_client::Error> {
        let mut keeper = self.keeper.lock().await;
        let mut leases = self.leases.clone();
        let ttl_s = match keeper.take() {
            Some((mut sender, mut answers)) => {
                sender.keep_alive().await?;
                let answer = answers.message().await?;
                *keeper = Some((sender, answers));
                answer.map_or(Err(etcd_client::Error::LeaseKeepAliveError("stream ended".to_owned())), |a| {
                    Ok(a.ttl())
                })
            }
            // Opening the streams renews too. Whether its error means that the lease is gone has to be asked.
            None => match leases.keep_alive(self.lease).await {
                Ok(streams) => {
                    *keeper = Some(streams);
                    Ok(self.ttl.as_secs().cast_signed())
                }
                Err(error) => match leases.time_to_live(self.lease, None).await?.ttl() {
                    ..=0 => Ok(0),
                    _ => Err(error),
                },
            },
        };
        if ttl_s.is_err() {
            *keeper = None;
        }
        ttl_s
    }

    async fn renew_lease(&self) -> Result<Validity, LockError> {
        self.ensure_alive()?;
        let sent_ns = self.now.now_ns();
        self.operations.fetch_add(1, Ordering::Relaxed);
        match timeout(self.ttl / 4, self.keep_alive()).await {
            Ok(Ok(ttl_s @ 1..)) => {
                let ttl = self.ttl.min(Duration::from_secs(ttl_s.unsigned_abs()));
                self.valid_until.fetch_max(stamp(valid_until(sent_ns, ttl)), Ordering::AcqRel);
                Ok(Validity::Until(self.valid_until.load(Ordering::Acquire)))
            }
            Ok(Ok(_)) => Err(self.gone()),
            Ok(Err(error)) => self.ensure_alive().and(Err(LockError::Unavailable(error.to_string()))),
            Err(_) => self.ensure_alive().and(Err(LockError::Unavailable("renewal not answered".to_owned()))),
        }
    }
}

impl LockSession for EtcdSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            match self.attempt(request, self.ttl / 2).await {
                Ok(Attempt::Granted(grant)) => Ok(Some(grant)),
                Ok(Attempt::Refused(_)) => Ok(None),
                Err(LockError::Unknown(why)) => {
                    self.withdraw(the_key(request)?, &request.owner).await?;
                    Err(LockError::Unavailable(why))
                }
                Err(error) => Err(error),
            }
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(self.acquire_key(request))
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let session = self.renew_lease().await?;
            Ok(Renewal { session, grants: vec![session; grants.len()] })
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(self.release_key(grant))
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.ttl)
    }

    fn operations(&self) -> &AtomicU64 {
        &self.operations
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.lost.cancel();
            self.operations.fetch_add(1, Ordering::Relaxed);
            if !matches!(timeout(self.ttl / 2, self.leases.clone().revoke(self.lease)).await, Ok(Ok(_))) {
                tracing::debug!(lease = self.lease, "lease not revoked; it expires");
            }
            let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
            while tasks.join_next().await.is_some() {}
        })
    }
}

impl fmt::Debug for EtcdSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdSession")
            .field("lease", &self.lease)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// The single key of a request; levels, several keys and shared mode are not for this variant.
fn the_key(request: &Request) -> Result<&Arc<str>, LockError> {
    match (request.keys.as_slice(), request.mode, request.level) {
        ([key], Mode::Exclusive, 1) => Ok(key),
        _ => Err(LockError::Unsupported("etcd-cas takes one key, exclusively")),
    }
}

/// The stamp until which something is valid; 0 when it is not.
fn stamp(validity: Validity) -> u64 {
    match validity {
        Validity::Until(stamp_ns) => stamp_ns,
        Validity::NoLease | Validity::Lost => 0,
    }
}

fn lock_key(name: &str) -> String {
    format!("lockbench/lock/{name}")
}
