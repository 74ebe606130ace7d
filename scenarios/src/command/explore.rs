//! `lockbench explore`: looks for failures by itself, seed by seed in virtual time.

use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::ops::Range;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use harness::engine::monotonic_ns;
use harness::model::{Plan, StepRef, TaskId};
use harness::simulation::{Kept, walk};

use super::print::print;
use super::verb::{Example, Group, Work};
use crate::catalog;
use crate::foresight::{Double, Exploration, double, doubles};
use crate::spec::{Scenario, SpecError, did_you_mean};

/// A contender violated what it promised.
const VIOLATED: u8 = 3;

/// Tasks, and lines of a witness, that are told.
const TOLD: usize = 12;

/// Look for failures: a scenario in virtual time under faults drawn at random, many at once, seed by seed.
///
/// Each seed draws the scenario's tasks and, in place of its own faults, some of all kinds. What the checks find violated is
/// shrunk to the fewest tasks and faults that still show it, and told with the command that shows it again. Standard output is the
/// same for the same seeds on every machine.
#[derive(Debug, Args)]
#[command(after_help = help())]
pub(super) struct Explore {
    /// Name of a scenario of the catalogue, or path of a .toml file.
    scenario: String,
    /// How many seeds each contender goes through.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed_from: u64,
    /// Who; may be given more than once. Left out: those of the scenario that can run in virtual time, and sim-lease.
    #[arg(long, value_name = "NAME")]
    contender: Vec<String>,
    /// Set any field of the scenario, as for `run`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = super::batch::key_value)]
    set: Vec<(String, String)>,
    /// Only these tasks of the plan, by their numbers, or `none`; with one seed and one contender.
    #[arg(long, value_name = "I,J,…|none", value_parser = places)]
    only_tasks: Option<Places>,
    /// Only these faults of the plan, by their numbers, or `none`; with one seed and one contender.
    #[arg(long, value_name = "I,J,…|none", value_parser = places)]
    only_faults: Option<Places>,
    /// How many seeds are walked at a time; left out: one for each processor.
    #[arg(long, value_name = "THREADS")]
    jobs: Option<NonZeroUsize>,
}

/// Places in a plan.
#[derive(Debug, Clone)]
struct Places(Vec<usize>);

fn places(text: &str) -> Result<Places, String> {
    if text == "none" {
        return Ok(Places(Vec::new()));
    }
    let place = |part: &str| part.parse().map_err(|_| format!("`{part}` is no number"));
    let mut places: Vec<usize> = text.split(',').map(place).collect::<Result<_, String>>()?;
    // In the order of the plan, each once.
    places.sort_unstable();
    places.dedup();
    Ok(Places(places))
}

fn help() -> String {
    let widest = doubles().iter().map(|double| double.name.len()).max().unwrap_or(0);
    let mut text = "Contenders in virtual time:\n".to_owned();
    for double in doubles() {
        writeln!(text, "  {:<widest$}  {}", double.name, double.summary).expect("a text can be written to");
    }
    text.push_str("\nExit codes: 2 usage or configuration, 3 a check was violated, 0 none was.");
    text
}

impl Work for Explore {
    const NAME: &str = "explore";
    const GROUP: Group = Group::Foresee;
    const EXAMPLES: &[Example] = &[
        ("What goes wrong where holders are paused", "lockbench explore holder-pause"),
        (
            "Whether agents that look at tokens save it, over many seeds",
            "lockbench explore holder-pause --contender sim-lease --set fencing=true --set rate_per_s=5.0 --seeds 10000",
        ),
        (
            "One seed again, with what it needs",
            "lockbench explore holder-pause --contender sim-lease --set rate_per_s=5.0 --set duration_s=20.0 --seed-from 17 --seeds 1 --only-tasks 93,96 --only-faults 9",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        // Each seed has a runtime of its own, which none can have inside another.
        tokio::task::spawn_blocking(move || self.look()).await?
    }
}

impl Explore {
    fn look(&self) -> anyhow::Result<u8> {
        let scenario = catalog::load(&self.scenario, &self.set)?;
        ensure!(
            scenario.spec.load().is_none_or(|load| load.closed().is_none()),
            "a closed loop asks as fast as it is answered: give a rate, `--set arrivals= --set rate_per_s=20`"
        );
        let contenders = self.contenders(&scenario)?;
        if self.only_tasks.is_some() || self.only_faults.is_some() {
            ensure!(
                self.seeds == 1 && contenders.len() == 1,
                "--only-tasks and --only-faults are of one plan: give --seeds 1 and one --contender"
            );
        }
        let end = self.seed_from.checked_add(self.seeds).context("--seed-from: too large")?;
        let (first_seed, first) = first_drawn(&scenario, contenders[0], self.seed_from..end)?;
        self.are_within(&first)?;
        print(&format!(
            "{}: seeds {} to {}; seed {first_seed} has {} tasks in {:.0} s and {} faults",
            scenario.spec.name,
            self.seed_from,
            end - 1,
            first.tasks.len(),
            first.settings.window_ns as f64 / 1e9,
            first.faults.len(),
        ));
        let mut all_hold = true;
        for double in contenders {
            let exploration = Exploration { scenario: &scenario, double };
            all_hold &= self.explore(&exploration, end)?;
        }
        Ok(if all_hold { 0 } else { VIOLATED })
    }

    /// Those who are asked for.
    fn contenders(&self, scenario: &Scenario) -> anyhow::Result<Vec<Double>> {
        if self.contender.is_empty() {
            let named = scenario.spec.contenders.iter().filter_map(|name| double(name.get_ref()));
            return Ok(named.chain(double("sim-lease")).collect());
        }
        let found = self.contender.iter().map(|name| {
            double(name).with_context(|| {
                let known: Vec<_> = doubles().iter().map(|double| double.name).collect();
                format!(
                    "--contender: `{name}` does not run in virtual time{}; there are {}",
                    did_you_mean(name, known.iter().copied()),
                    known.join(", ")
                )
            })
        });
        found.collect()
    }

    /// Whether the plan has what is asked for.
    fn are_within(&self, plan: &Plan) -> anyhow::Result<()> {
        let outside = |only: &Option<Places>, count: usize| {
            only.iter().flat_map(|places| &places.0).copied().find(|place| *place >= count)
        };
        if let Some(task) = outside(&self.only_tasks, plan.tasks.len()) {
            bail!(
                "--only-tasks: the plan has no task {task}, its last is {}",
                plan.tasks.len().saturating_sub(1)
            );
        }
        if let Some(fault) = outside(&self.only_faults, plan.faults.len()) {
            bail!(
                "--only-faults: the plan has no fault {fault}, its last is {}",
                plan.faults.len().saturating_sub(1)
            );
        }
        Ok(())
    }

    /// Walks the seeds and tells what they show; whether every check held.
    fn explore(&self, exploration: &Exploration<'_>, end: u64) -> anyhow::Result<bool> {
        let (name, begun_ns) = (exploration.double.name, monotonic_ns());
        let jobs =
            self.jobs.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
        let walked = walk(self.seed_from..end, jobs, |seed| -> Result<Vec<&'static str>, SpecError> {
            let plan = self.kept(&exploration.plan(seed)?);
            Ok(exploration.violated(&plan).into_iter().map(|(check, _)| check).collect())
        });
        let took_s = (monotonic_ns() - begun_ns) as f64 / 1e9;
        eprintln!("{name}: {:.0} seeds a minute", self.seeds as f64 * 60.0 / took_s);
        // By check: the first seed that shows it, and how many do.
        let mut shown: Vec<(&str, u64, u64)> = Vec::new();
        let (mut failed, mut refused) = (0, Vec::new());
        for (seed, checks) in walked {
            let checks = match checks {
                Ok(checks) => checks,
                Err(why) => {
                    refused.push((seed, why));
                    continue;
                }
            };
            failed += u64::from(!checks.is_empty());
            for check in checks {
                match shown.iter_mut().find(|(known, ..)| *known == check) {
                    Some((_, _, count)) => *count += 1,
                    None => shown.push((check, seed, 1)),
                }
            }
        }
        let of_all = format!("{failed} of {} seeds", self.seeds - refused.len() as u64);
        let counts: Vec<_> = shown.iter().map(|(check, _, count)| format!("{check} {count}")).collect();
        let counts = if counts.is_empty() { "every check holds".to_owned() } else { counts.join(", ") };
        print(&format!("\n{name}: {of_all} show a failure: {counts}"));
        if let Some((seed, why)) = refused.first() {
            print(&format!("  {} seeds more make no plan; seed {seed}: {why}", refused.len()));
        }
        let mut told = Vec::new();
        for (check, seed, _) in &shown {
            if !told.contains(check) {
                told.extend(self.tell(exploration, check, *seed)?);
            }
        }
        Ok(shown.is_empty())
    }

    /// What of a plan is asked for.
    fn kept(&self, plan: &Plan) -> Plan {
        if self.only_tasks.is_none() && self.only_faults.is_none() {
            return plan.clone();
        }
        self.asked(plan).of(plan)
    }

    fn asked(&self, plan: &Plan) -> Kept {
        let all = Kept::all(plan);
        let or_all = |only: &Option<Places>, all| only.as_ref().map_or(all, |places| places.0.clone());
        Kept { tasks: or_all(&self.only_tasks, all.tasks), faults: or_all(&self.only_faults, all.faults) }
    }

    /// The least of a seed's plan that violates a check, what happens in it, and how to see it again; which checks it violates.
    fn tell(
        &self,
        exploration: &Exploration<'_>,
        check: &str,
        seed: u64,
    ) -> anyhow::Result<Vec<&'static str>> {
        let whole = exploration.plan(seed)?;
        let asked = self.asked(&whole);
        let least = exploration.least(&whole, asked, check);
        let plan = least.of(&whole);
        let violated = exploration.violated(&plan);
        let names: Vec<&str> = violated.iter().map(|(name, _)| *name).collect();
        let mut text = format!(
            "\n{} violates {} with seed {seed}; {} of {} tasks and {} of {} faults are enough:",
            exploration.double.name,
            names.join(", "),
            least.tasks.len(),
            whole.tasks.len(),
            least.faults.len(),
            whole.faults.len(),
        );
        let mut line = |line: String| {
            text.push_str("\n  ");
            text.push_str(&line);
        };
        for (below, number) in least.tasks.iter().enumerate().take(TOLD) {
            let step = StepRef { task: TaskId(number_of(number)), step: 0 };
            let root = whole.step(step);
            line(format!(
                "task {number} (below: task {below}) at {}, node {}: {} for {}",
                ms(whole.task(step.task).arrival_ns),
                whole.task(step.task).entry.0,
                whole.resource(step),
                ms(root.hold_ns),
            ));
        }
        if least.tasks.len() > TOLD {
            line(format!("… and {} more tasks", least.tasks.len() - TOLD));
        }
        for number in &least.faults {
            let fault = whole.faults[*number];
            line(format!(
                "fault {number} at {}: {fault} {} for {}",
                ms(fault.at_ns),
                fault.target,
                ms(fault.for_ns)
            ));
        }
        let witness = violated.into_iter().find(|(name, _)| *name == check).map(|(_, witness)| witness);
        let witness = witness.unwrap_or_default();
        let left_out = witness.len().saturating_sub(TOLD);
        if left_out > 0 {
            line(format!("… {left_out} lines before"));
        }
        witness.into_iter().skip(left_out).for_each(&mut line);
        line(format!("again: {}", self.again(exploration.double.name, seed, &least)));
        print(&text);
        Ok(names)
    }

    /// The command that shows it again.
    fn again(&self, contender: &str, seed: u64, least: &Kept) -> String {
        let list = |places: &[usize]| match places {
            [] => "none".to_owned(),
            places => places.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
        };
        let set: String = self.set.iter().map(|(key, value)| format!(" --set '{key}={value}'")).collect();
        format!(
            "lockbench explore {} --contender {contender} --seed-from {seed} --seeds 1{set} --only-tasks {} --only-faults {}",
            self.scenario,
            list(&least.tasks),
            list(&least.faults),
        )
    }
}

/// The first seed that makes a plan. A load near what the resources carry is above it with some seeds; a scenario of which no seed
/// makes one says why.
fn first_drawn(scenario: &Scenario, double: Double, mut seeds: Range<u64>) -> anyhow::Result<(u64, Plan)> {
    let exploration = Exploration { scenario, double };
    let first = seeds.start;
    let drawn = seeds.find_map(|seed| exploration.plan(seed).ok().map(|plan| (seed, plan)));
    drawn.map_or_else(|| Ok((first, exploration.plan(first)?)), Ok)
}

/// A place in a plan as its task's number: no plan has more of them.
fn number_of(place: &usize) -> u32 {
    u32::try_from(*place).unwrap_or(u32::MAX)
}

fn ms(ns: u64) -> String {
    format!("{:.3} ms", ns as f64 / 1e6)
}
