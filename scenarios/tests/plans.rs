//! The plans of the catalogue do not change with the code that draws them: records of different builds can be compared
//! as long as their plans have one digest.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use scenarios::{catalog, workload};

/// Scenario, seed, and the digest of the plan that was drawn when the line was written.
const DRAWN: &[(&str, u64, &str)] = &[
    ("vm-lifecycle", 7, "17bf35eaf283cca9f66dd47c291d653dad70ffcbf57146d128e75eecbc32d255"),
    ("ring-leave", 11, "65c613f8b03200e19bd750789981968d3417aedc893e7f986602fd3671e4d6fb"),
];

#[test]
fn a_seed_draws_the_plan_that_it_always_drew() {
    for (scenario, seed, digest) in DRAWN {
        let plan = workload::draw(&catalog::load(scenario, &[]).unwrap(), *seed).unwrap();
        assert!(!plan.tasks.is_empty());
        assert_eq!(plan.digest(), *digest, "{scenario}, seed {seed}");
    }
}
