//! What the variants on ZooKeeper share: the node's one session and its validity, names, and the way to leave a queue.
//!
//! **A lost answer.** The owner's id, unique per attempt, is part of the node's name. After a connection loss
//! the queue is synced and listed in the same session, which the old connection can no longer change: the
//! node is found and used, or proven absent. A waiter that gives up deletes its node; when that stays
//! unanswered the outcome is *unknown*.
//!
//! **Validity** counts from before the last answered request was sent. The client library says
//! `Expired` only at 7/5 of the timeout, far too late; here the session ends for good when its validity does.
//! (With several servers, a follower reports its clients to the leader every half tick; the leader rounds
//! expiry up to a tick, which covers that.)

mod bare;
pub(super) mod names;
mod no_delay;
mod queue;

mod zk_seq;
mod zk_crate;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use zookeeper_client::{Client, Error as ZkError, SessionState, StateWatcher};

use self::no_delay::no_delay;
use crate::backends::common::{CONNECT_TIMEOUT, LeaseEnd, Recipe, Tasks, answer_within, exclusive_key, lock};
use crate::session::{
    BoxFuture, Endpoint, Grant, LockBackend, LockError, LockSession, Now, OwnerId, ReleaseRet, Renewal,
    Request, Server, SessionOptions, Survives, Token, Validity, valid_until,
};

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "zookeeper",
    url: "host:port[,host:port …]",
    variants: &[&zk_seq::VARIANT, &zk_crate::VARIANT],
    settings: &[
        ("forceSync", "whether a grant outlives a loss of power"),
        ("tickTime", "the least and the longest session timeout: 2 and 20 ticks"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Zookeeper::connect(endpoint).await?) as _) }),
};

/// What a grant of every variant here survives.
pub(super) const SURVIVES: Survives = Survives {
    node_crash: "free after the session timeout, rounded up to the server's tick",
    server_kill: "grants and tokens, if the server is back and the client reconnected within the session timeout",
    power_loss: "grants and tokens as after a kill, while forceSync is on",
};

/// Pause before asking again on a connection that just failed.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// The backend of every variant here.
pub(super) struct Zookeeper {
    cluster: String,
    recipe: fn() -> Box<dyn Recipe<Node>>,
}

impl Zookeeper {
    pub(super) fn open(
        endpoint: &Endpoint,
        recipe: fn() -> Box<dyn Recipe<Node>>,
    ) -> Result<Box<dyn LockBackend>, LockError> {
        if endpoint.0.is_empty() {
            return Err(LockError::Protocol("empty zookeeper endpoint".to_owned()));
        }
        Ok(Box::new(Self { cluster: endpoint.0.clone(), recipe }))
    }
}

impl fmt::Debug for Zookeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zookeeper")
    }
}

struct ZkSession {
    node: Node,
    recipe: Box<dyn Recipe<Node>>,
}

impl LockBackend for Zookeeper {
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
            let tasks = Tasks::default();
            let client = Arc::new(Mutex::new(Some(client)));
            no_delay(&self.cluster).await;
            tasks.spawn(end_together(client.clone(), states, self.cluster.clone(), lost.clone()));
            let node = Node {
                client,
                ttl,
                valid_until: LeaseEnd::new(valid_until(sent_ns, ttl)),
                nodes: Mutex::default(),
                lost,
                operations: AtomicU64::new(1),
                now: options.now,
                tasks,
            };
            Ok(Arc::new(ZkSession { node, recipe: (self.recipe)() }) as Arc<dyn LockSession>)
        })
    }
}

/// Fires `lost` when the library gives the session up, and has the session closed when `lost` fires: it would keep
/// the nodes of lost locks alive. Ends when the session has. Sets up each new connection in between.
async fn end_together(
    client: Arc<Mutex<Option<Client>>>,
    mut states: StateWatcher,
    cluster: String,
    lost: CancellationToken,
) {
    let mut ended = std::pin::pin!(async {
        loop {
            match states.changed().await {
                state if state.is_terminated() => return,
                SessionState::SyncConnected => no_delay(&cluster).await,
                _ => {}
            }
        }
    });
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
pub(super) struct Node {
    /// Empty once the session is lost or closed: the library keeps a session alive as long as a client exists.
    client: Arc<Mutex<Option<Client>>>,
    ttl: Duration,
    /// The session is alive until then at least, on the node's clock. Raised by every answered request.
    valid_until: LeaseEnd,
    /// Node of each attempt that waits or holds, as its full path, by key and owner.
    nodes: Mutex<HashMap<(Arc<str>, OwnerId), String>>,
    lost: CancellationToken,
    operations: AtomicU64,
    now: Arc<dyn Now>,
    tasks: Tasks,
}

/// Why a request did not bring what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
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

impl Node {
    pub(super) fn remaining(&self, request: &Request) -> Duration {
        request.remaining(&*self.now)
    }

    pub(super) fn limit(&self, request: &Request) -> Duration {
        answer_within(request, &*self.now, self.ttl / 2)
    }

    /// Ends the session for good. Without a client, the library closes it.
    pub(super) fn gone(&self) -> LockError {
        self.lost.cancel();
        drop(lock(&self.client).take());
        LockError::SessionLost("the session ended".to_owned())
    }

    pub(super) fn client(&self) -> Result<Client, LockError> {
        let expired = self.valid_until.has_passed(&*self.now);
        let client = lock(&self.client).clone();
        match client {
            Some(client) if !expired && !self.lost.is_cancelled() => Ok(client),
            _ => Err(self.gone()),
        }
    }

    /// Proves the session alive by one cheap read, pipelined with one for each grant: a node that somebody else
    /// deleted is a lock lost.
    async fn renew(&self, grants: &[Arc<Grant>]) -> Result<Renewal, LockError> {
        let (client, sent_ns, limit) = (self.client()?, self.now.now_ns(), self.ttl / 4);
        let paths: Vec<_> = grants.iter().map(|grant| self.path_of(grant)).collect();
        let root = client.check_stat(names::ROOT);
        let own = paths.iter().map(|path| async {
            let path = path.as_ref()?;
            Some(self.answer(sent_ns, limit, client.check_stat(path)).await)
        });
        let (root, own) = tokio::join!(self.answer(sent_ns, limit, root), join_all(own));
        match root {
            Ok(_) | Err(Failure::NoNode) => {}
            Err(failure) => {
                self.client()?;
                return Err(self.failed(failure));
            }
        }
        let session = self.valid_until.validity();
        let held = own.into_iter().map(|stat| match stat {
            None | Some(Ok(None) | Err(Failure::NoNode)) => Validity::Lost,
            Some(Ok(Some(_)) | Err(_)) => session,
        });
        Ok(Renewal { session, grants: held.collect() })
    }

    fn path_of(&self, grant: &Grant) -> Option<String> {
        let attempt = (Arc::clone(grant.keys.first()?), grant.owner.clone());
        lock(&self.nodes).get(&attempt).cloned()
    }

    /// The data of the first node in the queue.
    async fn holder(&self, key: &str) -> Result<Option<String>, LockError> {
        let (client, limit, queue) = (self.client()?, self.ttl / 2, names::queue_path(key));
        let listed = self.answer(self.now.now_ns(), limit, client.list_children(&queue)).await;
        let children = match listed {
            Ok(children) => children,
            Err(Failure::NoNode) => return Ok(None),
            Err(failure) => return Err(self.failed(failure)),
        };
        let numbered = children.into_iter().filter_map(|child| Some((names::sequence(&child)?, child)));
        let Some((_, first)) = numbered.min() else { return Ok(None) };
        let path = format!("{queue}/{first}");
        match self.answer(self.now.now_ns(), limit, client.get_data(&path)).await {
            Ok((data, _)) => Ok(Some(String::from_utf8_lossy(&data).into_owned())),
            Err(Failure::NoNode) => Ok(None),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// Waits for the answer to a request sent at `sent_ns`; any answer proves that the session was alive then.
    pub(super) async fn answer<T>(
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
        self.valid_until.raise(valid_until(sent_ns, self.ttl));
        answer
    }

    pub(super) fn failed(&self, failure: Failure) -> LockError {
        match failure {
            Failure::SessionEnded => self.gone(),
            Failure::Unanswered(why) => LockError::Unavailable(why),
            Failure::NoNode | Failure::Refused(_) => LockError::Protocol(failure.to_string()),
        }
    }

    pub(super) fn grant(
        &self,
        name: &Arc<str>,
        request: &Request,
        token: Option<Token>,
    ) -> Result<Grant, LockError> {
        self.client()?;
        Ok(Grant {
            keys: vec![name.clone()],
            owner: request.owner.clone(),
            token,
            validity: self.valid_until.validity(),
        })
    }

    /// Deletes the node of an attempt that gives up; done only when the server says so.
    pub(super) async fn withdraw(&self, name: &Arc<str>, owner: &OwnerId) -> Result<ReleaseRet, LockError> {
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

    pub(super) fn doubt(&self, failure: Failure) -> LockError {
        match failure {
            Failure::Unanswered(why) => LockError::Unknown(why),
            failure => self.failed(failure),
        }
    }

    async fn release_key(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        let (Some(name), Ok(_)) = (grant.keys.first(), self.client()) else {
            return Ok(ReleaseRet::AlreadyLost);
        };
        let released = match grant.token {
            Some(_) => self.withdraw(name, &grant.owner).await,
            None => self.withdraw_unseen(name, &grant.owner).await,
        };
        match released {
            Err(LockError::SessionLost(_)) => Ok(ReleaseRet::AlreadyLost),
            released => released,
        }
    }

    /// As [`Self::withdraw`], of an attempt that may have a node without our knowing it: if the queue shows one.
    pub(super) async fn withdraw_unseen(
        &self,
        name: &Arc<str>,
        owner: &OwnerId,
    ) -> Result<ReleaseRet, LockError> {
        let attempt = (name.clone(), owner.clone());
        let known = lock(&self.nodes).contains_key(&attempt);
        if !known {
            let found = self.find(&names::queue_path(name), &names::owner_prefix(owner)).await;
            if let Some(place) = found.map_err(|failure| self.doubt(failure))? {
                lock(&self.nodes).insert(attempt, place.path);
            }
        }
        self.withdraw(name, owner).await
    }

    /// The attempt has this node.
    pub(super) fn joined(&self, name: &Arc<str>, request: &Request, path: String) {
        lock(&self.nodes).insert((name.clone(), request.owner.clone()), path);
    }

    /// Whether anybody holds or waits for the key.
    pub(super) async fn is_queued_for(&self, name: &str) -> Result<bool, LockError> {
        let (client, queue) = (self.client()?, names::queue_path(name));
        match self.answer(self.now.now_ns(), self.ttl / 2, client.list_children(&queue)).await {
            Ok(children) => Ok(!children.is_empty()),
            Err(Failure::NoNode) => Ok(false),
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// How long a request may take that nobody waits for.
    pub(super) fn patience(&self) -> Duration {
        self.ttl / 2
    }

    pub(super) async fn ended(&self) {
        self.lost.cancelled().await;
    }

    pub(super) async fn wait_over(&self, request: &Request) {
        request.over(&*self.now).await;
    }

    /// Requests that the library sends for itself.
    pub(super) fn count(&self, operations: u64) {
        self.operations.fetch_add(operations, Ordering::Relaxed);
    }
}

impl LockSession for ZkSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move { self.recipe.try_acquire(&self.node, exclusive_key(request)?, request).await })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move { self.recipe.acquire(&self.node, exclusive_key(request)?, request).await })
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(self.node.renew(grants))
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(self.node.release_key(grant))
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(self.node.holder(key))
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
            drop(self.node.gone());
            // The task ends when the server has confirmed the end of the session.
            if timeout(self.node.ttl, self.node.tasks.ended()).await.is_err() {
                tracing::debug!("session not closed in time; it expires");
            }
        })
    }
}

impl fmt::Debug for ZkSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ttl = self.node.ttl;
        f.debug_struct("ZkSession").field("ttl", &ttl).field("recipe", &self.recipe).finish_non_exhaustive()
    }
}
