//! The plan of a run and of its warm-up.

use harness::model::{Plan, PlanError, PlanSettings, splitmix};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::arrivals::{arrivals, asked};
use super::faults::faults;
use crate::spec::{Load, Poisson, Scenario, ScenarioSpec, SpecError, nanos};

/// The load of a resource beyond which a scenario must declare that it saturates.
pub const MOST_LOAD: f64 = 0.8;

/// Draws the plan of a run. Same scenario and seed, same plan.
///
/// # Errors
/// When a step tree is against the resource order, or a load above [`MOST_LOAD`] is not declared.
pub fn draw(scenario: &Scenario, seed: u64) -> Result<Plan, SpecError> {
    let spec = &scenario.spec;
    let load = spec.load().expect("a scenario was found to say when tasks arrive");
    let plan = plan(spec, &*load, seed).map_err(|error| explain(scenario, error))?;
    let plan = plan.with_faults(faults(spec, seed)).with_entry(spec.entry);
    if let Some((resource, load)) =
        plan.loads().first().filter(|(_, load)| *load > MOST_LOAD && !spec.saturating)
    {
        let what = format!(
            "{resource} would be loaded to ρ = {load:.2} (arrivals × holds ÷ level), more than {MOST_LOAD}: waits would \
             only measure how long the run is. Lower rate_per_s or the holds, spread the keys, or declare `saturating = true`"
        );
        return Err(scenario.error_of("rate_per_s", what));
    }
    Ok(plan)
}

/// Draws the plan of the run before the measured one: the same tasks, for `warm_up_s`. None when that is 0.
///
/// # Errors
/// As [`draw`], load aside.
pub fn draw_warm_up(scenario: &Scenario, seed: u64) -> Result<Option<Plan>, SpecError> {
    let spec = &scenario.spec;
    if spec.warm_up_s == 0.0 {
        return Ok(None);
    }
    // Callers are as many as in the run. A burst would only queue up: warm up at a rate instead.
    let brief = ScenarioSpec { duration_s: Some(spec.warm_up_s), ..spec.clone() };
    let callers = brief.load().filter(|load| load.closed().is_some());
    let rate = Poisson { rate_per_s: spec.rate_per_s.unwrap_or(100.0), duration_s: spec.warm_up_s };
    let load = callers.unwrap_or(Box::new(rate));
    plan(spec, &*load, splitmix(seed)).map(Some).map_err(|error| explain(scenario, error))
}

fn plan(spec: &ScenarioSpec, load: &dyn Load, seed: u64) -> Result<Plan, PlanError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let settings = PlanSettings {
        seed,
        nodes: spec.nodes,
        window_ns: load.window_ns(),
        deadline_ns: nanos(spec.deadline_ms / 1e3),
        holder: spec.holder,
    };
    let kinds = spec.tasks.iter().map(|task| task.name.get_ref().clone()).collect();
    let arrivals = arrivals(spec, load, &mut rng);
    match load.closed() {
        None => Plan::new(settings, kinds, arrivals),
        Some(closed) => {
            let asked = asked(closed, &settings, arrivals);
            Plan::new(settings, kinds, asked).map(|plan| plan.with_callers(closed))
        }
    }
}

fn explain(scenario: &Scenario, error: PlanError) -> SpecError {
    match &error {
        PlanError::Order { kind, .. } => {
            let task = scenario.spec.tasks.iter().find(|task| task.name.get_ref() == kind);
            scenario.error_at(task.map_or(0..0, |task| task.name.span()), error.to_string())
        }
        _ => scenario.error_of("name", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::control::{ControlTwin, LEAST_OVERLAPS};
    use super::*;
    use crate::catalog;
    use harness::model::TaskId;

    #[test]
    fn the_same_seed_draws_the_same_plan_and_another_seed_another() {
        let scenario = catalog::load("vm-lifecycle", &[]).unwrap();
        let plan = draw(&scenario, 7).unwrap();
        assert_eq!(plan, draw(&scenario, 7).unwrap());
        assert_ne!(plan.digest(), draw(&scenario, 8).unwrap().digest());
    }

    #[test]
    fn a_load_beyond_the_limit_is_refused_unless_declared() {
        let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let rate = setting("rate_per_s", "450");
        let error = draw(&catalog::load("hot-key", std::slice::from_ref(&rate)).unwrap(), 1).unwrap_err();
        assert!(
            error.to_string().contains("vm-0 would be loaded to ρ = 0.9")
                || error.to_string().contains("ρ = 0.8"),
            "{error}"
        );
        draw(&catalog::load("hot-key", &[rate, setting("saturating", "true")]).unwrap(), 1).unwrap();
    }

    #[test]
    fn a_tree_against_the_resource_order_is_refused_with_its_line() {
        let text = catalog::ALL.iter().find(|(name, _)| *name == "hot-key").unwrap().1;
        let text = text
            .replace(
                "vm = { count = 1, level = 1 }",
                "vm = { count = 1, level = 1 }\nhost = { count = 1, level = 1 }",
            )
            .replace(
                r#"{ resource = "vm", hold_s = 0.002 }"#,
                r#"{ resource = "host", steps = [{ resource = "vm" }] }"#,
            );
        let error = draw(&Scenario::parse("mine.toml", &text, &[]).unwrap(), 1).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "mine.toml, line 19: a task of kind `change-vm` takes vm-0 while it holds host-0"
            ),
            "{error}"
        );
    }

    #[test]
    fn faults_are_staggered_never_overlap_and_leave_the_tasks_as_they_are() {
        let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let scenario = catalog::load("holder-pause", &[set("duration_s", "600")]).unwrap();
        let with = draw(&scenario, 7).unwrap();
        let without =
            catalog::load("holder-pause", &[set("duration_s", "600"), set("faults", "[]")]).unwrap();
        assert_eq!(with.tasks, draw(&without, 7).unwrap().tasks);
        assert_eq!(with.faults, draw(&scenario, 7).unwrap().faults);
        assert_ne!(with.digest(), draw(&without, 7).unwrap().digest());
        let spec = &scenario.spec.faults[0];
        // Each takes its own time and the mean distance.
        let mean = 600.0 / (spec.for_ms / 1e3 + spec.every_s);
        assert!((with.faults.len() as f64) > mean * 0.8 && (with.faults.len() as f64) < mean * 1.2);
        let gaps: Vec<u64> =
            with.faults.windows(2).map(|pair| pair[1].at_ns - pair[0].at_ns - pair[0].for_ns).collect();
        let most_ns = nanos(2.0 * spec.every_s);
        assert!(gaps.iter().all(|gap| *gap <= most_ns + 1));
        // Uniform from 0 to 2×: a quarter of them lie in each quarter.
        for quarter in 0..4 {
            let within = (quarter * most_ns / 4)..((quarter + 1) * most_ns / 4);
            let share = gaps.iter().filter(|gap| within.contains(gap)).count() as f64 / gaps.len() as f64;
            assert!((0.1..0.45).contains(&share), "{quarter}: {share}");
        }
    }

    #[test]
    fn bursts_come_again_and_again_each_on_the_next_resource() {
        let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let settings = [
            setting("burst", "4"),
            setting("burst_every_s", "2.0"),
            setting("duration_s", "5.0"),
            setting("resources.host.count", "2"),
        ];
        let plan = draw(&catalog::load("thundering-1000", &settings).unwrap(), 1).unwrap();
        let resource = |task: harness::model::Planned<'_>| plan.resources[task.step(0).resource as usize].id;
        let bursts: Vec<_> = plan.tasks.iter().map(|task| (task.arrival_ns, resource(task))).collect();
        let expected = [(0, 0), (2_000_000_000, 1), (4_000_000_000, 0)];
        assert_eq!(bursts, expected.map(|burst| [burst; 4]).concat());
        assert_eq!(plan.settings.window_ns, 5_000_000_000);
        let lonely = catalog::load("thundering-1000", &settings[..2]).unwrap_err().to_string();
        assert!(lonely.contains("burst with burst_every_s and duration_s"), "{lonely}");
    }

    #[test]
    fn only_what_is_worked_on_one_by_one_is_found_or_created() {
        let text = catalog::ALL.iter().find(|(name, _)| *name == "hot-key").unwrap().1;
        let text = text.replace("hold_s = 0.002", "create_s = 60.0");
        let saturating = ("saturating".to_owned(), "true".to_owned());
        let scenario = Scenario::parse("mine.toml", &text, &[saturating]).unwrap();
        assert_eq!(draw(&scenario, 1).unwrap().task(TaskId(0)).step(0).create_ns, Some(60_000_000_000));
        for (what, instead) in [("level = 1", "level = 2"), ("create_s", "mode = \"shared\", create_s")] {
            let error = Scenario::parse("mine.toml", &text.replace(what, instead), &[]).unwrap_err();
            let error = error.to_string();
            assert!(error.starts_with("mine.toml, line 20: create_s is for exclusive steps"), "{error}");
        }
    }

    #[test]
    fn the_control_folds_keys_until_it_can_be_caught() {
        let plan = draw(&catalog::load("vm-lifecycle", &[]).unwrap(), 1).unwrap();
        assert!(plan.overlaps_without_exclusion() < LEAST_OVERLAPS);
        let twin = ControlTwin::of(&plan);
        assert!(twin.fold > 1 && twin.hold_ns == 0);
        assert!(twin.draw(&plan).overlaps_without_exclusion() >= LEAST_OVERLAPS);
    }

    #[test]
    fn the_control_holds_longer_where_nobody_holds_at_all() {
        let plan = draw(&catalog::load("capacity-hot", &[]).unwrap(), 1).unwrap();
        assert_eq!(plan.overlaps_without_exclusion(), 0);
        let twin = ControlTwin::of(&plan);
        assert!(twin.hold_ns > 0 && !twin.is_plan());
        assert!(twin.draw(&plan).overlaps_without_exclusion() >= LEAST_OVERLAPS);
    }
}
