//! The plan of a run: as its contender has it, and as a node on another machine draws it by itself, so that nothing large is sent to it. Digests must
//! agree.

use std::sync::Arc;

use harness::model::Plan;
use harness::secret::Sealed;
use serde::{Deserialize, Serialize};

use crate::contenders::{self, Contender, Proof};
use crate::spec::Scenario;
use crate::workload::{self, ControlTwin};

/// What a plan is drawn from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Drawing {
    text: String,
    /// What of the scenario is not as its text says: a probe runs at another rate than it, and a warm-up as long as it needs.
    rate_per_s: Option<f64>,
    duration_s: Option<f64>,
    saturating: bool,
    warm_up_s: f64,
    seed: u64,
    contender: String,
    /// Whether it is the plan of the run before, which is not measured.
    warms_up: bool,
}

impl Drawing {
    /// That of the run of a contender.
    pub(super) fn of(scenario: &Scenario, seed: u64, contender: &Contender, warms_up: bool) -> Self {
        let spec = &scenario.spec;
        Self {
            text: scenario.text.clone(),
            rate_per_s: spec.rate_per_s,
            duration_s: spec.duration_s,
            saturating: spec.saturating,
            warm_up_s: spec.warm_up_s,
            seed,
            contender: contender.plain_name().to_owned(),
            warms_up,
        }
    }

    fn plan(&self) -> Result<Plan, String> {
        let mut scenario =
            Scenario::parse("the driver", &self.text, &[]).map_err(|error| error.to_string())?;
        let spec = &mut scenario.spec;
        (spec.rate_per_s, spec.duration_s) = (self.rate_per_s, self.duration_s);
        (spec.saturating, spec.warm_up_s) = (self.saturating, self.warm_up_s);
        let wrong = |error: crate::spec::SpecError| error.to_string();
        if self.warms_up {
            let plan = workload::draw_warm_up(&scenario, self.seed).map_err(wrong)?;
            return plan.ok_or_else(|| "there is no warm-up".to_owned());
        }
        let plan = workload::draw(&scenario, self.seed).map_err(wrong)?;
        let contender = contenders::all().into_iter().find(|contender| contender.name == self.contender);
        let contender =
            contender.ok_or_else(|| format!("there is no contender `{}` here", self.contender))?;
        Ok(Arc::unwrap_or_clone(plan_for(&contender, &Arc::new(plan))))
    }
}

/// The plan as this contender has it: the control that must be caught has a twin on which it can be, and nobody has
/// the faults that he is spared.
pub(super) fn plan_for(contender: &Contender, plan: &Arc<Plan>) -> Arc<Plan> {
    let twin = (contender.proves() == Some(Proof::Checks)).then(|| ControlTwin::of(plan));
    let twin = twin.filter(|twin| !twin.is_plan());
    let plan = twin.map_or_else(|| Arc::clone(plan), |twin| Arc::new(twin.draw(plan)));
    if !plan.faults.iter().any(|fault| contender.is_spared(fault)) {
        return plan;
    }
    let faults = plan.faults.iter().filter(|fault| !contender.is_spared(fault)).copied().collect();
    Arc::new(Plan::clone(&plan).with_faults(faults))
}

/// Draws the plan that a driver on another machine has drawn.
///
/// # Errors
/// In words, when it is asked for what is not known here.
pub fn draw(drawing: Sealed) -> Result<Plan, String> {
    let drawing: Drawing = serde_json::from_value(drawing.0)
        .map_err(|error| format!("what the driver asks for is not known here: {error}"))?;
    drawing.plan()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    #[test]
    fn a_node_draws_the_plan_that_its_driver_has_of_a_run_of_a_probe_and_of_a_warm_up() {
        for name in ["smoke", "vm-lifecycle", "holder-pause", "transfer"] {
            let settings = [("duration_s", "5.0")].map(|(key, value)| (key.to_owned(), value.to_owned()));
            let scenario = catalog::load(name, &settings).unwrap();
            let rate = scenario.spec.rate_per_s.unwrap_or(50.0);
            for scenario in [scenario.clone(), scenario.at_rate(rate * 1.37)] {
                let Ok(drawn) = workload::draw(&scenario, 77) else { continue };
                let drawn = Arc::new(drawn);
                for contender in ["none", "noop", "ring-queue", "redis-fenced"] {
                    let contender = contenders::all().into_iter().find(|one| one.name == contender).unwrap();
                    let drawing = Drawing::of(&scenario, 77, &contender, false);
                    let sealed = Sealed(serde_json::to_value(drawing).unwrap());
                    let there = draw(sealed).unwrap();
                    assert_eq!(there.digest(), plan_for(&contender, &drawn).digest(), "{name}");
                }
            }
            let contender = contenders::all().into_iter().find(|one| one.name == "none").unwrap();
            let warm_up = workload::draw_warm_up(&scenario, 77).unwrap().map(|plan| plan.digest());
            let drawing = Drawing::of(&scenario, 77, &contender, true);
            let there = draw(Sealed(serde_json::to_value(drawing).unwrap())).ok().map(|plan| plan.digest());
            assert_eq!(there, warm_up, "{name}");
        }
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        let refused = draw(Sealed(serde_json::json!({ "text": 1 }))).unwrap_err();
        assert!(refused.starts_with("what the driver asks for is not known here"), "{refused}");
    }
}
