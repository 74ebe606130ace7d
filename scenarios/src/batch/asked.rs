//! What a run is asked to do.

use std::sync::Arc;

use harness::model::Plan;
use harness::record::ServiceLevel;
use harness::servers::ServerKind;

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
    /// What of its batch comes after it takes so long, about.
    pub(super) then_s: Option<f64>,
}

impl Asked {
    /// The scenario that a run warms up with: of a probe well below a rate that may be too much, and on a server that has just been
    /// started until that is as fast as it will be.
    pub(super) fn warming(&self, fresh: Option<ServerKind>) -> Scenario {
        let mut scenario = match self.probe {
            Some((rate, _)) => self.scenario.at_rate(rate / 2.0),
            None => self.scenario.clone(),
        };
        let warms_s = fresh.filter(|_| self.rate_per_s.is_some()).map_or(0.0, ServerKind::warms_s);
        scenario.spec.warm_up_s = scenario.spec.warm_up_s.max(warms_s);
        scenario
    }
}
