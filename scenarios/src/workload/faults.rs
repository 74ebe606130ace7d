//! When what is broken on purpose is broken.

use harness::model::{Fault, Plan, splitmix};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::spec::{Scenario, ScenarioSpec, SpecError, nanos};

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

/// Refuses a plan that has fewer faults of a kind than must take effect, where anybody is hit by that kind: whatever came of it,
/// nothing would be proven.
///
/// # Errors
/// The first kind of which there are too few.
pub fn enough_faults(
    scenario: &Scenario,
    plan: &Plan,
    is_hit: impl Fn(&Fault) -> bool,
) -> Result<(), SpecError> {
    let spec = &scenario.spec;
    for of in &spec.faults {
        let Some(kind) = of.at(0).filter(&is_hit) else { continue };
        let alike = |fault: &Fault| (fault.to_string(), fault.target) == (kind.to_string(), kind.target);
        let least = spec.faults.iter().filter(|of| of.at(0).as_ref().is_some_and(alike));
        let least: u64 = least.map(|of| u64::from(of.least.unwrap_or(spec.least_faults))).sum();
        let drawn = plan.faults.iter().filter(|fault| alike(fault)).count() as u64;
        if drawn < least {
            let what = format!(
                "{drawn} faults ({kind} {}) are drawn with this seed, and {least} must take effect: whatever came of them, nothing would \
                 be proven. Raise duration_s, lower every_s or for_ms, or ask for fewer with `least` or least_faults",
                kind.target
            );
            return Err(scenario.error_at(of.target.span(), what));
        }
    }
    Ok(())
}

/// Keeps the faults' draws apart from those of the tasks: a plan with faults has the same tasks as one without.
const FAULTS: u64 = 0xFA17;
