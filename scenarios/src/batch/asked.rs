//! What a run is asked to do.

use std::sync::Arc;

use harness::model::Plan;
use harness::record::ServiceLevel;

use crate::spec::Scenario;

/// What a run runs.
#[derive(Debug)]
pub(super) struct Asked {
    /// At the rate at which it runs.
    pub(super) scenario: Scenario,
    pub(super) plan: Arc<Plan>,
    /// Tasks per second that were asked for, where that is not the scenario's rate.
    pub(super) rate_per_s: Option<f64>,
    /// Where it is a probe: the rate that was asked for, and what must be met.
    pub(super) probe: Option<(f64, ServiceLevel)>,
}

impl Asked {
    /// The scenario that a probe warms up with: well below a rate that may be too much.
    pub(super) fn warming(&self) -> Scenario {
        match self.probe {
            Some((rate, _)) => self.scenario.at_rate(rate / 2.0),
            None => self.scenario.clone(),
        }
    }
}
