//! One run in virtual time, whose faults may be many at once.

use std::sync::Arc;

use super::world::{Weather, World};
use crate::engine::{BoxFuture, Bystanders, Clock, Mechanism};
use crate::model::{
    Facts, Fault, FaultTarget, FaultVerb, Injected, LinkTo, NodeId, Outage, Plan, Standstill,
};
use crate::placement::single::{self, LEAD_IN_NS};
use crate::placement::{Run, RunOptions};

/// When a run begins: sessions have been opened by then.
const ORIGIN_NS: u64 = 5_000_000_000;

/// Where a mechanism is made for: one whose messages go through the world, by the clock of the run.
#[derive(Debug, Clone)]
pub struct Place {
    /// What will run.
    pub plan: Arc<Plan>,
    /// The run's clock.
    pub clock: Clock,
    /// Links, clocks and pauses.
    pub world: Arc<World>,
}

/// Runs a plan to its end, with its faults, as fast as it can be computed. Same plan, same history.
///
/// Of faults there are those of nodes (pause), of their links to the server, and of the server. Bystanders do not probe.
///
/// # Panics
/// When a fault is none of these, or when called inside a runtime.
pub fn try_out(
    plan: &Plan,
    weather: Weather,
    options: RunOptions,
    make: impl FnOnce(Place) -> BoxFuture<'static, Arc<dyn Mechanism>>,
) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets needs nothing that could be short");
    runtime.block_on(async {
        let faults = plan.faults.clone();
        assert!(faults.iter().all(can_be), "a fault that virtual time has not. faults={faults:?}");
        // The injector has no processes here: whatever breaks, breaks in clock and world.
        let plan = Arc::new(Plan { faults: Vec::new(), ..plan.clone() });
        let paused = |node| {
            let paused = faults.iter().filter(move |fault| pauses(fault) == Some(node));
            paused.map(|fault| lasts(fault, ORIGIN_NS)).map(|(from, until)| from..until).collect()
        };
        let nodes = plan.settings.nodes;
        let clock = Clock::virtual_time_with((0..nodes).map(NodeId).map(paused).collect());
        let world = World::new(clock.clone(), nodes, plan.settings.seed, weather);
        let world = Arc::new(world.with_faults(ORIGIN_NS, &faults, plan.settings.seed));
        let mechanism = make(Place { plan: Arc::clone(&plan), clock: clock.clone(), world }).await;
        clock.sleep_until(ORIGIN_NS - LEAD_IN_NS).await;
        let options = RunOptions { bystanders: Bystanders::None, ..options };
        let mut run = single::run(plan, mechanism, clock, options).await;
        assert_eq!(run.facts.origin_ns, ORIGIN_NS, "a mechanism was made too late for its faults");
        tell(&mut run.facts, &faults);
        run
    })
}

/// Whether virtual time has it.
fn can_be(fault: &Fault) -> bool {
    match fault.target {
        FaultTarget::Node(_) => {
            fault.verb == FaultVerb::Pause || fault.verb.is_of_link() && fault.link == LinkTo::Server
        }
        FaultTarget::Server => {
            matches!(fault.verb, FaultVerb::Pause | FaultVerb::Kill | FaultVerb::Jump { .. })
        }
        _ => false,
    }
}

/// The node that it has stand still.
fn pauses(fault: &Fault) -> Option<NodeId> {
    match (fault.verb, fault.target) {
        (FaultVerb::Pause, FaultTarget::Node(node)) => Some(node),
        _ => None,
    }
}

fn lasts(fault: &Fault, origin_ns: u64) -> (u64, u64) {
    (origin_ns + fault.at_ns, origin_ns + fault.at_ns + fault.for_ns)
}

/// What became of the faults.
fn tell(facts: &mut Facts, faults: &[Fault]) {
    for fault in faults.iter().filter(|fault| facts.origin_ns + fault.at_ns < facts.end_ns) {
        let (from_ns, until_ns) = lasts(fault, facts.origin_ns);
        let state = Standstill::Paused;
        facts.outages.extend(pauses(fault).map(|node| Outage {
            node,
            from_ns,
            until_ns,
            state,
            unplanned: None,
        }));
        let node = match fault.target {
            FaultTarget::Node(node) => Some(node),
            _ => None,
        };
        facts.injected.push(Injected {
            fault: *fault,
            lasted_ns: Some((from_ns, until_ns)),
            node,
            member: None,
            hit: Vec::new(),
            misses: 0,
            failure: None,
        });
    }
}
