//! A lock on the simulated lease server: what its clients decide.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Flaw;
use super::lease_table::{Extended, Key, LeaseTable, Rules};
use super::world::World;
use crate::engine::{BoxFuture, Entitlement, Lease, Mechanism, NoLease, StepRunner};
use crate::model::{NodeId, Outcome, Plan, Promises, ReleaseRet, StepRef, Token};

/// Timers are a millisecond coarse, so a client lets go of its lease two before it must.
const TIMER_MARGIN_NS: u64 = 2_000_000;

/// How long before the end of a hold a release is sent that is sent ahead.
const AHEAD_NS: u64 = 10_000_000;

/// A lock with leases and tokens. Waiters poll; a holder renews at a third of the ttl and stops believing in its lease
/// by its own clock, counted from before the last renewal that was answered was sent.
#[derive(Debug)]
pub struct SimulatedLock {
    plan: Arc<Plan>,
    service: Service,
    owners: AtomicU64,
    runners: Mutex<BTreeMap<NodeId, Arc<dyn StepRunner>>>,
}

/// The lease server as its clients reach it.
#[derive(Debug, Clone)]
struct Service {
    world: Arc<World>,
    table: Arc<Mutex<LeaseTable>>,
    /// By key: who is to be told that it is free, the longest waiting first.
    waiting: Arc<Mutex<BTreeMap<Key, VecDeque<oneshot::Sender<()>>>>>,
    ttl_ns: u64,
    flaw: Flaw,
    /// How often the server has been killed when it last forgot everything; `None`: it never does.
    forgot: Option<Arc<AtomicUsize>>,
}

/// A lock that a client holds, as far as it knows.
#[derive(Debug)]
struct Held {
    service: Service,
    node: NodeId,
    key: Key,
    owner: u64,
    /// By the run's clock. Moved by renewals.
    valid_until_ns: AtomicU64,
    lost: CancellationToken,
}

impl SimulatedLock {
    /// A lock with a ttl in a world.
    #[must_use]
    pub fn new(plan: Arc<Plan>, world: Arc<World>, ttl_ns: u64, flaw: Flaw) -> Self {
        let rules = Rules {
            release_by_owner: flaw != Flaw::ReleaseWithoutOwnerCheck,
            renew_held: flaw != Flaw::ExtendRecreates,
        };
        let table = Arc::new(Mutex::new(LeaseTable::new(rules)));
        let service = Service { world, table, waiting: Arc::default(), ttl_ns, flaw, forgot: None };
        Self { plan, service, owners: AtomicU64::new(0), runners: Mutex::default() }
    }

    /// The same on a server that keeps nothing when it is killed.
    #[must_use]
    pub fn forgetting(self) -> Self {
        Self { service: Service { forgot: Some(Arc::default()), ..self.service }, ..self }
    }

    async fn locked(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Outcome {
        let runner = self.runners.lock().unwrap_or_else(PoisonError::into_inner).get(&at).cloned();
        let Some(runner) = runner else { return Outcome::Refused(format!("node {} is down", at.0)) };
        if self.plan.resource(step).level == 0 {
            return runner.run(step, Entitlement { slot: None, token: None, lease: Arc::new(NoLease) }).await;
        }
        let Some((held, token)) = self.acquire(at, step, deadline_ns).await else { return Outcome::TimedOut };
        let flaw = self.service.flaw;
        if flaw == Flaw::RenewalOutlivesRelease {
            self.service.world.spawn(Arc::clone(&held).renew());
        }
        let lease: Arc<dyn Lease> = match flaw {
            Flaw::NoExpiryCheck => Arc::new(NoLease),
            _ => Arc::clone(&held) as _,
        };
        let section = runner.run(step, Entitlement { slot: Some(held.key.1), token: Some(token), lease });
        let mut sent_ahead = None;
        let ahead = async {
            if flaw == Flaw::ReleaseAhead {
                let world = &self.service.world;
                let hold_ns = self.plan.step(step).hold_ns;
                world.sleep_until(world.now_ns() + hold_ns.saturating_sub(AHEAD_NS)).await;
                runner.release_sent(step);
                sent_ahead = Some(held.release());
            }
            std::future::pending::<Infallible>().await
        };
        let outcome = tokio::select! {
            biased;
            outcome = section => outcome,
            never = held.keep() => match never {},
            never = ahead => match never {},
        };
        self.service.world.awake(at).await;
        let answered = sent_ahead.unwrap_or_else(|| {
            runner.release_sent(step);
            held.release()
        });
        let ret = World::wait(answered, self.service.patience_ns()).await;
        runner.released(step, ret.unwrap_or_else(|| ReleaseRet::Unknown("no answer".to_owned())));
        outcome
    }

    async fn acquire(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> Option<(Arc<Held>, Token)> {
        let Service { world, ttl_ns, flaw, .. } = &self.service;
        let clock = world.clock_of(at);
        let resource = self.plan.step(step).resource;
        let level = self.plan.resource(step).level;
        for attempt in 0.. {
            world.awake(at).await;
            let sent_ns = world.now_ns();
            if sent_ns >= deadline_ns {
                break;
            }
            let slot = (self.plan.slot_seed(step).wrapping_add(attempt) % u64::from(level)) as u32;
            let (key, owner) = ((resource, slot), self.owners.fetch_add(1, Ordering::Relaxed));
            let ttl_ns = (*flaw != Flaw::ExpirySetApart).then_some(*ttl_ns);
            let waits = (*flaw == Flaw::OneNotice).then(|| Arc::clone(&self.service.waiting));
            let (notice, told) = oneshot::channel();
            let asked = self.service.ask(at, move |table, now_ns| {
                let granted = table.acquire(key, owner, now_ns, ttl_ns);
                if let Some(waiting) = waits.filter(|_| granted.is_none()) {
                    waiting
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .entry(key)
                        .or_default()
                        .push_back(notice);
                }
                granted
            });
            // Who has waited until his deadline is told so, whether or not an answer is still on its way.
            let patience_ns = self.service.patience_ns().min(deadline_ns - sent_ns);
            let answer = World::wait(asked, patience_ns).await;
            let (refused, granted) = (answer == Some(None), answer.flatten());
            world.awake(at).await;
            if let Some(sequence) = granted {
                let valid_until_ns = AtomicU64::new(self.service.valid_until_ns(at, sent_ns));
                let (service, lost) = (self.service.clone(), CancellationToken::new());
                let held = Held { service, node: at, key, owner, valid_until_ns, lost };
                if *flaw == Flaw::ExpirySetApart {
                    drop(held.extend());
                }
                let sequence = match flaw {
                    Flaw::WallClockToken => clock.local_ns(world.now_ns()),
                    _ => sequence,
                };
                if *flaw == Flaw::NoExpiryCheck || held.until_ns() > world.now_ns() {
                    return Some((Arc::new(held), Token { generation: 0, sequence }));
                }
                // Over before it began: given back, as far as there is something to give.
                drop(held.release());
            }
            if refused && *flaw == Flaw::OneNotice {
                let _told = World::wait(told, deadline_ns.saturating_sub(world.now_ns())).await;
            } else {
                world.between_tries().await;
            }
        }
        None
    }
}

impl Service {
    /// How long a client waits for an answer.
    fn patience_ns(&self) -> u64 {
        2 * self.ttl_ns
    }

    fn ask<A: Send + 'static>(
        &self,
        node: NodeId,
        decide: impl FnOnce(&mut LeaseTable, u64) -> A + Send + 'static,
    ) -> oneshot::Receiver<A> {
        let (table, world, forgot) = (Arc::clone(&self.table), Arc::clone(&self.world), self.forgot.clone());
        self.world.send(node, move || {
            let now_ns = world.server_ns();
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            let starts = world.server_starts();
            if forgot.is_some_and(|forgot| forgot.swap(starts, Ordering::Relaxed) != starts) {
                table.forget();
            }
            decide(&mut table, now_ns)
        })
    }

    /// Tells the one who has waited longest that the key is free.
    fn tell_next(&self, key: Key) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notice) = waiting.get_mut(&key).and_then(VecDeque::pop_front) {
            // Who was to be told may have given up.
            self.world.tell(move || {
                let _gone = notice.send(()).is_err();
            });
        }
    }

    /// Until when a client may believe in what it was granted on a request that it sent then: by its own clock, which
    /// may be slow while the server's is fast.
    fn valid_until_ns(&self, node: NodeId, sent_ns: u64) -> u64 {
        let clock = self.world.clock_of(node);
        let certain_ns = (self.ttl_ns as f64 * (1.0 - 2.0 * self.world.drift())) as u64;
        clock.global_ns(clock.local_ns(sent_ns) + certain_ns.saturating_sub(TIMER_MARGIN_NS))
    }
}

impl Held {
    fn until_ns(&self) -> u64 {
        self.valid_until_ns.load(Ordering::Relaxed)
    }

    /// Keeps the lease alive, and tells when it is lost; ends only by being dropped.
    async fn keep(self: &Arc<Self>) -> Infallible {
        match self.service.flaw {
            Flaw::RenewalOutlivesRelease => self.watch().await,
            Flaw::NoExpiryCheck | Flaw::ExtendRecreates => Arc::clone(self).renew().await,
            _ => {
                tokio::join!(Arc::clone(self).renew(), self.watch());
            }
        }
        std::future::pending().await
    }

    async fn renew(self: Arc<Self>) {
        let Service { world, ttl_ns, .. } = &self.service;
        loop {
            world.sleep_until(world.now_ns() + ttl_ns / 3).await;
            world.awake(self.node).await;
            if self.lost.is_cancelled() {
                return;
            }
            let sent_ns = world.now_ns();
            let extended = World::wait(self.extend(), ttl_ns / 3).await;
            world.awake(self.node).await;
            match extended {
                Some(Extended::Extended) => {
                    let until_ns = self.service.valid_until_ns(self.node, sent_ns);
                    self.valid_until_ns.fetch_max(until_ns, Ordering::Relaxed);
                }
                Some(Extended::Gone) => return self.lost.cancel(),
                None => {}
            }
        }
    }

    /// Watches the node's clock.
    async fn watch(&self) {
        let world = &self.service.world;
        while world.now_ns() < self.until_ns() {
            world.sleep_until(self.until_ns()).await;
            world.awake(self.node).await;
        }
        self.lost.cancel();
    }

    fn extend(&self) -> oneshot::Receiver<Extended> {
        let (key, owner, ttl_ns) = (self.key, self.owner, self.service.ttl_ns);
        self.service.ask(self.node, move |table, now_ns| table.renew(key, owner, now_ns, ttl_ns))
    }

    fn release(&self) -> oneshot::Receiver<ReleaseRet> {
        let (key, owner, service) = (self.key, self.owner, self.service.clone());
        self.service.ask(self.node, move |table, now_ns| {
            let ret = table.release(key, owner, now_ns);
            if ret == ReleaseRet::Released {
                service.tell_next(key);
            }
            ret
        })
    }
}

impl Lease for Held {
    fn valid_until_ns(&self) -> Option<u64> {
        Some(self.until_ns())
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl Mechanism for SimulatedLock {
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).insert(node, runner);
    }

    fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(self.locked(at, step, deadline_ns))
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.service.world.end();
        Box::pin(std::future::ready(()))
    }

    fn detection(&self) -> String {
        format!("lease of {} ms", self.service.ttl_ns / 1_000_000)
    }

    fn promises(&self) -> Promises {
        // A lease that nobody knows of runs out after a ttl; a poll that is lost costs its sender two more, and so may
        // the next ones: of 5,000 runs, one saw it after 13.
        Promises { free_within_ns: Some(20 * self.service.ttl_ns), ..Promises::default() }
    }
}
