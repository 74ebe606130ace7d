//! `etcd-queue`: waiters queue as keys under the lock's name; whose is the oldest, has the lock.
//!
//! **Protocol.** Acquire is one transaction: put `queue/<name>/<lease>-<seat>` on the node's lease, and read the two youngest
//! keys of the queue: mine and the one before it. None before it: granted. Otherwise the session follows the queue by one watch, for
//! all of its attempts and for as long as one has waited in the last renewal period: it reads the queue once, hears each key that
//! comes and goes, and grants when mine is the oldest. Release deletes the key if its create revision is still mine.
//!
//! ```text
//!  node A  key of revision 4 ── delete ──┐
//!  node B  key of revision 5, hears it ◀─┤ the oldest: granted, no further request
//!  node C  key of revision 6, hears it ◀─┘
//! ```
//!
//! **Key names are used again**, since etcd's reads pass the names of deleted keys until the history is compacted: an
//! attempt takes a *seat* of its session, and leaves it when it is proven that nothing of it is at the server or on its
//! way there. Revisions, not names, tell attempts apart.
//!
//! **A lost answer** is withdrawn before anything is tried again, with a proof: see file `withdrawal`.
//!
//! **Round trips.** 1 transaction to acquire, 1 to release, each one entry in the server's log. Waiting: none, except for a watch and
//! a read of the queue when it begins; but each session that waits hears two changes of each grant. The server sorts the whole
//! queue for a read; where the watch shows that somebody is in it, a key is put without one.
//!
//! **Safety class F**: exclusive while clocks run at similar rates and pauses stay below the lease's margin,
//! and fenced by a token.
//!
//! **Token.** The key's create revision: the queue's own order.
//!
//! **Crash release.** As `etcd-cas`: after the lease's ttl, at most half a second and the server's queue of expiries
//! later.
//!
//! Sources: etcd documentation, "etcd API" (transactions, watch, lease) and "KV API guarantees"; etcd's Go package
//! `concurrency` (the recipe; structure only).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::line::{Lines, Turn};
use super::node::{Node, RETRY_DELAY};
use super::requests::{Answer, Compare, Content, Failure, Keys, Op, Order, Read, Txn};
use super::session::{Etcd, KeyRecipe, SURVIVES};
use crate::backends::common::{Recipe, lock};
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockError, OwnerId, ReleaseRet, Request, SafetyClass,
    Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "etcd-queue",
    summary: "keys on the node's lease in a queue by create revision, followed by one watch of each waiting node",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: true,
    },
    survives: SURVIVES,
    open: |endpoint| Etcd::open(endpoint, || Box::<Queue>::default()),
};

#[derive(Debug, Default)]
struct Queue {
    seats: Seats,
    lines: Lines,
}

/// Where an attempt stands.
struct Place {
    /// Create revision of its key.
    created: i64,
    /// Whether it is known that nobody is before it.
    first: bool,
}

impl Recipe<Node> for Queue {
    fn acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move {
            self.seats.take(name, &request.owner);
            let taken = self.queue_up(node, name, request).await;
            if !matches!(taken, Ok(_) | Err(LockError::Unknown(_))) {
                self.seats.leave(name, &request.owner);
            }
            taken
        })
    }

    fn try_acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            self.seats.take(name, &request.owner);
            let key = self.key(node, name, &request.owner);
            let refused = match enqueue(node, name, &key, request, Join::IfFree).await {
                Ok(Some(place)) => return node.grant(name, &request.owner, place.created).map(Some),
                Ok(None) => Ok(None),
                Err(LockError::Unknown(why)) => {
                    self.withdraw(node, name, &request.owner).await?;
                    Err(LockError::Unavailable(why))
                }
                Err(error) => Err(error),
            };
            self.seats.leave(name, &request.owner);
            refused
        })
    }
}

impl KeyRecipe for Queue {
    /// An attempt without a seat has a key that nobody puts.
    fn key(&self, node: &Node, name: &str, owner: &OwnerId) -> String {
        match self.seats.of(name, owner) {
            Some(seat) => format!("{}{:x}-{seat}", prefix(name), node.lease.id),
            None => format!("{}{}", prefix(name), owner.0),
        }
    }

    fn renewed(&self) {
        self.lines.drop_idle();
    }

    fn withdraw<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
        owner: &'a OwnerId,
    ) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            let key = self.key(node, name, owner);
            let withdrawn = node.withdraw(&key, self.mine(&key, owner)).await?;
            self.seats.leave(name, owner);
            Ok(withdrawn)
        })
    }

    fn release<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
        grant: &'a Grant,
    ) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            let key = self.key(node, name, &grant.owner);
            let released = node.release_by_revision(name, key, grant).await?;
            self.seats.leave(name, &grant.owner);
            Ok(released)
        })
    }

    fn holder<'a>(
        &'a self,
        node: &'a Node,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(node.first_value(Read::oldest(prefix(name))))
    }
}

impl Queue {
    /// Joins the queue and waits for the grant. Unless it ends with that or with [`LockError::Unknown`], nothing of the
    /// attempt is left at the server.
    async fn queue_up(&self, node: &Node, name: &Arc<str>, request: &Request) -> Result<Grant, LockError> {
        let key = self.key(node, name, &request.owner);
        let place = loop {
            let join = if self.lines.is_busy(name) { Join::Behind } else { Join::Always };
            match enqueue(node, name, &key, request, join).await {
                Ok(place) => {
                    break place.ok_or_else(|| LockError::Protocol("no place in the queue".into()))?;
                }
                Err(LockError::Unknown(_)) => {
                    node.withdraw_by_deadline(&key, self.mine(&key, &request.owner), request).await?;
                }
                Err(error) => return Err(error),
            }
        };
        let created = place.created;
        if !place.first
            && let Err(error) = self.wait_turn(node, name, created, request).await
        {
            let mine = Compare::CreatedAt { key: key.clone(), revision: created };
            node.delete_if(name, mine, key).await?;
            return Err(error);
        }
        node.grant(name, &request.owner, created)
    }

    /// Waits until nobody is before the key that was created then.
    async fn wait_turn(
        &self,
        node: &Node,
        name: &Arc<str>,
        created: i64,
        request: &Request,
    ) -> Result<(), LockError> {
        let prefix = prefix(name);
        loop {
            let turn = tokio::select! {
                biased;
                () = node.ended() => return Err(node.gone()),
                turn = self.lines.turn(&*node.requests, name, &prefix, created, node.limit(request)) => turn,
                () = node.wait_over(request) => return Err(LockError::TimedOut),
            };
            match turn {
                Ok(Turn::Come) => return Ok(()),
                Ok(Turn::Gone) => {
                    return Err(LockError::Unavailable("somebody deleted the place in the queue".to_owned()));
                }
                // What was not heard, the next watch reads.
                Err(LockError::Unavailable(_)) => node.pause(RETRY_DELAY, request).await?,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The seats of a session's attempts: numbers from 0, for each lock as many as it ever had attempts at once.
#[derive(Debug, Default)]
struct Seats(Mutex<HashMap<Arc<str>, Row>>);

/// The seats of one lock. It is there while any is taken.
#[derive(Debug, Default)]
struct Row {
    taken: HashMap<OwnerId, usize>,
    /// Those below the highest taken so far that are not.
    free: Vec<usize>,
}

impl Seats {
    fn rows(&self) -> MutexGuard<'_, HashMap<Arc<str>, Row>> {
        lock(&self.0)
    }

    fn of(&self, name: &str, owner: &OwnerId) -> Option<usize> {
        self.rows().get(name)?.taken.get(owner).copied()
    }

    fn take(&self, name: &Arc<str>, owner: &OwnerId) {
        let mut rows = self.rows();
        let row = rows.entry(Arc::clone(name)).or_default();
        let seat = row.free.pop().unwrap_or(row.taken.len());
        row.taken.insert(owner.clone(), seat);
    }

    /// To be called only when nothing of the attempt is at the server or on its way there.
    fn leave(&self, name: &str, owner: &OwnerId) {
        let mut rows = self.rows();
        let Some(row) = rows.get_mut(name) else { return };
        row.free.extend(row.taken.remove(owner));
        if row.taken.is_empty() {
            rows.remove(name);
        }
    }
}

/// When to join a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    Always,
    /// Always, and without a look at who is before: the session follows the queue, and somebody is in it.
    Behind,
    IfFree,
}

/// Puts the key; `None`: the queue was not empty and should have been. [`LockError::Unknown`]: the answer was lost.
async fn enqueue(
    node: &Node,
    name: &str,
    key: &str,
    request: &Request,
    join: Join,
) -> Result<Option<Place>, LockError> {
    loop {
        let absent = match join {
            Join::Always | Join::Behind => Compare::Absent { key: key.to_owned() },
            // Compares every key of the queue; an empty one passes.
            Join::IfFree => Compare::NoneUnder { prefix: prefix(name) },
        };
        let value = request.description.as_bytes().to_vec();
        let mut then = vec![Op::Put { key: key.to_owned(), value, lease: node.lease }];
        if join == Join::Always {
            then.push(youngest(name, 2));
        }
        let txn = Txn {
            when: vec![absent, node.fence()?],
            then,
            or_else: vec![Op::Read(Read::key(key)), node.read_fence(), youngest(name, 1)],
        };
        let limit = if join == Join::IfFree { node.patience() } else { node.limit(request) };
        let answer = ask(node, name, txn, limit).await?;
        if answer.succeeded {
            let first = match join {
                Join::IfFree => true,
                Join::Behind => false,
                Join::Always => answer.keys(1)?.len() == 1,
            };
            return Ok(Some(Place { created: answer.revision, first }));
        }
        match (answer.first_key(0)?, answer.first_key(2)?) {
            // An earlier try was withdrawn, and who sat here before has left.
            (Some(_), _) => return Err(LockError::Protocol("the seat in the queue is taken".to_owned())),
            (None, Some(_)) if join == Join::IfFree => return Ok(None),
            // Only the fence was outdated: again with the new one.
            _ => node.set_fence(answer.first_key(1)?)?,
        }
    }
}

async fn ask(node: &Node, name: &str, txn: Txn, limit: Duration) -> Result<Answer, LockError> {
    match node.txn(name, txn, limit).await {
        Ok(answer) => Ok(answer),
        Err(Failure::LeaseGone) => Err(node.gone()),
        Err(Failure::Unanswered(why)) => Err(LockError::Unknown(why)),
    }
}

/// Reads so many of the youngest keys of the queue.
fn youngest(name: &str, limit: u32) -> Op {
    let keys = Keys::Under { prefix: prefix(name), order: Order::Youngest, limit };
    Op::Read(Read { keys, content: Content::NoValue })
}

/// With the name's length, so that no queue is inside another.
fn prefix(name: &str) -> String {
    format!("lockbench/queue/{}:{name}/", name.len())
}
