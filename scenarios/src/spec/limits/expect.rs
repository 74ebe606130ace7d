//! Expectations that a scenario can have.

use harness::judge::checks;
use harness::record::Expected;

use crate::spec::error::{SpecError, did_you_mean};
use crate::spec::expect::ExpectSpec;
use crate::spec::scenario::Scenario;

pub(super) fn expect(scenario: &Scenario, expect: &ExpectSpec) -> Result<(), SpecError> {
    let names: Vec<_> = checks::ALL.iter().map(|check| check.name).collect();
    let (name, span) = (expect.check.get_ref(), expect.check.span());
    if !names.contains(&name.as_str()) {
        let what = format!(
            "unknown check `{name}`{}; there are {}",
            did_you_mean(name, names.iter().copied()),
            names.join(", ")
        );
        return Err(scenario.error_at(span, what));
    }
    if expect.share_of_hits.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
        return Err(scenario.error_at(span, "share_of_hits must be from 0 to 1"));
    }
    if expect.chance.is_some_and(|chance| !(chance > 0.0 && chance <= 1.0)) {
        return Err(scenario.error_at(span, "chance must be greater than 0, and at most 1"));
    }
    if expect.chance.is_some() && expect.verdict != Expected::Violated {
        return Err(scenario.error_at(span, "chance goes with `verdict = \"violated\"`"));
    }
    Ok(())
}
