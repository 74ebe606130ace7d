//! Resources and tasks that a scenario can have.

use harness::model::{Mode, ResourceKind};

use crate::spec::error::SpecError;
use crate::spec::scenario::Scenario;
use crate::spec::tasks::{Duration, StepSpec};

pub(super) fn tasks(scenario: &Scenario) -> Result<(), SpecError> {
    let spec = &scenario.spec;
    for (kind, resource) in &spec.resources {
        let wrong = if *kind == ResourceKind::Bystander {
            "is the bystander's own; name another kind"
        } else if !(1..=1_000_000).contains(&resource.count) {
            "count must be from 1 to 1,000,000"
        } else if !(0.0..=1_000.0).contains(&resource.per_rate) {
            "per_rate must be from 0 to 1,000 for each task a second"
        } else if resource.level > 10_000 {
            "level must be at most 10,000"
        } else if !(0.0..=10.0).contains(&resource.zipf) {
            "zipf must be from 0 to 10"
        } else {
            continue;
        };
        return Err(scenario.error_of(kind.name(), wrong));
    }
    if spec.tasks.is_empty() {
        return Err(scenario.error_of("name", "the scenario has no [[tasks]]"));
    }
    for task in &spec.tasks {
        if !(1e-6..=1e6).contains(&task.weight) {
            return Err(scenario.error_at(task.name.span(), "weight must be from 0.000001 to 1,000,000"));
        }
        if count(&task.step) > MOST_STEPS {
            return Err(scenario.error_at(task.name.span(), "a task must have at most 1,000 steps"));
        }
        step(scenario, &task.step)?;
    }
    Ok(())
}

/// Steps of one task, at most: together they hold for no longer than a plan can say.
const MOST_STEPS: usize = 1_000;

fn count(step: &StepSpec) -> usize {
    1 + step.steps.iter().map(count).sum::<usize>()
}

fn step(scenario: &Scenario, step: &StepSpec) -> Result<(), SpecError> {
    let kind = step.resource.get_ref();
    if !scenario.spec.resources.contains_key(kind) {
        let what = format!(
            "the step's resource `{0}` is not in [resources]; add `{0} = {{ count = …, level = … }}`",
            kind.name()
        );
        return Err(scenario.error_at(step.resource.span(), what));
    }
    let fine = |duration: Duration| match duration {
        Duration::Constant(seconds) => (0.0..=1e6).contains(&seconds),
        Duration::LogNormal([median, p99]) => median > 0.0 && median <= p99 && p99 <= 1e6,
    };
    if !fine(step.hold_s) || !step.create_s.is_none_or(fine) {
        let what = "hold_s and create_s must be a number of seconds, or [median, 99th percentile] with \
                    0 < median ≤ 99th percentile";
        return Err(scenario.error_at(step.resource.span(), what));
    }
    let twice = step.steps.iter().find(|child| child.resource.get_ref() == kind);
    if let Some(child) = twice {
        let deeper = child.steps.iter().any(|deeper| deeper.resource.get_ref() == kind);
        if deeper || scenario.spec.resources[kind].count < 2 {
            let what = format!(
                "a step in a step of its own kind needs two resources of it, and holds no third: set `{0}.count` to 2 or more",
                kind.name()
            );
            return Err(scenario.error_at(child.resource.span(), what));
        }
    }
    let one_by_one = scenario.spec.resources[kind].level == 1 && step.mode == Mode::Exclusive;
    if step.create_s.is_some() && !one_by_one {
        let what = "create_s is for exclusive steps on resources of level 1: with more slots, or none, it could not be \
                    told what was created once";
        return Err(scenario.error_at(step.resource.span(), what));
    }
    step.steps.iter().try_for_each(|step| self::step(scenario, step))
}
