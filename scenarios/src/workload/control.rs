//! What the control without exclusion must be given to be caught.

use harness::model::Plan;

/// The overlaps that the control `none` must be predicted to show, so that a check that misses it is a broken check.
pub const LEAST_OVERLAPS: u64 = 50;

/// How much the keys must be folded for the control `none` to show enough overlaps: a power of two, 1 = not at all.
#[must_use]
pub fn control_fold(plan: &Plan) -> u32 {
    let keys = plan.resources.iter().map(|resource| resource.id).max().unwrap_or(0);
    let mut fold = 1;
    while fold <= keys && plan.folded(fold).overlaps_without_exclusion() < LEAST_OVERLAPS {
        fold *= 2;
    }
    fold
}
