//! What all variants on etcd share: the node's one lease and its renewal, the proof of withdrawal, one stream of
//! watches, transactions that travel together, and the release.
//!
//! **A lost answer.** Two requests of one client may overtake each other in the server, so that a delete
//! proves nothing about a put that is still on its way. Each acquire therefore also compares the revision of
//! a key of the session's own, the *fence*, and [`Node::withdraw`] rewrites the fence in the
//! transaction that deletes what the lost request may have put: whatever was sent before can no longer
//! succeed. That is the proof of withdrawal. Withdrawals compare the fence as well: a late one must not
//! delete what was put after a later one was answered. After a lost answer nothing is tried again before the withdrawal
//! is answered; what is not withdrawn by the deadline is *unknown*.

mod bare;
mod members;
mod transactions;
mod watches;
mod wire;

mod etcd_cas;
mod etcd_queue;
mod etcd_v3lock;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{Client, Compare, CompareOp, ConnectOptions, LeaseKeepAliveStream, LeaseKeeper};
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::members::{Members, Opened};
pub(super) use self::watches::Watch;
use self::watches::Watches;
use self::wire::Wire;
pub(super) use self::wire::{Answer, TxnError};
use crate::backends::common::{CONNECT_TIMEOUT, LeaseEnd, Recipe, Tasks, exclusive_key};
use crate::session::{
    BoxFuture, Endpoint, Grant, LockBackend, LockError, LockSession, Now, OwnerId, ReleaseRet, Renewal,
    Request, Server, SessionOptions, Survives, Validity, valid_until,
};

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "etcd",
    url: "http://host:port[,http://host:port …]",
    variants: &[&etcd_cas::VARIANT, &etcd_queue::VARIANT, &etcd_v3lock::VARIANT],
    settings: &[
        ("--unsafe-no-fsync", "whether a grant outlives a loss of power"),
        ("--heartbeat-interval, --election-timeout", "how soon a new leader serves, and the least ttl"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Etcd::connect(endpoint).await?) as _) }),
};

/// What a grant of every variant here survives.
pub(super) const SURVIVES: Survives = Survives {
    node_crash: "free after the lease: ttl, at least 2 s, plus up to 0.5 s",
    server_kill: "grants and tokens; the restarted server gives every lease its full ttl again",
    power_loss: "grants and tokens, while fsync is on",
};

/// The shortest lease worth asking for: servers of series 3.4 round up to it.
const TTL_MIN_S: u64 = 2;
/// Operations in one transaction; a server takes 128, with those of a nested one.
const TXN_MAX: usize = 100;
/// Pause before asking again on a connection that just failed.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The backend of every variant here: a session on the node's one lease, and a recipe on it.
pub(super) struct Etcd {
    endpoints: Vec<String>,
    recipe: fn() -> Box<dyn KeyRecipe>,
}

impl Etcd {
    pub(super) fn open(
        endpoint: &Endpoint,
        recipe: fn() -> Box<dyn KeyRecipe>,
    ) -> Result<Box<dyn LockBackend>, LockError> {
        let endpoints: Vec<String> = endpoint.0.split(',').map(|one| one.trim().to_owned()).collect();
        if endpoints.iter().any(String::is_empty) {
            return Err(LockError::Protocol("empty etcd endpoint".to_owned()));
        }
        Ok(Box::new(Self { endpoints, recipe }))
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Etcd")
    }
}

/// A [`Recipe`] and the key that it puts. The lease, the watches, the release and the withdrawal are the session's.
pub(super) trait KeyRecipe: Recipe<Node> {
    /// The key that an attempt of `owner` puts at the server.
    fn key(&self, node: &Node, name: &str, owner: &OwnerId) -> String;

    /// Holds if that key is the attempt's. By default it is nobody else's.
    fn mine(&self, key: &str, _owner: &OwnerId) -> Compare {
        Compare::create_revision(key, CompareOp::Greater, 0)
    }

    /// As [`LockSession::release`], of a grant without a token: an attempt whose outcome is unknown.
    fn withdraw<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
        owner: &'a OwnerId,
    ) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            let key = self.key(node, name, owner);
            node.withdraw(&key, self.mine(&key, owner)).await
        })
    }

    /// As [`LockSession::release`], of a grant with a token.
    fn release<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
        grant: &'a Grant,
    ) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(node.release_by_revision(name, self.key(node, name, &grant.owner), grant))
    }

    /// As [`LockSession::holder`].
    fn holder<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LockError>>;
}

struct EtcdSession {
    node: Node,
    recipe: Box<dyn KeyRecipe>,
}

impl LockBackend for Etcd {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let session = timeout(CONNECT_TIMEOUT, Node::open(&self.endpoints, options)).await;
            match session {
                Ok(Ok(node)) => {
                    Ok(Arc::new(EtcdSession { node, recipe: (self.recipe)() }) as Arc<dyn LockSession>)
                }
                Ok(Err(error)) => Err(LockError::Unavailable(error.to_string())),
                Err(_) => Err(LockError::Unavailable("no answer from etcd".to_owned())),
            }
        })
    }
}

/// A node's session: one lease, one watch stream, one keep-alive stream, one connection to each member it has talked to.
pub(super) struct Node {
    members: Arc<Members>,
    lease: i64,
    ttl: Duration,
    /// A key of this session's own, on its lease. Its deletion says that the lease ended.
    fence_key: String,
    /// Revision of the fence; acquires and withdrawals compare it, withdrawals raise it.
    fence: AtomicI64,
    /// The turn to withdraw.
    withdrawing: tokio::sync::Mutex<()>,
    /// The lease is alive until then at least, on the node's clock. Raised by acknowledged renewals alone.
    valid_until: LeaseEnd,
    /// Streams to renew on. Empty while a renewal is under way and after one that failed: a late answer to an earlier
    /// renewal must not be taken for the answer to a later one.
    keeper: tokio::sync::Mutex<Option<Keeper>>,
    watches: Arc<Watches>,
    wire: Arc<Wire>,
    lost: CancellationToken,
    operations: Arc<AtomicU64>,
    now: Arc<dyn Now>,
    tasks: Tasks,
}

/// The streams to renew on, and the place of the member at their other end.
struct Keeper {
    place: usize,
    sender: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

impl Node {
    async fn open(endpoints: &[String], options: SessionOptions) -> Result<Self, etcd_client::Error> {
        let asked_s = options.ttl.as_secs_f64().ceil().max(TTL_MIN_S as f64) as i64;
        // A ping only when renewals, due every ttl / 3, stay unanswered: servers close connections that ping idly.
        let half = Duration::from_secs(asked_s.unsigned_abs()) / 2;
        let connect = ConnectOptions::new()
            .with_keep_alive(half, half)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_require_leader(true);
        let members = Arc::new(Members::new(endpoints, &connect, &options.node).await?);
        let Opened { sent_ns, lease, ttl, fence_key, fence } =
            members.open_session(asked_s, &options).await?;
        let operations = Arc::new(AtomicU64::new(2));
        let lost = CancellationToken::new();
        let (watches, inbox) = Watches::new(operations.clone());
        let tasks = Tasks::default();
        let watching =
            watches.clone().run(members.clone(), inbox, fence_key.clone(), fence + 1, lost.clone());
        tasks.spawn(watching);
        let (wire, pending) = Wire::new(members.clone(), operations.clone());
        tasks.spawn(wire.clone().run(pending, ttl / 2, lost.clone()));
        Ok(Self {
            members,
            lease,
            ttl,
            fence_key,
            fence: AtomicI64::new(fence),
            withdrawing: tokio::sync::Mutex::default(),
            valid_until: LeaseEnd::new(valid_until(sent_ns, ttl)),
            keeper: tokio::sync::Mutex::new(None),
            watches,
            wire,
            lost,
            operations,
            now: options.now,
            tasks,
        })
    }

    pub(super) fn remaining(&self, request: &Request) -> Duration {
        request.remaining(&*self.now)
    }

    pub(super) fn lease(&self) -> i64 {
        self.lease
    }

    /// The member to talk to, and its place.
    pub(super) fn member(&self) -> (usize, &Client) {
        self.members.current()
    }

    /// The member at this place did not answer: the next is to be talked to.
    pub(super) fn leave(&self, place: usize) {
        self.members.leave(place);
    }

    /// Completes when the session is lost.
    pub(super) async fn ended(&self) {
        self.lost.cancelled().await;
    }

    pub(super) async fn wait_over(&self, request: &Request) {
        request.over(&*self.now).await;
    }

    pub(super) fn count(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
    }

    /// Lets a request whose caller left run on until it ends, or the session does.
    pub(super) fn go_on(&self, request: impl Future<Output: Send> + Send + 'static) {
        let lost = self.lost.clone();
        let task = async move { drop(lost.run_until_cancelled(request).await) };
        self.tasks.spawn(task);
    }

    /// Waits for a deletion of the key after that revision, on `watch` if there is one. False: the watch ended, and the
    /// key has to be looked at again.
    pub(super) async fn until_deleted(
        &self,
        key: &str,
        revision: i64,
        watch: &mut Option<Watch>,
        request: &Request,
    ) -> Result<bool, LockError> {
        let wait = async {
            let asked = watch.is_none();
            if asked {
                *watch = self.watches.watch(key).await;
            }
            let Some(watching) = watch else { return false };
            let deleted = match asked {
                false => watching.deleted_after(revision).await,
                // A read tells what came before the watch.
                true => {
                    watching.opened().await
                        && match self.first_key(key.to_owned(), None).await {
                            Ok(Some(there)) if there.create_revision() <= revision => {
                                watching.deleted_after(revision).await
                            }
                            gone => gone.is_ok(),
                        }
                }
            };
            if !deleted {
                *watch = None;
            }
            deleted
        };
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(self.gone()),
            deleted = wait => Ok(deleted),
            () = request.over(&*self.now) => Err(LockError::TimedOut),
        }
    }

    /// Waits so long, unless there is nothing to wait for any more.
    pub(super) async fn pause(&self, pause: Duration, request: &Request) -> Result<(), LockError> {
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(self.gone()),
            () = request.over(&*self.now) => Err(LockError::TimedOut),
            () = sleep(pause) => Ok(()),
        }
    }

    pub(super) fn gone(&self) -> LockError {
        self.lost.cancel();
        LockError::SessionLost("the lease ended".to_owned())
    }

    /// The session ends with its lease, and does not come back: nothing renews it any more.
    fn ensure_alive(&self) -> Result<(), LockError> {
        let expired = self.valid_until.has_passed(&*self.now);
        if expired || self.lost.is_cancelled() { Err(self.gone()) } else { Ok(()) }
    }

    /// Withdraws, again and again until the deadline: after it, the withdrawal is the outcome.
    pub(super) async fn withdraw_by_deadline(
        &self,
        key: &str,
        mine: Compare,
        request: &Request,
    ) -> Result<(), LockError> {
        loop {
            let withdrawn = self.withdraw(key, mine.clone()).await;
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
    async fn keep_alive(&self, place: usize, client: &Client) -> Result<i64, etcd_client::Error> {
        let mut keeper = self.keeper.lock().await;
        let mut leases = client.lease_client();
        let ttl_s = match keeper.take().filter(|keeper| keeper.place == place) {
            Some(mut streams) => {
                streams.sender.keep_alive().await?;
                let answer = streams.answers.message().await?;
                *keeper = Some(streams);
                answer.map_or(Err(etcd_client::Error::LeaseKeepAliveError("stream ended".to_owned())), |a| {
                    Ok(a.ttl())
                })
            }
            // Opening the streams renews too. Whether its error means that the lease is gone has to be asked.
            None => match leases.keep_alive(self.lease).await {
                Ok((sender, answers)) => {
                    *keeper = Some(Keeper { place, sender, answers });
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
        let (sent_ns, (place, client)) = (self.now.now_ns(), self.members.current());
        self.operations.fetch_add(1, Ordering::Relaxed);
        let renewed = timeout(self.ttl / 4, self.keep_alive(place, client)).await;
        if !matches!(renewed, Ok(Ok(_))) {
            self.members.leave(place);
        }
        match renewed {
            Ok(Ok(ttl_s @ 1..)) => {
                let ttl = self.ttl.min(Duration::from_secs(ttl_s.unsigned_abs()));
                self.valid_until.raise(valid_until(sent_ns, ttl));
                Ok(self.valid_until.validity())
            }
            Ok(Ok(_)) => Err(self.gone()),
            Ok(Err(error)) => self.ensure_alive().and(Err(LockError::Unavailable(error.to_string()))),
            Err(_) => self.ensure_alive().and(Err(LockError::Unavailable("renewal not answered".to_owned()))),
        }
    }
}

impl LockSession for EtcdSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move { self.recipe.try_acquire(&self.node, exclusive_key(request)?, request).await })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move { self.recipe.acquire(&self.node, exclusive_key(request)?, request).await })
    }

    /// One message for the lease, and one read for each hundred grants: a key that somebody else deleted is a lock
    /// lost.
    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let key = |grant: &Arc<Grant>| {
                self.recipe.key(&self.node, grant.keys.first().map_or("", |key| key), &grant.owner)
            };
            let keys: Vec<String> = grants.iter().map(key).collect();
            let checks = join_all(keys.chunks(TXN_MAX).map(|chunk| self.node.exist(chunk)));
            let (session, checks) = tokio::join!(self.node.renew_lease(), checks);
            let session = session?;
            let held = keys.chunks(TXN_MAX).zip(checks).flat_map(|(chunk, exist)| {
                // Without an answer, the lease decides.
                exist.unwrap_or_else(|_| vec![true; chunk.len()])
            });
            let held = held.map(|held| if held { session } else { Validity::Lost }).collect();
            Ok(Renewal { session, grants: held })
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            let Some(name) = grant.keys.first() else { return Ok(ReleaseRet::AlreadyLost) };
            if self.node.ensure_alive().is_err() {
                return Ok(ReleaseRet::AlreadyLost);
            }
            match grant.token {
                Some(_) => self.recipe.release(&self.node, name, grant).await,
                None => self.recipe.withdraw(&self.node, name, &grant.owner).await,
            }
        })
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        self.recipe.holder(&self.node, key)
    }

    fn lost(&self) -> CancellationToken {
        self.node.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.node.ttl)
    }

    fn operations(&self) -> &AtomicU64 {
        &self.node.operations
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let node = &self.node;
            node.lost.cancel();
            self.node.operations.fetch_add(1, Ordering::Relaxed);
            let (_, client) = node.members.current();
            if !matches!(timeout(node.ttl / 2, client.lease_client().revoke(node.lease)).await, Ok(Ok(_))) {
                tracing::debug!(lease = node.lease, "lease not revoked; it expires");
            }
            node.tasks.ended().await;
        })
    }
}

impl fmt::Debug for EtcdSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdSession")
            .field("lease", &self.node.lease)
            .field("recipe", &self.recipe)
            .finish_non_exhaustive()
    }
}
