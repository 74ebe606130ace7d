//! When what is broken on purpose is broken.

use harness::model::{Fault, splitmix};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::spec::{ScenarioSpec, nanos};

/// Draws the faults within the arrival window: staggered, since faults at fixed intervals miss what staggered ones hit;
/// one at a time, the later of two waits for the end of the earlier.
pub(super) fn faults(spec: &ScenarioSpec, seed: u64) -> Vec<Fault> {
    let mut rng = ChaCha8Rng::seed_from_u64(splitmix(seed ^ FAULTS));
    let window_s = spec.duration_s.unwrap_or(spec.deadline_ms / 1e3);
    let (mut faults, mut quiet_s) = (Vec::new(), 0.0_f64);
    for fault in &spec.faults {
        quiet_s = quiet_s.max(fault.quiet_s);
        let mut at_s = fault.quiet_s + rng.random::<f64>() * 2.0 * fault.every_s;
        while at_s < window_s {
            faults.extend(fault.at(nanos(at_s)));
            at_s += fault.for_ms / 1e3 + rng.random::<f64>() * 2.0 * fault.every_s;
        }
    }
    faults.sort_by_key(|fault| fault.at_ns);
    let mut free_ns = 0;
    for fault in &mut faults {
        fault.at_ns = fault.at_ns.max(free_ns);
        free_ns = fault.at_ns + fault.for_ns;
    }
    faults.retain(|fault| fault.at_ns + fault.for_ns <= nanos((window_s - quiet_s).max(0.0)));
    faults
}

/// Keeps the faults' draws apart from those of the tasks: a plan with faults has the same tasks as one without.
const FAULTS: u64 = 0xFA17;
