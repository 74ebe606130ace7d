//! The backend of every variant here: a session on the node's one lease, and a recipe on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use super::requests::{Compare, TXN_MAX};
use super::url::{Cluster, cluster};
use super::wire;
use crate::backends::common::{CONNECT_TIMEOUT, Recipe, Tasks, exclusive_key};
use crate::session::{
    BoxFuture, Endpoint, Grant, LockBackend, LockError, LockSession, Operations, OwnerId, ReleaseRet,
    Renewal, Request, SessionOptions, Survives, Validity,
};

/// What a grant of every variant here survives.
pub(super) const SURVIVES: Survives = Survives {
    node_crash: "free after the lease: ttl, at least 2 s, plus up to 0.5 s",
    server_kill: "grants and tokens; the restarted server gives every lease its full ttl again",
    power_loss: "grants and tokens, while fsync is on",
};

/// The shortest lease worth asking for: servers of series 3.4 round up to it.
pub(super) const TTL_MIN_S: u64 = 2;

/// The backend of every variant here: a session on the node's one lease, and a recipe on it.
pub(super) struct Etcd {
    cluster: Cluster,
    recipe: fn() -> Box<dyn KeyRecipe>,
}

impl Etcd {
    pub(super) fn open(
        endpoint: &Endpoint,
        recipe: fn() -> Box<dyn KeyRecipe>,
    ) -> Result<Box<dyn LockBackend>, LockError> {
        Ok(Box::new(Self { cluster: cluster(endpoint)?, recipe }))
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
        Compare::Exists { key: key.to_owned() }
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

    /// Called with each renewal of the lease, to end what served waiters and serves none any more.
    fn renewed(&self) {}

    /// As [`LockSession::holder`].
    fn holder<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LockError>>;
}

/// A session and how it takes keys.
struct EtcdSession {
    node: Node,
    recipe: Box<dyn KeyRecipe>,
}

impl LockBackend for Etcd {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let ttl_s = options.ttl.as_secs_f64().ceil().max(TTL_MIN_S as f64) as i64;
            let ttl = Duration::from_secs(ttl_s.unsigned_abs());
            let (lost, tasks) = (CancellationToken::new(), Tasks::default());
            let requests = wire::connect(&self.cluster, &options.node, ttl, &lost, &tasks).await?;
            let node = timeout(CONNECT_TIMEOUT, Node::open(requests, ttl_s, options, lost, tasks))
                .await
                .map_err(|_| LockError::Unavailable("no answer from etcd".to_owned()))??;
            Ok(Arc::new(EtcdSession { node, recipe: (self.recipe)() }) as Arc<dyn LockSession>)
        })
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
            self.recipe.renewed();
            let key = |grant: &Arc<Grant>| {
                self.recipe.key(&self.node, grant.keys.first().map_or("", |key| key), &grant.owner)
            };
            let keys: Vec<String> = grants.iter().map(key).collect();
            let checks = join_all(keys.chunks(TXN_MAX).map(|chunk| self.node.exist(chunk)));
            let (session, checks) = tokio::join!(self.node.renew(), checks);
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
        Some(self.node.lease.ttl)
    }

    fn operations(&self) -> &Operations {
        self.node.requests.sent()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.node.close())
    }
}

impl fmt::Debug for EtcdSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdSession")
            .field("lease", &self.node.lease.id)
            .field("recipe", &self.recipe)
            .finish_non_exhaustive()
    }
}
