//! `zk-ephemeral`: one ephemeral node for each lock, held by whoever makes it; its deletion is watched.
//!
//! **Protocol.** Acquire makes the node `/lockbench/%held/<key>` with the owner in its data: there is none: granted. There is one: read
//! and watch it, and make one again when it is deleted. Release deletes it.
//!
//! ```text
//!  node A  makes k ──▶ transaction 7 = token     deletes k ──┐
//!  node B  k is there ── watches k ◀─────────────────────────┤ makes k ──▶ transaction 9 = token
//!  node C  k is there ── watches k ◀─────────────────────────┘ k is there ── watches k
//! ```
//!
//! **The herd.** A release wakes all who wait, and each of them sends a write, of which one succeeds; whoever comes at that
//! moment may be first. So the local FIFO is required: one waiter of each node, and a herd no larger than there are nodes.
//! On a key that many fight for, `zk-seq` asks less and is fair.
//!
//! **A lost answer.** After one to the making or to the deletion of a node, the server is synced and the node is read in the same
//! session, which the old connection can no longer change: it is this owner's, or not. The path is everybody's, and what was this
//! owner's may be another's by now, so that a deletion is sent without such a look only once, as the first thing after the grant.
//!
//! **Round trips.** 1 write to acquire, 1 to release: the least that there is. Waiting: a read for each watch, and a write for each
//! release until one's own grant. Renewal as `zk-seq`; a node of another transaction at the path is a lock lost.
//!
//! **Safety class F**: exclusive while clocks run at similar rates and pauses stay below the margin, and fenced by a token. Trap:
//! who deletes a holder's node by hand lets the next one in, whose node the first one's release deletes if it comes before the
//! first one's next renewal. Tokens rise all the same.
//!
//! **Token.** The `czxid` of the owner's node: transaction ids rise.
//!
//! **Crash release.** As `zk-seq`: after the session timeout, rounded up to the server's tick.
//!
//! Sources: ZooKeeper documentation, "Programmer's Guide" (ephemeral nodes, watches, consistency guarantees); Apache HBase's and
//! Kafka's elections (one ephemeral node; structure only).

use std::sync::Arc;

use super::names;
use super::node::{Node, token_of};
use super::requests::{Event, Failure};
use super::session::{NodeRecipe, SURVIVES, Zookeeper};
use crate::backends::common::Recipe;
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockError, OwnerId, ReleaseRet, Request, SafetyClass,
    Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "zk-ephemeral",
    summary: "one ephemeral node per lock, put if absent; waiters watch for its deletion",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Required,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: SURVIVES,
    open: |endpoint| Zookeeper::open(endpoint, || Box::new(Ephemeral)),
};

#[derive(Debug)]
pub(super) struct Ephemeral;

/// Whose node is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Made by that transaction.
    Mine(i64),
    Anothers,
    Nobodys,
}

impl Recipe<Node> for Ephemeral {
    fn acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move {
            loop {
                if let Some(grant) = take(node, name, request).await? {
                    return Ok(grant);
                }
                // From here to the next try nothing of this attempt is at the server or on its way there.
                until_deleted(node, &names::held_path(name), request).await?;
            }
        })
    }

    fn try_acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(take(node, name, request))
    }
}

impl NodeRecipe for Ephemeral {
    fn release<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        grant: &'a Grant,
    ) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(give_back(node, name, &grant.owner))
    }

    fn holder<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(async move {
            let (requests, path) = (node.requests()?, names::held_path(name));
            match node.answer(node.now_ns(), node.patience(), requests.read(&path)).await {
                Ok(found) => Ok(names::signed(&found.data)),
                Err(Failure::NoNode) => Ok(None),
                Err(failure) => Err(node.failed(failure)),
            }
        })
    }
}

/// Makes the node. `None`: another's is there.
async fn take(node: &Node, name: &Arc<str>, request: &Request) -> Result<Option<Grant>, LockError> {
    let (path, signature) = (names::held_path(name), names::signature(&request.owner));
    let data = format!("{signature}{}", request.description);
    loop {
        let (requests, sent_ns, limit) = (node.requests()?, node.now_ns(), node.limit(request));
        let whose = match node.answer(sent_ns, limit, requests.put_if_absent(&path, data.as_bytes())).await {
            Ok(czxid) => Whose::Mine(czxid),
            Err(Failure::NodeExists) => Whose::Anothers,
            Err(Failure::NoNode) => {
                // Whoever else makes the parent at the same time is welcome.
                let (sent_ns, limit) = (node.now_ns(), node.limit(request));
                let made = node.answer(sent_ns, limit, requests.mkdir(names::HELD)).await;
                made.map_err(|failure| node.failed(failure))?;
                Whose::Nobodys
            }
            Err(Failure::Unanswered(_)) => node
                .until_answered(request, || whose(node, &path, &signature))
                .await
                .map_err(|failure| node.doubt(failure))?,
            Err(failure) => return Err(node.failed(failure)),
        };
        match whose {
            Whose::Mine(czxid) => {
                node.joined(name, &request.owner, path);
                return node.grant(name, request, Some(token_of(czxid))).map(Some);
            }
            Whose::Anothers => return Ok(None),
            Whose::Nobodys if node.remaining(request).is_zero() => return Err(LockError::TimedOut),
            Whose::Nobodys => {}
        }
    }
}

/// Looks whose node is at the path, after all that this session has asked before.
async fn whose(node: &Node, path: &str, signature: &str) -> Result<Whose, Failure> {
    let (limit, sent_ns) = (node.patience(), node.now_ns());
    let requests = node.requests().map_err(|_| Failure::SessionEnded)?;
    // Both are on their way before either is awaited.
    let (sync, read) = (requests.sync(path), requests.read(path));
    let (synced, read) = tokio::join!(node.answer(sent_ns, limit, sync), node.answer(sent_ns, limit, read));
    match (synced, read) {
        (Err(Failure::NoNode) | Ok(()), Err(Failure::NoNode)) => Ok(Whose::Nobodys),
        (Err(failure), _) | (_, Err(failure)) => Err(failure),
        (Ok(()), Ok(found)) if found.data.starts_with(signature.as_bytes()) => Ok(Whose::Mine(found.czxid)),
        (Ok(()), Ok(_)) => Ok(Whose::Anothers),
    }
}

/// Waits until the node is deleted, or may be.
async fn until_deleted(node: &Node, path: &str, request: &Request) -> Result<(), LockError> {
    let Some(event) = node.watch(path, request).await? else { return Ok(()) };
    let event = tokio::select! {
        biased;
        () = node.ended() => Event::SessionEnded,
        event = event => event,
        () = node.wait_over(request) => return Err(LockError::TimedOut),
    };
    if event == Event::SessionEnded { Err(node.gone()) } else { Ok(()) }
}

/// Deletes the node if it is this owner's.
async fn give_back(node: &Node, name: &Arc<str>, owner: &OwnerId) -> Result<ReleaseRet, LockError> {
    let (requests, path) = (node.requests()?, names::held_path(name));
    if node.path_of(name, owner).is_none() {
        let whose = whose(node, &path, &names::signature(owner)).await;
        if !matches!(whose.map_err(|failure| node.doubt(failure))?, Whose::Mine(_)) {
            return Ok(ReleaseRet::AlreadyLost);
        }
    }
    // Before it is sent: whoever asks again has to look.
    node.left(name, owner);
    match node.answer(node.now_ns(), node.patience(), requests.delete(&path)).await {
        Ok(()) => Ok(ReleaseRet::Released),
        Err(Failure::NoNode) => Ok(ReleaseRet::AlreadyLost),
        Err(failure) => Err(node.doubt(failure)),
    }
}
