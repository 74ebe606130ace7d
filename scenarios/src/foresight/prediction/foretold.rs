//! What a contender would take and carry.

use std::net::{Ipv4Addr, SocketAddr};

use harness::model::Plan;
use harness::record::ServiceLevel;
use harness::simulation::queueing::{Costs, Forecast, forecast};
use queue_lockfree::{HashKind, Member, NodeId, Ring};

use super::sized::{Size, sized};
use super::terms::{OfContender, RouteWord};
use crate::spec::{Scenario, SpecError};

/// A probe for a capacity has so many tasks, and lasts so long, at least: whatever is too much has queued up by then.
const TASKS: f64 = 5_000.0;
const SECONDS: f64 = 1.0;

/// Rates that are probed after the limits are known: each halves what is between them.
const PROBES: u32 = 7;

/// The highest rate that is probed.
const MOST_PER_S: f64 = 1e6;

/// What a contender takes of a plan.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Foretold {
    /// Asked to entered, in ns; `None`: too few for one.
    pub wait_p50_ns: Option<u64>,
    /// The same at the 99th percentile.
    pub wait_p99_ns: Option<u64>,
    /// What the response is longer than the planned work, at the 99th percentile.
    pub excess_p99_ns: Option<u64>,
    /// Whether more was asked for than can be carried.
    pub overrun: bool,
}

impl From<&Forecast> for Foretold {
    fn from(told: &Forecast) -> Self {
        let known = |ns: Option<u64>| ns.filter(|_| !told.overrun);
        Self {
            wait_p50_ns: known(told.wait.quantile_ns(0.5)),
            wait_p99_ns: known(told.wait.quantile_ns(0.99)),
            excess_p99_ns: known(told.excess.quantile_ns(0.99)),
            overrun: told.overrun,
        }
    }
}

/// Who owns what: the real ring, where there is one.
#[derive(Debug)]
pub struct Owners(Option<Ring>);

impl Owners {
    /// Of a route, among so many nodes.
    #[must_use]
    pub fn new(route: RouteWord, nodes: u16) -> Self {
        let member = |number: u16| Member {
            id: NodeId(number),
            name: format!("node-{number}"),
            // Nobody is called.
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        };
        let ring = || Ring::new(1, HashKind::Mixed, (0..nodes).map(member));
        Self((route == RouteWord::Owner).then(ring))
    }

    /// By resource.
    fn of(&self, plan: &Plan) -> Vec<u16> {
        let Some(ring) = &self.0 else { return Vec::new() };
        let owner = |key: String| ring.owner(&key).map_or(0, |node| node.0);
        plan.resources.iter().map(|resource| owner(resource.key())).collect()
    }
}

/// What a plan takes at these costs.
#[must_use]
pub fn foretell(plan: &Plan, costs: &Costs, owners: &Owners) -> Foretold {
    Foretold::from(&forecast(plan, costs, &owners.of(plan)))
}

/// The highest rate at which a service level is met.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Capacity {
    /// So much, in tasks a second, within a per cent or two.
    Is(f64),
    /// More than was looked for.
    AtLeast(f64),
    /// Not even what was asked for first.
    Below(f64),
}

/// How much a contender would carry at a size. Resources stay as they are at the size's own rate.
///
/// # Errors
/// As [`sized`].
pub fn capacity(
    scenario: &Scenario,
    of: &OfContender,
    size: Size,
    shared: Option<u32>,
    level: &ServiceLevel,
    seed: u64,
) -> Result<Capacity, SpecError> {
    let costs = of.costs(u32::from(size.nodes), shared);
    let owners = Owners::new(of.route, size.nodes);
    let carries = |rate: f64| -> Result<bool, SpecError> {
        let size = Size { rate_per_s: Some(rate), duration_s: (TASKS / rate).max(SECONDS), ..size };
        let told = foretell(&sized(scenario, size, seed)?.0, &costs, &owners);
        Ok(told.excess_p99_ns.is_some_and(|ns| ns <= level.excess_ns))
    };
    let mut least = 10.0;
    if !carries(least)? {
        return Ok(Capacity::Below(least));
    }
    let mut most = loop {
        let next = least * 4.0;
        if next > MOST_PER_S {
            return Ok(Capacity::AtLeast(least));
        }
        if !carries(next)? {
            break next;
        }
        least = next;
    };
    for _ in 0..PROBES {
        let middle = (least * most).sqrt();
        if carries(middle)? { least = middle } else { most = middle }
    }
    Ok(Capacity::Is((least * most).sqrt()))
}
