//! `etcd-v3lock-checked`: the server's own lock RPC, by a client that does not take its word for it; a yardstick for
//! `etcd-queue`.
//!
//! **Protocol.** `v3lock.Lock(name, lease)` runs etcd's queue recipe inside the server and answers when the lock is held.
//! The key is `name/lease`: the same lease asks only once at a time, so the local FIFO is required. After the answer the key is
//! read: the server of series 3.4 answers waiters whose lease has ended, too, with nothing at the server behind it (`etcd-v3lock`
//! shows what comes of that). Release deletes that key in a transaction that says whether it was there, instead of `Unlock`, which
//! does not say.
//!
//! **Round trips.** 2 to acquire, the first of them also while waiting, on a stream of its own; 1 to release. The server sorts the
//! whole queue for each.
//!
//! **What the check is worth.** Between it and the write the lease may end as any lease may: the session's own clock says when, to
//! whoever heeds it.
//!
//! **Giving up.** A cancelled RPC makes the server delete the key *by name* some time later, which could be the next
//! attempt's. So the key is read and deleted by its revision, and the RPC is left to end by itself. A request whose
//! answer was lost and that has put no key yet cannot be proven withdrawn, since the RPC compares no fence: it is
//! *unknown*, its key is looked for twice, and the lease ends it at last.
//!
//! **A try** looks at the queue first; if somebody joins between that look and the request, it waits for half the ttl at
//! most.
//!
//! **Safety class F**.
//!
//! **Token.** The revision in the answer's header: not before the deletion of every earlier holder's key, and before that
//! of one's own. (Reasoned, not promised by the server.)
//!
//! **Crash release.** As `etcd-cas`: after the lease's ttl, at most half a second and the server's queue of expiries
//! later.
//!
//! Sources: etcd documentation, "API reference: concurrency"; etcd's server package `v3lock` and its pull request 11490, which
//! re-checks in the server from 3.5 on (structure only); Jepsen, "etcd 3.4.3"; etcd issues 9921, 11456 and 22082.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::node::Node;
use super::requests::{Compare, Read, Reply};
use super::session::{Etcd, KeyRecipe, SURVIVES};
use super::v3lock::{LATE, queue};
use crate::backends::common::Recipe;
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockError, OwnerId, ReleaseRet, Request, SafetyClass,
    Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "etcd-v3lock-checked",
    summary: "the server's own lock RPC, and a look at the key behind its answer",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Required,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: true,
    },
    survives: SURVIVES,
    open: |endpoint| Etcd::open(endpoint, || Box::new(V3lock)),
};

#[derive(Debug)]
struct V3lock;

impl Recipe<Node> for V3lock {
    fn acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(self.lock(node, name, request, Duration::MAX))
    }

    fn try_acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            if self.holder(node, name).await?.is_some() {
                return Ok(None);
            }
            match self.lock(node, name, request, node.patience()).await {
                Ok(grant) => Ok(Some(grant)),
                // Somebody else was quicker, and the place is given up.
                Err(LockError::TimedOut) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }
}

impl KeyRecipe for V3lock {
    fn key(&self, node: &Node, name: &str, _: &OwnerId) -> String {
        format!("{}/{:x}", queue(name), node.lease.id)
    }

    fn withdraw<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
        owner: &'a OwnerId,
    ) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            let key = self.key(node, name, owner);
            match node.delete_if(name, self.mine(&key, owner), key.clone()).await? {
                ReleaseRet::AlreadyLost => {
                    sleep(LATE).await;
                    node.delete_if(name, self.mine(&key, owner), key).await
                }
                released => Ok(released),
            }
        })
    }

    /// The node's key is nobody else's, whatever its revision.
    fn release<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
        grant: &'a Grant,
    ) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        let key = self.key(node, name, &grant.owner);
        Box::pin(node.delete_if(name, self.mine(&key, &grant.owner), key))
    }

    /// The server writes no value: the lease of the first in the queue is all that it knows.
    fn holder<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(async move {
            let first = node.first_key(Read::oldest(format!("{}/", queue(name)))).await?;
            Ok(first.map(|first| format!("lease {:x}", first.lease)))
        })
    }
}

impl V3lock {
    async fn lock(
        &self,
        node: &Node,
        name: &Arc<str>,
        request: &Request,
        limit: Duration,
    ) -> Result<Grant, LockError> {
        node.fence()?;
        let mut asked = node.requests.lock(queue(name), node.lease);
        let granted_at = tokio::select! {
            biased;
            () = node.ended() => return Err(node.gone()),
            granted_at = &mut asked => granted_at,
            () = node.wait_over(request) => return Err(self.give_up(node, name, request, asked).await),
            () = sleep(limit) => return Err(self.give_up(node, name, request, asked).await),
        };
        match granted_at {
            Ok(revision) => match node.first_key(Read::key(self.key(node, name, &request.owner))).await? {
                Some(_) => node.grant(name, &request.owner, revision),
                // The lease ended while the server let us wait.
                None => Err(node.gone()),
            },
            Err(failure) => Err(LockError::Unknown(failure.to_string())),
        }
    }

    /// Deletes the place that the request has; the request is left to end by itself.
    async fn give_up(
        &self,
        node: &Node,
        name: &str,
        request: &Request,
        asked: Reply<'static, i64>,
    ) -> LockError {
        let key = self.key(node, name, &request.owner);
        let place = timeout(node.patience(), node.first_key(Read::key(key.as_str()))).await;
        node.go_on(asked);
        let created = match place {
            Ok(Ok(Some(there))) => there.created,
            Ok(Ok(None)) => return LockError::Unknown("the request has not arrived".to_owned()),
            Ok(Err(error)) => return LockError::Unknown(error.to_string()),
            Err(_) => return LockError::Unknown("no answer in time".to_owned()),
        };
        let mine = Compare::CreatedAt { key: key.clone(), revision: created };
        match node.delete_if(name, mine, key).await {
            Ok(_) => LockError::TimedOut,
            Err(error) => error,
        }
    }
}
