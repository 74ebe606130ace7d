//! Controls that need no server: they prove the bench, and are never compared.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::clock::Clock;
use super::mechanism::{BoxFuture, Entitlement, Mechanism, NoLease, StepRunner};
use super::round_trip::RoundTrip;
use crate::model::{NodeId, Outcome, Plan, StepRef};

/// Grants every step at the node where it was asked for, after a programmed delay, and excludes nothing.
///
/// As `noop` it proves the measuring: the measured wait must be the programmed delay, and the round trip where others have
/// links between them and their server. As `none`, without delay, it
/// proves the checks: they must catch it.
#[derive(Debug)]
pub struct Open {
    plan: Arc<Plan>,
    clock: Clock,
    delay: Duration,
    trips: BTreeMap<NodeId, RoundTrip>,
    runners: Mutex<BTreeMap<NodeId, Arc<dyn StepRunner>>>,
}

impl Open {
    /// With the delay between asked and granted.
    #[must_use]
    pub fn new(plan: Arc<Plan>, clock: Clock, delay: Duration) -> Self {
        Self { plan, clock, delay, trips: BTreeMap::new(), runners: Mutex::default() }
    }

    /// With a round trip before the delay, for each of these nodes over its own link.
    #[must_use]
    pub fn over(self, trips: BTreeMap<NodeId, RoundTrip>) -> Self {
        Self { trips, ..self }
    }

    fn runner(&self, at: NodeId) -> Option<Arc<dyn StepRunner>> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).get(&at).cloned()
    }
}

impl Mechanism for Open {
    fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).insert(node, runner);
    }

    fn run(&self, at: NodeId, step: StepRef, _deadline_ns: u64) -> BoxFuture<'_, Outcome> {
        Box::pin(async move {
            if let Some(trip) = self.trips.get(&at)
                && let Err(error) = trip.once().await
            {
                return Outcome::Refused(format!("the link of node {}: {error}", at.0));
            }
            if !self.delay.is_zero() {
                let granted_ns = self.clock.now_ns() + self.delay.as_nanos() as u64;
                self.clock.sleep_until(granted_ns).await;
            }
            let Some(runner) = self.runner(at) else {
                return Outcome::Refused(format!("node {} is down", at.0));
            };
            let level = self.plan.resource(step).level;
            // Any slot will do: nothing is kept apart.
            let slot = (level > 0).then(|| (self.plan.slot_seed(step) % u64::from(level.max(1))) as u32);
            runner.run(step, Entitlement { slot, token: None, lease: Arc::new(NoLease) }).await
        })
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        self.runners.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Box::pin(std::future::ready(()))
    }

    fn detection(&self) -> String {
        "none".to_owned()
    }
}
