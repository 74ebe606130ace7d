//! What is broken while a seed runs: faults of every kind that virtual time has, many at once, unlike those of a real run.

use harness::model::{Direction, Fault, FaultTarget, FaultVerb, LinkTo, NodeId, splitmix};
use harness::simulation::Weather;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::spec::{ScenarioSpec, nanos};

/// Faults of a seed; some seeds are calm.
const FEWEST: usize = 1;
const MOST: usize = 12;

const MS: u64 = 1_000_000;

/// Keeps the faults of a seed apart from its tasks: the same number drawn twice would tie the ones to the others.
const FAULTS: u64 = 0xFA;

/// How links and clocks usually are: a message now and then overtakes others or is lost, and clocks go a little apart.
pub(super) fn weather() -> Weather {
    Weather {
        delay_ns: MS..3 * MS,
        slow: 0.01,
        slow_ns: 20 * MS..200 * MS,
        dropped: 0.001,
        clock_offset_ns: 500 * MS,
        clock_drift: 1e-4,
        pauses: None,
    }
}

/// The faults of a seed, by time, within the window of the arrivals. They last from a tenth of a lease to three of them, the short
/// ones as often as the long.
pub(super) fn mix(spec: &ScenarioSpec, window_ns: u64, seed: u64) -> Vec<Fault> {
    let mut rng = ChaCha8Rng::seed_from_u64(splitmix(seed ^ FAULTS));
    let lease_ns = nanos(spec.detect_ms / 1e3);
    let count = rng.random_range(FEWEST..=MOST);
    let mut faults: Vec<Fault> = (0..count).map(|_| one(spec.nodes, lease_ns, window_ns, &mut rng)).collect();
    faults.sort_by_key(|fault| fault.at_ns);
    faults
}

fn one(nodes: u16, lease_ns: u64, window_ns: u64, rng: &mut ChaCha8Rng) -> Fault {
    let node = FaultTarget::Node(NodeId(rng.random_range(0..nodes)));
    let way = [Direction::Both, Direction::ToServer, Direction::FromServer][rng.random_range(0..3)];
    let for_ns = (lease_ns as f64 * 10_f64.powf(rng.random_range(-1.0..0.5))) as u64;
    let (target, verb) = match rng.random_range(0..12) {
        0..=3 => (node, FaultVerb::Pause),
        4 | 5 => (node, FaultVerb::Cut { way }),
        6 => (node, FaultVerb::Slow { way, delay_ns: lease_ns / 10 }),
        7 | 8 => (node, FaultVerb::Reset),
        9 => (FaultTarget::Server, FaultVerb::Pause),
        10 => (FaultTarget::Server, FaultVerb::Kill),
        _ => (FaultTarget::Server, FaultVerb::Jump { ahead_ns: for_ns }),
    };
    Fault { at_ns: rng.random_range(0..window_ns.max(1)), for_ns, verb, target, link: LinkTo::Server }
}
