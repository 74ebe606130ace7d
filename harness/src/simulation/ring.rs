//! A ring of owners with a work queue each, whose members learn of a change one after the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::Flaw;
use super::world::World;
use crate::engine::{BoxFuture, Entitlement, Mechanism, NoLease, StepRunner};
use crate::model::{NodeId, Outcome, Plan, Promises, StepRef, Token, splitmix};

/// Every key has an owner by the ring's view, and waits in the owner's queue. A view is replaced at some time, and
/// every node sees that later by a lag of its own: for a while a key has two owners.
///
/// The honest ring puts the epoch of the owner's view into the token, so that an agent with fencing lets the newer
/// owner in; it redirects what it does not own. As long as its members do not change, it lets in in the order of asking.
#[derive(Debug)]
pub struct SimulatedRing(Arc<Ring>);

#[derive(Debug)]
struct Ring {
    plan: Arc<Plan>,
    world: Arc<World>,
    flaw: Flaw,
    /// By epoch, from 1: the members, and when each node knows of it.
    views: Vec<View>,
    queues: Mutex<BTreeMap<(NodeId, u32), Queue>>,
    runners: Mutex<BTreeMap<NodeId, Arc<dyn StepRunner>>>,
}

#[derive(Debug)]
struct View {
    members: Vec<NodeId>,
    known_ns: Vec<u64>,
}

/// A key at one of its owners.
#[derive(Debug, Clone)]
struct Queue {
    /// One permit a slot, given in the order of asking.
    turn: Arc<Semaphore>,
    slots: Arc<Mutex<Slots>>,
}

#[derive(Debug)]
struct Slots {
    free: Vec<u32>,
    granted: u64,
}

impl SimulatedRing {
    /// A ring of all nodes but the last, which joins after `change`, and leaves after twice of that; every node sees
    /// both after a lag of its own.
    #[must_use]
    pub fn new(plan: Arc<Plan>, world: Arc<World>, change: Duration, lag: Duration, flaw: Flaw) -> Self {
        let nodes = plan.settings.nodes;
        let (change_ns, lag_ns) = (change.as_nanos() as u64, lag.as_nanos() as u64);
        let few: Vec<_> = (0..nodes.saturating_sub(1).max(1)).map(NodeId).collect();
        let all: Vec<_> = (0..nodes).map(NodeId).collect();
        let views = [(0, few.clone()), (change_ns, all), (2 * change_ns, few)].into_iter().enumerate();
        let views = views.map(|(epoch, (from_ns, members))| {
            let lag_of =
                |node: u16| splitmix(plan.settings.seed ^ u64::from(node) << 8 ^ epoch as u64) % lag_ns;
            let known = |node| if epoch == 0 { 0 } else { from_ns + lag_of(node) };
            View { members, known_ns: (0..nodes).map(known).collect() }
        });
        let views = views.collect();
        Self::of(plan, world, views, flaw)
    }

    /// A ring of all nodes, which stay its members.
    #[must_use]
    pub fn steady(plan: Arc<Plan>, world: Arc<World>, flaw: Flaw) -> Self {
        let nodes = plan.settings.nodes;
        let members = (0..nodes).map(NodeId).collect();
        let view = View { members, known_ns: vec![0; usize::from(nodes)] };
        Self::of(plan, world, vec![view], flaw)
    }

    fn of(plan: Arc<Plan>, world: Arc<World>, views: Vec<View>, flaw: Flaw) -> Self {
        let (queues, runners) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Ring { plan, world, flaw, views, queues, runners }))
    }
}

impl Ring {
    /// The epoch that a node knows, from 1, and whom it takes for the owner.
    fn view(&self, node: NodeId, resource: u32) -> (u64, NodeId) {
        let now_ns = self.world.now_ns();
        let known = |view: &View| view.known_ns[usize::from(node.0)] <= now_ns;
        let epoch = self.views.iter().rposition(known).expect("the first view is always known");
        let members = &self.views[epoch].members;
        let place = splitmix(u64::from(resource)) % members.len() as u64;
        (epoch as u64 + 1, members[place as usize])
    }

    async fn submit(self: Arc<Self>, at: NodeId, step: StepRef, deadline_ns: u64) -> Outcome {
        let resource = self.plan.step(step).resource;
        let mut asked = at;
        loop {
            let (_, owner) = self.view(asked, resource);
            if owner != asked {
                // A link of the ring's is a connection: slow at times, but nothing is lost unnoticed.
                let delay_ns = self.world.delay_ns().unwrap_or(1_000_000);
                self.world.sleep_until(self.world.now_ns() + delay_ns).await;
            }
            if self.has_epochs() && self.view(owner, resource).1 != owner {
                asked = owner;
                continue;
            }
            if self.flaw == Flaw::AnswersOnReceipt {
                let ring = Arc::clone(&self);
                self.world.spawn(async move { drop(ring.serve(owner, step, deadline_ns).await) });
                return Outcome::Completed;
            }
            let Some(outcome) = self.serve(owner, step, deadline_ns).await else {
                asked = owner;
                continue;
            };
            if self.flaw == Flaw::SendsAgain && owner != at && self.world.delay_ns().is_none() {
                continue;
            }
            return outcome;
        }
    }

    /// Waits in an owner's queue and runs there; `None` when the key is no longer this owner's when its turn comes.
    async fn serve(&self, owner: NodeId, step: StepRef, deadline_ns: u64) -> Option<Outcome> {
        let resource = self.plan.step(step).resource;
        let queue = self.queue(owner, resource, self.plan.resources[resource as usize].level);
        let left_ns = deadline_ns.saturating_sub(self.world.now_ns());
        let turn = tokio::time::timeout(Duration::from_nanos(left_ns), self.turn(&queue)).await;
        let Ok(_turn) = turn else { return Some(Outcome::TimedOut) };
        let (epoch, owner_now) = self.view(owner, resource);
        if self.has_epochs() && owner_now != owner {
            return None;
        }
        Some(self.run_at(owner, step, &queue, self.has_epochs().then_some(epoch)).await)
    }

    async fn turn<'a>(&self, queue: &'a Queue) -> SemaphorePermit<'a> {
        if self.flaw != Flaw::NoQueue {
            return queue.turn.acquire().await.expect("nobody closes it");
        }
        loop {
            if let Ok(turn) = queue.turn.try_acquire() {
                return turn;
            }
            self.world.between_tries().await;
        }
    }

    /// Whether its owners put the epochs of their views to use.
    fn has_epochs(&self) -> bool {
        self.flaw != Flaw::RingWithoutEpoch
    }

    async fn run_at(&self, owner: NodeId, step: StepRef, queue: &Queue, epoch: Option<u64>) -> Outcome {
        let runner = self.runners.lock().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned();
        let Some(runner) = runner else { return Outcome::Refused(format!("node {} is down", owner.0)) };
        let (slot, sequence) = {
            let mut slots = queue.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.granted += 1;
            (slots.free.pop(), slots.granted)
        };
        // Without an epoch, a number that each owner counts for itself says nothing.
        let token = epoch.map(|generation| Token { generation, sequence }).filter(|_| slot.is_some());
        let outcome = runner.run(step, Entitlement { slot, token, lease: Arc::new(NoLease) }).await;
        queue.slots.lock().unwrap_or_else(PoisonError::into_inner).free.extend(slot);
        outcome
    }

    fn queue(&self, owner: NodeId, resource: u32, level: u32) -> Queue {
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Queue {
            turn: Arc::new(Semaphore::new(if level == 0 { Semaphore::MAX_PERMITS } else { level as usize })),
            slots: Arc::new(Mutex::new(Slots { free: (0..level).rev().collect(), granted: 0 })),
        };
        queues.entry((owner, resource)).or_insert_with(made).clone()
    }
}

impl Mechanism for SimulatedRing {
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        self.0.runners.lock().unwrap_or_else(PoisonError::into_inner).insert(node, runner);
    }

    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(Arc::clone(&self.0).submit(at, step, deadline_ns))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.0.runners.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.0.world.end();
        Box::pin(std::future::ready(()))
    }

    fn detection(&self) -> String {
        "a view that reaches every node with a lag".to_owned()
    }

    fn promises(&self) -> Promises {
        // Two requests may pass each other on their way to the owner; when owners change, they wait in two queues.
        let steady = self.0.views.len() == 1;
        Promises { in_order_beyond_ns: steady.then(|| self.0.world.slowest_ns()), ..Promises::default() }
    }
}
