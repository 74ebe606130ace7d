//! From what was asked to what will run: draws a plan from a scenario and a seed, and refuses what cannot be run.

use harness::model::{Arrival, Fault, NodeId, Plan, PlanError, PlanSettings, Resource, StepTree, splitmix};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp, LogNormal, Zipf};

use crate::spec::{Arrivals, Duration, Scenario, ScenarioSpec, SpecError, StepSpec};

/// The load of a resource beyond which a scenario must declare that it saturates.
pub const MOST_LOAD: f64 = 0.8;

/// The overlaps that the control `none` must be predicted to show, so that a check that misses it is a broken check.
pub const LEAST_OVERLAPS: u64 = 50;

/// Draws the plan of a run. Same scenario and seed, same plan.
///
/// # Errors
/// When a step tree is against the resource order, or a load above [`MOST_LOAD`] is not declared.
pub fn draw(scenario: &Scenario, seed: u64) -> Result<Plan, SpecError> {
    let spec = &scenario.spec;
    let plan = plan(spec, seed).map_err(|error| explain(scenario, error))?;
    let plan = plan.with_faults(faults(spec, seed));
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
    let mut spec = spec.clone();
    // A burst would only queue up: warm up at a rate instead.
    (spec.burst, spec.burst_every_s) = (None, None);
    spec.rate_per_s = spec.rate_per_s.or(Some(100.0));
    spec.duration_s = Some(spec.warm_up_s);
    plan(&spec, splitmix(seed)).map(Some).map_err(|error| explain(scenario, error))
}

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

fn explain(scenario: &Scenario, error: PlanError) -> SpecError {
    match &error {
        PlanError::Order { kind, .. } => {
            let task = scenario.spec.tasks.iter().find(|task| task.name.get_ref() == kind);
            scenario.error_at(task.map_or(0..0, |task| task.name.span()), error.to_string())
        }
        _ => scenario.error_of("name", error.to_string()),
    }
}

fn plan(spec: &ScenarioSpec, seed: u64) -> Result<Plan, PlanError> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let asked = spec.arrivals().expect("a scenario was found to say when tasks arrive");
    let starts = starts(asked, &mut rng);
    let total: f64 = spec.tasks.iter().map(|task| task.weight).sum();
    let arrivals = starts
        .into_iter()
        .map(|Start { at_ns, turn }| {
            let mut left = rng.random::<f64>() * total;
            let drawn = spec.tasks.iter().position(|task| {
                left -= task.weight;
                left < 0.0
            });
            // Rounding may leave a rest after the last kind.
            let kind = drawn.unwrap_or(spec.tasks.len() - 1);
            let entry = NodeId(rng.random_range(0..spec.nodes));
            let step = &spec.tasks[kind].step;
            let id = match turn {
                Some(turn) => turn % spec.resources[step.resource.get_ref()].count,
                None => draw_id(spec, step, &mut rng),
            };
            Arrival { kind: kind as u16, at_ns, entry, root: tree(spec, step, id, &mut rng) }
        })
        .collect();
    let settings = PlanSettings {
        seed,
        nodes: spec.nodes,
        window_ns: match asked {
            Arrivals::Poisson { duration_s, .. } | Arrivals::Bursts { duration_s, .. } => nanos(duration_s),
            Arrivals::Burst(_) => 1,
        },
        deadline_ns: nanos(spec.deadline_ms / 1e3),
        holder: spec.holder,
    };
    Plan::new(settings, spec.tasks.iter().map(|task| task.name.get_ref().clone()).collect(), arrivals)
}

/// Draws the faults within the arrival window: staggered, since faults at fixed intervals miss what staggered ones hit;
/// one at a time, the later of two waits for the end of the earlier.
fn faults(spec: &ScenarioSpec, seed: u64) -> Vec<Fault> {
    let mut rng = ChaCha8Rng::seed_from_u64(splitmix(seed ^ FAULTS));
    let window_s = spec.duration_s.unwrap_or(spec.deadline_ms / 1e3);
    let (mut faults, mut quiet_s) = (Vec::new(), 0.0_f64);
    for (fault, target) in spec.faults.iter().filter_map(|fault| Some((fault, fault.aim()?))) {
        quiet_s = quiet_s.max(fault.quiet_s);
        let mut at_s = fault.quiet_s + rng.random::<f64>() * 2.0 * fault.every_s;
        while at_s < window_s {
            let (at_ns, for_ns) = (nanos(at_s), nanos(fault.for_ms / 1e3));
            faults.push(Fault { at_ns, for_ns, verb: fault.fault(), target, link: fault.link });
            at_s += fault.for_ms / 1e3 + rng.random::<f64>() * 2.0 * fault.every_s;
        }
    }
    faults.sort_by_key(|fault| fault.at_ns);
    let mut free_ns = 0;
    for fault in &mut faults {
        fault.at_ns = fault.at_ns.max(free_ns);
        free_ns = fault.at_ns + fault.for_ns;
    }
    faults.retain(|fault| fault.at_ns + fault.for_ns <= nanos((window_s - quiet_s).max(0.0)));
    faults
}

/// Keeps the faults' draws apart from those of the tasks: a plan with faults has the same tasks as one without.
const FAULTS: u64 = 0xFA17;

/// When a task arrives, and the number of its root's resource where that is not drawn.
#[derive(Debug, Clone, Copy)]
struct Start {
    at_ns: u64,
    turn: Option<u32>,
}

fn starts(arrivals: Arrivals, rng: &mut ChaCha8Rng) -> Vec<Start> {
    match arrivals {
        Arrivals::Poisson { rate_per_s, duration_s } => {
            let gap = Exp::new(rate_per_s).expect("the rate was found to be positive");
            let mut at_s = gap.sample(rng);
            let mut starts = Vec::new();
            while at_s < duration_s {
                starts.push(Start { at_ns: nanos(at_s), turn: None });
                at_s += gap.sample(rng);
            }
            starts
        }
        Arrivals::Burst(tasks) => vec![Start { at_ns: 0, turn: None }; tasks as usize],
        Arrivals::Bursts { tasks, every_s, duration_s } => {
            let bursts = (duration_s / every_s).ceil() as u32;
            let burst = |turn| Start { at_ns: nanos(f64::from(turn) * every_s), turn: Some(turn) };
            (0..bursts).flat_map(|turn| std::iter::repeat_n(burst(turn), tasks as usize)).collect()
        }
    }
}

fn draw_id(spec: &ScenarioSpec, step: &StepSpec, rng: &mut ChaCha8Rng) -> u32 {
    let resource = &spec.resources[step.resource.get_ref()];
    if resource.zipf == 0.0 {
        return rng.random_range(0..resource.count);
    }
    let rank = Zipf::new(f64::from(resource.count), resource.zipf)
        .expect("count and exponent were checked")
        .sample(rng);
    rank as u32 - 1
}

fn tree(spec: &ScenarioSpec, step: &StepSpec, id: u32, rng: &mut ChaCha8Rng) -> StepTree {
    let kind = *step.resource.get_ref();
    let hold_ns = match spec.hold_ms {
        Some(ms) => nanos(ms / 1e3),
        None => draw_ns(spec, step.hold_s, rng),
    };
    let create_ns = step.create_s.map(|create_s| draw_ns(spec, create_s, rng));
    let children = step
        .steps
        .iter()
        .map(|child| {
            let count = spec.resources[child.resource.get_ref()].count;
            // The same parent always has the same child: a VM's host, a volume's VM.
            let related = splitmix(u64::from(id) << 8 | kind as u64) % u64::from(count);
            let id = (related as u32 + child.offset) % count;
            tree(spec, child, id, rng)
        })
        .collect();
    let level = spec.resources[&kind].level;
    StepTree { resource: Resource { kind, id, level }, mode: step.mode, hold_ns, create_ns, children }
}

fn draw_ns(spec: &ScenarioSpec, duration: Duration, rng: &mut ChaCha8Rng) -> u64 {
    match duration {
        Duration::Constant(seconds) => nanos(seconds / spec.time_scale),
        Duration::LogNormal([median, p99]) => {
            // 2.326 standard deviations above the mean lies the 99th percentile of a normal distribution.
            let spread = (p99 / median).ln() / 2.326;
            let drawn: f64 = LogNormal::new(median.ln(), spread).expect("the spread is finite").sample(rng);
            // A bounded tail, so that one draw cannot decide a run.
            nanos(drawn.min(2.0 * p99) / spec.time_scale)
        }
    }
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}

/// A seed from the operating system, for runs that name none.
#[must_use]
pub fn fresh_seed() -> u64 {
    // 53 bits, so that the seed survives JSON readers that know only doubles.
    rand::rng().next_u64() >> 11
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

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
        let resource = |task: &harness::model::Task| plan.resources[task.steps[0].resource as usize].id;
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
        assert_eq!(draw(&scenario, 1).unwrap().tasks[0].steps[0].create_ns, Some(60_000_000_000));
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
        let fold = control_fold(&plan);
        assert!(fold > 1 && plan.folded(fold).overlaps_without_exclusion() >= LEAST_OVERLAPS);
    }
}
