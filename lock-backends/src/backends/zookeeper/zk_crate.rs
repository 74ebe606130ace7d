//! `zk-crate`: the lock recipe of the client library `zookeeper-client`, as a yardstick for `zk-seq`.
//!
//! **Protocol.** `Client::lock` creates an ephemeral sequential node, then lists the queue, and while another node is
//! before it, watches the nearest one and lists again. The prefix is `LockPrefix::new_custom` with the owner in it: with
//! `new_curator` the library leaks the node of a call that is dropped while it creates (its background delete uses the
//! name without the parent). Release deletes the node and awaits the answer, as `zk-seq` does, instead of the library's
//! delete in the background, which nobody can ask whether the lock was still held; the library's guard is forgotten for
//! that, with the few bytes of its path.
//!
//! **Round trips.** 2 to acquire, one after the other, 1 to release. Waiting: a read to watch and a list of the whole
//! queue for each predecessor.
//!
//! **Safety class T**: as `zk-seq`, but the library does not say which transaction made the node, so there is **no
//! token**. A try looks at the queue first; if somebody joins between that look and the lock, it waits for half the session
//! timeout at most.
//!
//! **Crash release.** As `zk-seq`: after the session timeout, rounded up to the server's tick.
//!
//! Sources: documentation of zookeeper-client 0.11, `Client::lock` and `LockPrefix`; Apache Curator, shared locks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::names;
use super::node::Node;
use super::session::{NodeRecipe, SURVIVES, Zookeeper};
use crate::backends::common::Recipe;
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockError, Request, SafetyClass, Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "zk-crate",
    summary: "the lock recipe of the client library, a yardstick",
    class: SafetyClass::Timed,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: false,
        shared_mode: false,
        lease: true,
        fair: true,
    },
    survives: SURVIVES,
    open: |endpoint| Zookeeper::open(endpoint, || Box::new(Crate)),
};

#[derive(Debug)]
struct Crate;

impl NodeRecipe for Crate {}

impl Recipe<Node> for Crate {
    fn acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(lock(node, name, request, Duration::MAX))
    }

    fn try_acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            if node.is_queued_for(name).await? {
                return Ok(None);
            }
            match lock(node, name, request, node.patience()).await {
                Ok(grant) => Ok(Some(grant)),
                // Somebody else was quicker, and the node is deleted.
                Err(LockError::TimedOut) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

async fn lock(node: &Node, name: &Arc<str>, request: &Request, limit: Duration) -> Result<Grant, LockError> {
    let requests = node.requests()?;
    let path = format!("{}/{}", names::queue_path(name), names::owner_prefix(&request.owner));
    node.count(2);
    let asked = requests.lock(&path, request.description.as_bytes());
    let locked = tokio::select! {
        biased;
        () = node.ended() => return Err(node.gone()),
        locked = asked => locked.map_err(|failure| LockError::Unavailable(failure.to_string())),
        () = node.wait_over(request) => Err(LockError::TimedOut),
        () = sleep(limit) => Err(LockError::TimedOut),
    };
    match locked {
        Ok(path) => {
            node.joined(name, &request.owner, path);
            node.grant(name, request, None)
        }
        Err(error) => {
            // The library deletes the node in the background; this finds out that it is gone.
            node.withdraw_unseen(name, &request.owner).await?;
            Err(error)
        }
    }
}
