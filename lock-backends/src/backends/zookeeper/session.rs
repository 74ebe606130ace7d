//! The backend of every variant here: a session with the server, and a recipe on it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::node::Node;
use super::url::{Ensemble, ensemble};
use super::wire;
use crate::backends::common::{Recipe, exclusive_key};
use crate::session::{
    BoxFuture, Endpoint, Grant, LockBackend, LockError, LockSession, Operations, ReleaseRet, Renewal,
    Request, SessionOptions, Survives,
};

/// What a grant of every variant here survives.
pub(super) const SURVIVES: Survives = Survives {
    node_crash: "free after the session timeout, rounded up to the server's tick",
    server_kill: "grants and tokens, if the server is back and the client reconnected within the session timeout",
    power_loss: "grants and tokens as after a kill, while forceSync is on",
};

/// The backend of every variant here.
pub(super) struct Zookeeper {
    ensemble: Ensemble,
    recipe: fn() -> Box<dyn NodeRecipe>,
}

impl Zookeeper {
    pub(super) fn open(
        endpoint: &Endpoint,
        recipe: fn() -> Box<dyn NodeRecipe>,
    ) -> Result<Box<dyn LockBackend>, LockError> {
        Ok(Box::new(Self { ensemble: ensemble(endpoint)?, recipe }))
    }
}

impl fmt::Debug for Zookeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Zookeeper")
    }
}

impl LockBackend for Zookeeper {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let sent_ns = options.now.now_ns();
            let opened = wire::connect(&self.ensemble, options.ttl).await?;
            let node = Node::new(opened, sent_ns, options.now);
            Ok(Arc::new(ZkSession { node, recipe: (self.recipe)() }) as Arc<dyn LockSession>)
        })
    }
}

/// A [`Recipe`], and how its keys are given back and shown. By default it takes places in queues.
pub(super) trait NodeRecipe: Recipe<Node> {
    /// As [`LockSession::release`].
    fn release<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        grant: &'a Grant,
    ) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        match grant.token {
            Some(_) => Box::pin(node.withdraw(name, &grant.owner)),
            None => Box::pin(node.withdraw_unseen(name, &grant.owner)),
        }
    }

    /// As [`LockSession::holder`].
    fn holder<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(node.holder(name))
    }
}

/// A session and how it takes keys.
pub(super) struct ZkSession {
    pub(super) node: Node,
    pub(super) recipe: Box<dyn NodeRecipe>,
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
        Box::pin(async move {
            let (Some(name), Ok(_)) = (grant.keys.first(), self.node.requests()) else {
                return Ok(ReleaseRet::AlreadyLost);
            };
            match self.recipe.release(&self.node, name, grant).await {
                Err(LockError::SessionLost(_)) => Ok(ReleaseRet::AlreadyLost),
                released => released,
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

    fn operations(&self) -> &Operations {
        &self.node.operations
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.node.close())
    }
}

impl fmt::Debug for ZkSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ttl = self.node.ttl;
        f.debug_struct("ZkSession").field("ttl", &ttl).field("recipe", &self.recipe).finish_non_exhaustive()
    }
}
