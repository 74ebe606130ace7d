//! A scenario at a size that its file does not have, and that nobody can run.

use harness::model::{Plan, ResourceKind};

use crate::spec::{Scenario, SpecError};
use crate::workload;

/// How large.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Size {
    /// Management nodes.
    pub nodes: u16,
    /// Of each kind that a task begins with; `None`: as many for each node as in the file.
    pub resources: Option<u32>,
    /// Tasks a second; `None`: as many for each node as in the file.
    pub rate_per_s: Option<f64>,
    /// Length of the arrival window.
    pub duration_s: f64,
}

/// The rate at that size.
fn rate_per_s(scenario: &Scenario, size: Size) -> f64 {
    let spec = &scenario.spec;
    let of_file = spec.rate_per_s.unwrap_or(1.0) * f64::from(size.nodes) / f64::from(spec.nodes);
    size.rate_per_s.unwrap_or(of_file)
}

/// The plan of a seed at that size, and its rate. Faults are left out.
///
/// # Errors
/// When the scenario has no rate, or its tasks cannot be drawn.
pub fn sized(scenario: &Scenario, size: Size, seed: u64) -> Result<(Plan, f64), SpecError> {
    if scenario.spec.rate_per_s.is_none() || scenario.spec.load().is_none_or(|load| load.closed().is_some()) {
        return Err(scenario.error_of("name", "only what arrives at a rate is predicted".to_owned()));
    }
    let rate_per_s = rate_per_s(scenario, size);
    let grown = f64::from(size.nodes) / f64::from(scenario.spec.nodes);
    let roots: Vec<ResourceKind> =
        scenario.spec.tasks.iter().map(|task| *task.step.resource.get_ref()).collect();
    let mut larger = scenario.clone();
    let spec = &mut larger.spec;
    for (kind, resource) in &mut spec.resources {
        let of_file = f64::from(resource.count) * grown;
        let asked = size.resources.filter(|_| roots.contains(kind));
        // At least what the file has: a step may need two.
        resource.count = asked.unwrap_or((of_file.ceil() as u32).max(resource.count));
    }
    spec.nodes = size.nodes;
    spec.rate_per_s = Some(rate_per_s);
    spec.duration_s = Some(size.duration_s);
    spec.saturating = true;
    spec.faults.clear();
    Ok((workload::draw(&larger, seed)?, rate_per_s))
}
