//! Contenders that can run in virtual time: one line each.

use std::sync::Arc;
use std::time::Duration;

use harness::engine::{BoxFuture, Fencing, Mechanism, Open};
use harness::servers::Durability;
use harness::simulation::{Connection, Ended, Flaw, Place, SimulatedLock, SimulatedRing};
use lock_backends::{AtKill, Carried, Passage, Variant};

use crate::contenders::{Setting, modelled_variants, over_model};

/// A contender in virtual time.
#[derive(Debug, Clone, Copy)]
pub struct Double {
    /// Name on the command line.
    pub name: &'static str,
    /// One sentence on how it works.
    pub summary: &'static str,
    how: How,
}

#[derive(Debug, Clone, Copy)]
enum How {
    /// Excludes nothing.
    Open,
    /// A lease on one server.
    Lease(Flaw),
    /// Owners with queues, two changes of the ring in every run.
    Ring(Flaw),
    /// One of our own variants as it is, over a model of its server.
    Variant(&'static Variant),
}

/// Those that live in the simulation alone.
const SIMULATED: &[Double] = &[
    Double { name: "none", summary: "lets everybody in at once", how: How::Open },
    lease("sim-lease", "a lease with a token, renewed, and given up by its holder's own clock", Flaw::None),
    lease("sim-lease-blind", "its holder never looks at the clock", Flaw::NoExpiryCheck),
    lease("sim-lease-any-release", "a release frees whoever's lock it is", Flaw::ReleaseWithoutOwnerCheck),
    lease("sim-lease-zombie", "the renewals go on after the release", Flaw::RenewalOutlivesRelease),
    lease(
        "sim-lease-two-requests",
        "the key is taken first, its end set by a second request",
        Flaw::ExpirySetApart,
    ),
    lease("sim-lease-recreated", "a renewal takes the key again, from whomever", Flaw::ExtendRecreates),
    lease("sim-lease-wall-clock", "tokens are read off the client's clock", Flaw::WallClockToken),
    lease("sim-lease-ahead", "the release is sent before the last write", Flaw::ReleaseAhead),
    lease("sim-lease-one-notice", "a waiter asks again only when it is told, once", Flaw::OneNotice),
    ring("sim-ring", "owners with queues, whose views have epochs", Flaw::None),
    ring("sim-ring-no-epoch", "no epoch tells whose view is newer", Flaw::RingWithoutEpoch),
    ring("sim-ring-sends-again", "a step whose answer is lost is sent again", Flaw::SendsAgain),
    ring("sim-ring-early-answer", "a step is answered as soon as it is in the queue", Flaw::AnswersOnReceipt),
];

const fn lease(name: &'static str, summary: &'static str, flaw: Flaw) -> Double {
    Double { name, summary, how: How::Lease(flaw) }
}

const fn ring(name: &'static str, summary: &'static str, flaw: Flaw) -> Double {
    Double { name, summary, how: How::Ring(flaw) }
}

/// All of them.
#[must_use]
pub fn doubles() -> Vec<Double> {
    let variants = modelled_variants().into_iter().map(|variant| Double {
        name: variant.name,
        summary: variant.summary,
        how: How::Variant(variant),
    });
    SIMULATED.iter().copied().chain(variants).collect()
}

/// The one of that name.
#[must_use]
pub fn double(name: &str) -> Option<Double> {
    doubles().into_iter().find(|double| double.name == name)
}

impl Double {
    /// The agents of its runs: the higher epoch of a ring is of no use without agents that reject the lower one.
    pub(super) fn fencing(&self, wanted: bool) -> Fencing {
        if wanted || matches!(self.how, How::Ring(_)) { Fencing::On } else { Fencing::Off }
    }

    /// Makes its mechanism, with leases of that length on a server that survives so much.
    pub(super) fn make(
        &self,
        place: Place,
        lease_ns: u64,
        durability: Durability,
    ) -> BoxFuture<'static, Arc<dyn Mechanism>> {
        let Place { plan, clock, world } = place;
        let mechanism: Arc<dyn Mechanism> = match self.how {
            How::Open => Arc::new(Open::new(plan, clock, Duration::ZERO)),
            How::Lease(flaw) => {
                let lock = SimulatedLock::new(plan, world, lease_ns, flaw);
                Arc::new(if durability == Durability::Memory { lock.forgetting() } else { lock })
            }
            How::Ring(flaw) => {
                let change = Duration::from_nanos(plan.settings.window_ns / 3);
                Arc::new(SimulatedRing::new(plan, world, change, Duration::from_nanos(lease_ns), flaw))
            }
            How::Variant(variant) => {
                let detect = Duration::from_nanos(lease_ns);
                let setting = Setting { detect, ..Setting::alone(plan, clock) };
                let at_kill = match durability {
                    Durability::Durable => AtKill::Keeps,
                    Durability::Memory => AtKill::Forgets,
                };
                let passage = move |node| -> Arc<dyn Passage> {
                    Arc::new(Wire(Arc::new(Connection::new(Arc::clone(&world), node))))
                };
                return Box::pin(async move {
                    let made = over_model(variant, at_kill, passage, &setting).await;
                    made.expect("nothing is broken while sessions are opened")
                });
            }
        };
        Box::pin(std::future::ready(mechanism))
    }
}

/// A connection of the simulation, as lock variants want it.
#[derive(Debug)]
struct Wire(Arc<Connection>);

impl Passage for Wire {
    fn carry(&self, at_server: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, Carried> {
        let carried = self.0.carry(at_server);
        Box::pin(async move {
            match carried.await {
                Ended::Answered => Carried::Answered,
                Ended::Broken => Carried::Broken,
            }
        })
    }

    fn push(&self, at_node: Box<dyn FnOnce() + Send>) {
        self.0.push(at_node);
    }

    fn server_ns(&self) -> u64 {
        self.0.server_ns()
    }

    fn server_starts(&self) -> usize {
        self.0.server_starts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = doubles().iter().map(|double| double.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
