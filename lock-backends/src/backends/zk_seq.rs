//! `zk-seq`: waiters queue as ephemeral sequential nodes; each watches the one before it.
//!
//! **Protocol.** Acquire creates `/lockbench/<key>/<owner>-<sequence>` and lists the queue in the same
//! flight: the session's requests are answered in order, so the list shows the new node. Nobody before it:
//! granted. Otherwise read and watch the nearest predecessor. If the list showed that one alone, its deletion
//! is the grant; if there were more, list again once. Nodes before mine can only vanish. Release deletes the
//! node.
//!
//! ```text
//!  node A  0000000004 ── delete ──┐
//!  node B  0000000005 watches 4 ◀─┘ deleted: granted, no further request
//!  node C  0000000006 watches 5
//! ```
//!
//! **A lost answer.** The owner's id, unique per attempt, is part of the node's name. After a connection loss
//! the queue is synced and listed in the same session, which the old connection can no longer change: the
//! node is found and used, or proven absent. A waiter that gives up deletes its node; when that stays
//! unanswered the outcome is *unknown*.
//!
//! **Round trips.** 1 to acquire (a write and a read together), 1 to release. The first use of a key makes
//! its parent, a container that the server removes when it has been empty for a while. Waiting: one read per
//! predecessor watched.
//!
//! **Safety class F**: exclusive while clocks run at similar rates and pauses stay below the margin, and
//! fenced by a token. Validity counts from before the last answered request was sent. The client library says
//! `Expired` only at 7/5 of the timeout, far too late; here the session ends for good when its validity does.
//! (With several servers, a follower reports its clients to the leader every half tick; the leader rounds
//! expiry up to a tick, which covers that.)
//!
//! **Token.** The `czxid` of the owner's node: transaction ids rise with the sequence numbers, and on beyond
//! the life of a parent, when sequence numbers start again.
//!
//! **Crash release.** After the session timeout, rounded up to the server's tick. Closing TCP frees nothing.
//!
//! Sources: ZooKeeper documentation, "Recipes and Solutions" (locks) and "Programmer's Guide" (sessions,
//! watches, container nodes).

mod names;
mod queue;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Client, Error as ZkError, StateWatcher};

use crate::session::{
    BoxFuture, Capabilities, Endpoint, Grant, LocalFifo, LockBackend, LockError, LockSession, Mode, Now,
    OwnerId, ReleaseRet, Renewal, Request, Server, SessionOptions, Survives, Token, Validity, Variant,
    valid_until,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "zk-seq",
    summary: "ephemeral sequential nodes; each waiter watches its predecessor",
    server: Server::Zookeeper,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: true,
    },
    survives: Survives {
        node_crash: "free after the session timeout, rounded up to the server's tick",
        server_kill: "grants and tokens, if the server is back and the client reconnected within the session timeout",
        power_loss: "grants and tokens as after a kill, while forceSync is on",
    },
    open,
};

/// Bound on opening a session.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer that is due at the deadline may still take.
const GRACE: Duration = Duration::from_millis(200);
/// Pause before asking again on a connection that just failed.
const RETRY_DELAY: Duration = Duration::from_millis(20);

fn open(endpoint: &Endpoint) -> Result<Box<dyn LockBackend>, LockError> {
    if endpoint.0.is_empty() {
        return Err(LockError::Protocol("empty zookeeper endpoint".to_owned()));
    }
    Ok(Box::new(ZkSeq { cluster: endpoint.0.clone() }))
}

struct ZkSeq {
    cluster: String,
}

impl fmt::Debug for ZkSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZkSeq")
    }
}

impl LockBackend for ZkSeq {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let sent_ns = options.now.now_ns();
            let connector = Client::connector().with_session_timeout(options.ttl).with_fail_eagerly();
            let client = timeout(CONNECT_TIMEOUT, connector.connect(&self.cluster))
                .await
                .map_err(|_| LockError::Unavailable("no answer from zookeeper".to_owned()))?
                .map_err(|error| LockError::Unavailable(error.to_string()))?;
            let (ttl, states) = (client.session_timeout(), client.state_watcher());
            let lost = CancellationToken::new();
            let mut tasks = JoinSet::new();
            let client = Arc::new(Mutex::new(Some(client)));
            tasks.spawn(end_together(client.clone(), states, lost.clone()));
            let session = ZkSession {
                client,
                ttl,
                valid_until: AtomicU64::new(stamp(valid_until(sent_ns, ttl))),
                nodes: Mutex::default(),
                lost,
                operations: AtomicU64::new(1),
                now: options.now,
                tasks: Mutex::new(tasks),
            };
            Ok(Arc::new(session) as Arc<dyn LockSession>)
        })
    }
}

/// Fires `lost` when the library gives the session up, and has the session closed when `lost` fires: it would keep
/// the nodes of lost locks alive. Ends when the session has.
async fn end_together(client: Arc<Mutex<Option<Client>>>, mut states: StateWatcher, lost: CancellationToken) {
    let mut ended = std::pin::pin!(async { while !states.changed().await.is_terminated() {} });
    tokio::select! {
        biased;
        () = &mut ended => lost.cancel(),
        () = lost.cancelled() => {
            drop(lock(&client).take());
            ended.await;
        }
    }
}

/// A node's session with ZooKeeper.
struct ZkSession {
    /// Empty once the session is lost or closed: the library keeps a session alive as long as a client exists.
    client: Arc<Mutex<Option<Client>>>,
    ttl: Duration,
    /// The session is alive until then at least, on the node's clock. Raised by every answered request.
    valid_until: AtomicU64,
    /// Node of each attempt that waits or holds, as its full path, by key and owner.
    nodes: Mutex<HashMap<(Arc<str>, OwnerId), String>>,
    lost: CancellationToken,
    operations: AtomicU64,
    now: Arc<dyn Now>,
    tasks: Mutex<JoinSet<()>>,
}

/// Why a request did not bring what was asked.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no such node")]
    NoNode,
    #[error("session ended")]
    SessionEnded,
    /// It may or may not have been applied.
    #[error("{0}")]
    Unanswered(String),
    #[error("{0}")]
    Refused(String),
}

impl ZkSession {
    fn remaining(&self, request: &Request) -> Duration {
        request.remaining(&*self.now)
    }

    fn limit(&self, request: &Request) -> Duration {
        (self.remaining(request) + GRACE).min(self.ttl / 2)
    }

    /// Ends the session for good. Without a client, the library closes it.
    fn gone(&self) -> LockError {
        self.lost.cancel();
        drop(lock(&self.client).take());
        LockError::SessionLost("the session ended".to_owned())
    }

    fn client(&self) -> Result<Client, LockError> {
        let expired = self.now.now_ns() >= self.valid_until.load(Ordering::Acquire);
        let client = lock(&self.client).clone();
        match client {
            Some(client) if !expired && !self.lost.is_cancelled() => Ok(client),
            _ => Err(self.gone()),
        }
    }

    /// Waits for the answer to a request sent at `sent_ns`; any answer proves that the session was alive then.
    async fn answer<T>(
        &self,
        sent_ns: u64,
        limit: Duration,
        pending: impl Future<Output = Result<T, ZkError>>,
    ) -> Result<T, Failure> {
        self.operations.fetch_add(1, Ordering::Relaxed);
        let answer = match timeout(limit, pending).await {
            Err(_) => return Err(Failure::Unanswered("no answer in time".to_owned())),
            Ok(Err(error @ (ZkError::ConnectionLoss | ZkError::Timeout | ZkError::Custom(_)))) => {
                return Err(Failure::Unanswered(error.to_string()));
            }
            Ok(Err(
                ZkError::SessionExpired | ZkError::SessionMoved | ZkError::ClientClosed | ZkError::AuthFailed,
            )) => {
                return Err(Failure::SessionEnded);
            }
            Ok(Err(ZkError::NoNode)) => Err(Failure::NoNode),
            Ok(Err(error)) => Err(Failure::Refused(error.to_string())),
            Ok(Ok(value)) => Ok(value),
        };
        self.valid_until.fetch_max(stamp(valid_until(sent_ns, self.ttl)), Ordering::AcqRel);
        answer
    }

    fn failed(&self, failure: Failure) -> LockError {
        match failure {
            Failure::SessionEnded => self.gone(),
            Failure::Unanswered(why) => LockError::Unavailable(why),
            Failure::NoNode | Failure::Refused(_) => LockError::Protocol(failure.to_string()),
        }
    }

    async fn acquire_key(&self, request: &Request) -> Result<Grant, LockError> {
        let name = the_key(request)?;
        let place = self.enqueue(name, request).await?;
        let token = place.token;
        if let Err(error) = self.wait_turn(name, place, request).await {
            self.withdraw(name, &request.owner).await?;
            return Err(error);
        }
        self.grant(name, request, token)
    }

    fn grant(&self, name: &Arc<str>, request: &Request, token: Token) -> Result<Grant, LockError> {
        self.client()?;
        Ok(Grant {
            keys: vec![name.clone()],
            owner: request.owner.clone(),
            token: Some(token),
            validity: Validity::Until(self.valid_until.load(Ordering::Acquire)),
        })
    }

    /// Deletes the node of an attempt that gives up; done only when the server says so.
    async fn withdraw(&self, name: &Arc<str>, owner: &OwnerId) -> Result<ReleaseRet, LockError> {
        let attempt = (name.clone(), owner.clone());
        let Some(path) = lock(&self.nodes).get(&attempt).cloned() else { return Ok(ReleaseRet::AlreadyLost) };
        let deleted = match self.delete(&path).await {
            Ok(()) => ReleaseRet::Released,
            Err(Failure::NoNode) => ReleaseRet::AlreadyLost,
            Err(failure) => return Err(self.doubt(failure)),
        };
        lock(&self.nodes).remove(&attempt);
        Ok(deleted)
    }

    async fn delete(&self, path: &str) -> Result<(), Failure> {
        let client = self.client().map_err(|_| Failure::SessionEnded)?;
        self.answer(self.now.now_ns(), self.ttl / 2, client.delete(path, None)).await
    }

    fn doubt(&self, failure: Failure) -> LockError {
        match failure {
            Failure::Unanswered(why) => LockError::Unknown(why),
            failure => self.failed(failure),
        }
    }

    async fn release_key(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        let (Some(name), Ok(_)) = (grant.keys.first(), self.client()) else {
            return Ok(ReleaseRet::AlreadyLost);
        };
        let attempt = (name.clone(), grant.owner.clone());
        let known = lock(&self.nodes).contains_key(&attempt);
        if !known && grant.token.is_none() {
            // An attempt with an unknown outcome: it has a node if the queue shows one.
            let found = self.find(&names::queue_path(name), &names::owner_prefix(&grant.owner)).await;
            if let Some(place) = found.map_err(|failure| self.doubt(failure))? {
                lock(&self.nodes).insert(attempt, place.path);
            }
        }
        match self.withdraw(name, &grant.owner).await {
            Err(LockError::SessionLost(_)) => Ok(ReleaseRet::AlreadyLost),
            released => released,
        }
    }
}

impl LockSession for ZkSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            let name = the_key(request)?;
            let place = self.enqueue(name, request).await?;
            if place.before.is_empty() {
                return self.grant(name, request, place.token).map(Some);
            }
            self.withdraw(name, &request.owner).await?;
            Ok(None)
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(self.acquire_key(request))
    }

    /// One cheap read. The library pings by itself, but only an answer seen here proves the session alive.
    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let (client, sent_ns) = (self.client()?, self.now.now_ns());
            match self.answer(sent_ns, self.ttl / 4, client.check_stat(names::ROOT)).await {
                Ok(_) | Err(Failure::NoNode) => {}
                Err(failure) => {
                    self.client()?;
                    return Err(self.failed(failure));
                }
            }
            let session = Validity::Until(self.valid_until.load(Ordering::Acquire));
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
            drop(self.gone());
            let mut tasks = std::mem::take(&mut *lock(&self.tasks));
            // The task ends when the server has confirmed the end of the session.
            let ended = async { while tasks.join_next().await.is_some() {} };
            if timeout(self.ttl, ended).await.is_err() {
                tracing::debug!("session not closed in time; it expires");
            }
        })
    }
}

impl fmt::Debug for ZkSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZkSession").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// The single key of a request; levels, several keys and shared mode are not for this variant.
fn the_key(request: &Request) -> Result<&Arc<str>, LockError> {
    match (request.keys.as_slice(), request.mode, request.level) {
        ([key], Mode::Exclusive, 1) => Ok(key),
        _ => Err(LockError::Unsupported("zk-seq takes one key, exclusively")),
    }
}

/// The stamp until which something is valid; 0 when it is not.
fn stamp(validity: Validity) -> u64 {
    match validity {
        Validity::Until(stamp_ns) => stamp_ns,
        Validity::NoLease | Validity::Lost => 0,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
