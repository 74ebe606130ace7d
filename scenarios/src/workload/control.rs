//! What the control without exclusion must be given to be caught.

use harness::model::Plan;

/// The overlaps that the control `none` must be predicted to show, so that a check that misses it is a broken check.
pub const LEAST_OVERLAPS: u64 = 50;

/// How the plan of the control `none` differs from everybody else's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlTwin {
    /// How much the keys are folded: a power of two, 1 = not at all.
    pub fold: u32,
    /// How long every step holds at least, in ns; 0 = as planned.
    pub hold_ns: u64,
}

impl ControlTwin {
    /// The least that has the control show enough overlaps: fewer keys first, then longer holds.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        const SHORTEST_NS: u64 = 100_000;
        const LONGEST_NS: u64 = 1_000_000_000;
        let keys = plan.resources.iter().map(|resource| resource.id).max().unwrap_or(0);
        let mut fold = 1;
        while fold <= keys && plan.folded(fold).overlaps_without_exclusion() < LEAST_OVERLAPS {
            fold *= 2;
        }
        let folded = plan.folded(fold);
        let mut hold_ns = 0;
        while hold_ns < LONGEST_NS
            && !plan.is_unlimited()
            && folded.stretched(hold_ns).overlaps_without_exclusion() < LEAST_OVERLAPS
        {
            hold_ns = (2 * hold_ns).max(SHORTEST_NS);
        }
        Self { fold, hold_ns }
    }

    /// Whether it is the plan itself.
    #[must_use]
    pub fn is_plan(self) -> bool {
        self.fold <= 1 && self.hold_ns == 0
    }

    /// The twin.
    #[must_use]
    pub fn draw(self, plan: &Plan) -> Plan {
        plan.folded(self.fold).stretched(self.hold_ns)
    }
}
