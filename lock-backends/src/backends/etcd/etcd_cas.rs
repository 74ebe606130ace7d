//! `etcd-cas`: one key per lock, taken by whoever creates it; all keys of a node hang on the node's one
//! lease.
//!
//! **Protocol.** Acquire is one transaction: if the key does not exist, put it with my lease and my owner id
//! as its value, else read it. A waiter watches the key for its deletion, reads once what came before the
//! watch, and then tries at once; all watches of a node share one stream. Release
//! deletes the key if its create revision is still mine. Renewal is one message on the keep-alive stream, for
//! all keys of the node.
//!
//! ```text
//!  node A  delete k if create revision = 7 ──▶ revision 8
//!  node B  watches k ◀── DELETE ───────────────┘
//!          put k if absent ──▶ revision 9 = token
//! ```
//!
//! **A lost answer** is withdrawn before anything is tried again, with a proof: see file `withdrawal`.
//!
//! **Round trips.** 1 transaction to acquire, 1 to release, each one entry in the server's log. Refused once:
//! a watch and a read more, and one more transaction per lost race.
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

use std::sync::Arc;
use std::time::Duration;

use super::deletion::Watch;
use super::node::Node;
use super::requests::{Compare, Failure, Op, Read, Txn};
use super::session::{Etcd, KeyRecipe, SURVIVES};
use crate::backends::common::Recipe;
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockError, OwnerId, Request, SafetyClass, Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "etcd-cas",
    summary: "one key per lock on the node's lease, put if absent; waiters watch for its deletion",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: SURVIVES,
    open: |endpoint| Etcd::open(endpoint, || Box::new(Cas)),
};

/// The longest pause of whoever lost races: 8 ms.
const PAUSE_MAX_LOG2_MS: u32 = 3;

#[derive(Debug)]
struct Cas;

/// What one try brought.
enum Attempt {
    Granted(Grant),
    /// Held by somebody else as of this revision.
    Refused(i64),
}

impl Recipe<Node> for Cas {
    fn try_acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            match attempt(node, name, request, node.patience()).await {
                Ok(Attempt::Granted(grant)) => Ok(Some(grant)),
                Ok(Attempt::Refused(_)) => Ok(None),
                Err(LockError::Unknown(why)) => {
                    self.withdraw(node, name, &request.owner).await?;
                    Err(LockError::Unavailable(why))
                }
                Err(error) => Err(error),
            }
        })
    }

    fn acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move {
            let key = lock_key(name);
            let mut watch = None;
            let mut refusals = 0;
            loop {
                let refused_at = match attempt(node, name, request, node.limit(request)).await {
                    Ok(Attempt::Granted(grant)) => return Ok(grant),
                    Ok(Attempt::Refused(revision)) => revision,
                    Err(LockError::Unknown(_)) => {
                        node.withdraw_by_deadline(&key, self.mine(&key, &request.owner), request).await?;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                // From here to the next try no request is under way: giving up needs no withdrawal.
                refusals += 1;
                until_free(node, &key, refused_at, refusals, &mut watch, request).await?;
            }
        })
    }
}

impl KeyRecipe for Cas {
    fn key(&self, _: &Node, name: &str, _: &OwnerId) -> String {
        lock_key(name)
    }

    fn mine(&self, key: &str, owner: &OwnerId) -> Compare {
        Compare::Holds { key: key.to_owned(), value: owner.0.as_bytes().to_vec() }
    }

    /// The holder's owner id: the key's value has to be known to whoever withdraws.
    fn holder<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(node.first_value(Read::key(lock_key(name))))
    }
}

/// Waits until the key is deleted and, for whoever has lost races for it, not put again in a moment's pause.
async fn until_free(
    node: &Node,
    key: &str,
    mut held_at: i64,
    refusals: u32,
    watch: &mut Option<Watch>,
    request: &Request,
) -> Result<(), LockError> {
    let most = Duration::from_millis(1 << refusals.saturating_sub(1).min(PAUSE_MAX_LOG2_MS));
    for number in 0.. {
        node.until_deleted(key, held_at, watch, request).await?;
        // Timers are 1 ms coarse: some go at once, the others hear of them before they try in vain.
        let pause = Duration::from_millis(request.owner.spread(number, most).as_millis() as u64);
        if !pause.is_zero() {
            node.pause(pause, request).await?;
        }
        match watch.as_ref().and_then(Watch::put_again) {
            Some(put) => held_at = put,
            None => break,
        }
    }
    Ok(())
}

/// Tries once, giving the answer until `limit`. [`LockError::Unknown`]: it was lost and has to be withdrawn.
async fn attempt(
    node: &Node,
    name: &Arc<str>,
    request: &Request,
    limit: Duration,
) -> Result<Attempt, LockError> {
    let key = lock_key(name);
    loop {
        let value = request.owner.0.as_bytes().to_vec();
        let txn = Txn {
            when: vec![Compare::Absent { key: key.clone() }, node.fence()?],
            then: vec![Op::Put { key: key.clone(), value, lease: node.lease }],
            or_else: vec![Op::Read(Read::key(key.as_str())), node.read_fence()],
        };
        let answer = match node.txn(name, txn, limit).await {
            Ok(answer) => answer,
            Err(Failure::LeaseGone) => return Err(node.gone()),
            Err(Failure::Unanswered(why)) => return Err(LockError::Unknown(why)),
        };
        if answer.succeeded {
            return node.grant(name, &request.owner, answer.revision).map(Attempt::Granted);
        }
        match answer.first_key(0)? {
            // My own earlier try, whose answer was lost.
            Some(there) if there.value == request.owner.0.as_bytes() && there.lease == node.lease.id => {
                return node.grant(name, &request.owner, there.created).map(Attempt::Granted);
            }
            Some(_) => return Ok(Attempt::Refused(answer.revision)),
            // The key was free and only the fence was outdated: again with the new one.
            None => node.set_fence(answer.first_key(1)?)?,
        }
    }
}

fn lock_key(name: &str) -> String {
    format!("lockbench/lock/{name}")
}
