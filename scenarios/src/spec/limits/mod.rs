//! What a scenario must keep to beyond its types; one file a subject.

mod expect;
mod faults;
mod general;
mod tasks;

use super::error::SpecError;
use super::scenario::Scenario;

pub(super) fn validate(scenario: &Scenario) -> Result<(), SpecError> {
    general::general(scenario)?;
    tasks::tasks(scenario)?;
    faults::faults(scenario)?;
    scenario.spec.expect.iter().try_for_each(|expect| expect::expect(scenario, expect))
}
