//! `etcd-queue`: waiters queue as keys under the lock's name; each watches the one before it.
//!
//! **Protocol.** Acquire is one transaction: put `queue/<name>/<lease>-<seat>` on the node's lease, and read the last three
//! keys of the queue by create revision: mine and up to two before it. None before it: granted. Otherwise watch the predecessor
//! for its deletion, and read once what came before the watch. If the queue held nobody else, its deletion is the grant;
//! if it did, one more read finds the next older key, and that mine still exists. Keys before mine can only vanish.
//! Release deletes the key if its create revision is still mine.
//!
//! ```text
//!  node A  key of revision 4 ── delete ──┐
//!  node B  key of revision 5, watches 4 ◀┘ deleted: granted, no further request
//!  node C  key of revision 6, watches 5
//! ```
//!
//! **Key names are used again**, since etcd's reads pass the names of deleted keys until the history is compacted: an
//! attempt takes a *seat* of its session, and leaves it when it is proven that nothing of it is at the server or on its
//! way there. Revisions, not names, tell attempts apart.
//!
//! **A lost answer** is withdrawn before anything is tried again, with a proof: see file `withdrawal`.
//!
//! **Round trips.** 1 transaction to acquire, 1 to release, each one entry in the server's log. Waiting: a watch and a
//! read for each predecessor. The server sorts the whole queue for the read, so the local FIFO matters: it keeps the queue as short as
//! there are nodes.
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

use super::node::Node;
use super::requests::{Answer, Compare, Content, Failure, KeyValue, Keys, Op, Order, Read, Txn};
use super::session::{Etcd, KeyRecipe, SURVIVES};
use crate::backends::common::{Recipe, lock};
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockError, OwnerId, ReleaseRet, Request, SafetyClass,
    Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "etcd-queue",
    summary: "keys on the node's lease in a queue by create revision; each waiter watches its predecessor",
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
}

/// Where an attempt stands.
struct Place {
    /// Create revision of its key.
    created: i64,
    /// Revision of the answer that showed this.
    seen: i64,
    /// Key of its predecessor.
    before: Option<String>,
    /// Nobody is before the predecessor.
    next: bool,
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
            match enqueue(node, name, &key, request, Join::Always).await {
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
        if let Err(error) = wait_turn(node, name, &key, place, request).await {
            let mine = Compare::CreatedAt { key: key.clone(), revision: created };
            node.delete_if(name, mine, key).await?;
            return Err(error);
        }
        node.grant(name, &request.owner, created)
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
            Join::Always => Compare::Absent { key: key.to_owned() },
            // Compares every key of the queue; an empty one passes.
            Join::IfFree => Compare::NoneUnder { prefix: prefix(name) },
        };
        let value = request.description.as_bytes().to_vec();
        let txn = Txn {
            when: vec![absent, node.fence()?],
            then: vec![Op::Put { key: key.to_owned(), value, lease: node.lease }, last_three(name, None)],
            or_else: vec![Op::Read(Read::key(key)), node.read_fence(), last_three(name, None)],
        };
        let limit = if join == Join::Always { node.limit(request) } else { node.patience() };
        let answer = ask(node, name, txn, limit).await?;
        let seen = answer.revision;
        if answer.succeeded {
            return place(&answer, 1, seen, seen).map(Some);
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

/// Waits until nobody is before the place.
async fn wait_turn(
    node: &Node,
    name: &str,
    key: &str,
    mut place: Place,
    request: &Request,
) -> Result<(), LockError> {
    while let Some(before) = &place.before {
        let deleted = node.until_deleted(before, place.seen, &mut None, request).await?;
        if deleted && place.next {
            return Ok(());
        }
        let look = vec![Op::Read(Read::key(key)), last_three(name, Some(place.created))];
        let look = Txn { then: look, ..Txn::default() };
        let answer = match ask(node, name, look, node.limit(request)).await {
            Ok(answer) => answer,
            // A read may be repeated.
            Err(LockError::Unknown(_)) if request_goes_on(node, request) => continue,
            Err(LockError::Unknown(_)) => return Err(LockError::TimedOut),
            Err(error) => return Err(error),
        };
        if answer.first_key(0)?.is_none() {
            return Err(LockError::Unavailable("somebody deleted the place in the queue".to_owned()));
        }
        place = self::place(&answer, 1, place.created, answer.revision)?;
    }
    Ok(())
}

fn request_goes_on(node: &Node, request: &Request) -> bool {
    !node.remaining(request).is_zero()
}

async fn ask(node: &Node, name: &str, txn: Txn, limit: Duration) -> Result<Answer, LockError> {
    match node.txn(name, txn, limit).await {
        Ok(answer) => Ok(answer),
        Err(Failure::LeaseGone) => Err(node.gone()),
        Err(Failure::Unanswered(why)) => Err(LockError::Unknown(why)),
    }
}

/// Reads the three youngest keys of the queue, or those not younger than mine.
fn last_three(name: &str, created_until: Option<i64>) -> Op {
    let keys = Keys::Under { prefix: prefix(name), order: Order::Youngest, limit: 3, created_until };
    Op::Read(Read { keys, content: Content::NoValue })
}

/// The place of the key with that create revision, from the read at `at`, which shows it and up to two before it.
fn place(answer: &Answer, at: usize, created: i64, seen: i64) -> Result<Place, LockError> {
    let older: Vec<&KeyValue> = answer.keys(at)?.iter().filter(|there| there.created < created).collect();
    let before = older.first().map(|nearest| nearest.key.clone());
    Ok(Place { created, seen, before, next: older.len() == 1 })
}

/// With the name's length, so that no queue is inside another.
fn prefix(name: &str) -> String {
    format!("lockbench/queue/{}:{name}/", name.len())
}
