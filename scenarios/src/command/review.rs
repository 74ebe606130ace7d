//! `lockbench review`: one workload put to everything that the choice of a mechanism needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::Args;
use harness::record::{ReviewPhase, ReviewRecord, Role, SCHEMA_VERSION, write_json};
use tokio_util::sync::CancellationToken;

use super::how::{Aim, HowArgs, time};
use super::several::{IfFailed, Part, Several, Told};
use super::signals::watch_signals;
use super::verb::{Example, Group, Work};
use crate::batch::{self, Batch, Show as _};
use crate::catalog;
use crate::contenders::Contender;
use crate::progress::Display;
use crate::requirements::{PHASES, Requirements};
use crate::spec::Scenario;

/// Put one workload to everything that a choice needs, and set what is required beside what each candidate does.
#[derive(Debug, Args)]
#[command(after_long_help = HELP)]
pub(super) struct Review {
    /// Name of a scenario of the catalogue, or path of a .toml file.
    #[arg(required_unless_present = "resume")]
    scenario: Option<String>,
    /// How long it may take, about; what does not fit is left out, and said. `20m`, `2h`.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "20m")]
    budget: Duration,
    /// A TOML file of requirements, see below; without, what no workload can do without.
    #[arg(long, value_name = "FILE")]
    requirements: Option<PathBuf>,
    /// Goes on with a review that was stopped, in its directory.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["scenario", "budget", "requirements", "seed", "contenders", "out"])]
    resume: Option<PathBuf>,
    #[command(flatten)]
    how: HowArgs,
}

const HELP: &str = "\
A file of requirements:

  [[require]]
  what = \"fast enough for the console\"      in words; may be left out
  metric = \"response_p99\"                   as in `lockbench gate --help`
  max = \"50 ms\"                             or min; with the unit of the metric

  [[require]]
  check = \"lost-update\"                     it holds
  during = \"holder-pause\"                   where it is seen: load, capacity, holder-pause, holder-kill, server-kill

Each requirement is met, not met, cannot be told (an interval that has the limit in it, too few faults that hit), or not measured. \
Leases are 2 s at most where something is broken, so that faults come often enough: recovery is told in those.

Exit codes: 0 somebody meets everything, 1 nobody does, 5 that cannot be told or something was not measured, 4 the controls of a phase prove nothing, \
2 usage or configuration, 130 interrupted.";

/// Blocks under plain load: at least, so that there is an interval; at most, where more would tell little.
const BLOCKS: std::ops::RangeInclusive<u32> = 3..=10;

/// Blocks under plain load, and how long one is at least: twice as many of half the length tell more than twice as much.
const LOAD_BLOCKS: std::ops::RangeInclusive<u32> = 6..=10;
const LOAD_S: f64 = 3.0;

/// Windows of a search of capacities: the shortest, what of one is warm-up at most, and how much longer than foreseen it may take.
const PROBE_S: f64 = 1.5;
const WARM_UP: f64 = 0.2;
const LONGER: f64 = 1.1;

/// Tasks of a probe at least, where the time is too short for as many as the service level wants: five of them may be late.
const FEW_TASKS: u32 = 500;

/// Blocks of a search that give an interval at all, and those after which one is narrow enough to tell of most requirements.
const LEAST_CAPACITY_BLOCKS: u32 = 3;
const CAPACITY_BLOCKS: u32 = 6;

/// Leases where something is broken, at most.
const DETECT_MS: f64 = 2_000.0;

/// Faults in a run, about, the mean distance between them, and how much longer than the lease they last.
const FAULTS: f64 = 5.0;
const EVERY_S: f64 = 1.0;
const BEYOND: f64 = 1.5;

/// Of a run beside its window and its warm-up, and beside its window where something is broken and drains, about.
const AROUND_S: f64 = 1.0;
const AROUND_BROKEN_S: f64 = 3.0;

/// A run in which something is broken is so long at least.
const LEAST_S: f64 = 15.0;

impl Work for Review {
    const NAME: &str = "review";
    const GROUP: Group = Group::Measure;
    const EXAMPLES: &[Example] = &[
        ("Twenty minutes on one workload", "lockbench review vm-lifecycle"),
        (
            "Your own workload and requirements",
            "lockbench review mine.toml --requirements needs.toml --budget 2h",
        ),
        ("On with one that was stopped", "lockbench review --resume out/mine-review-20260101T120000Z"),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        let stop = CancellationToken::new();
        // Before the first child of ours is started, if only to be asked for its version.
        let mut signals = tokio::task::JoinSet::new();
        signals.spawn(watch_signals(stop.clone())?);
        let display = self.how.display();
        let (review, directory) = match &self.resume {
            Some(folder) => (reports::Review::load(folder)?.record, folder.clone()),
            None => self.begun(&stop).await?,
        };
        for (phase, why) in &review.left_out {
            display.line(&format!("left out: {phase}: {why}"));
        }
        let code = self.run(&review, &directory, &stop, &display).await?;
        if stop.is_cancelled() {
            display.line(&format!("the rest of it: lockbench review --resume {}", directory.display()));
        }
        Ok(code)
    }
}

impl Review {
    /// A new review: its phases as the budget allows them. All that can be refused is refused before anything runs.
    async fn begun(&self, stop: &CancellationToken) -> anyhow::Result<(ReviewRecord, PathBuf)> {
        let named = self.scenario.as_deref().context("a scenario is required")?;
        ensure!(!self.how.pins(), "--pin deals out the processors once, and phases may need other shares");
        let plain = [("faults".to_owned(), "[]".to_owned())];
        let scenario = catalog::load(named, &plain)?;
        let requirements = match &self.requirements {
            Some(file) => Requirements::read(file)?,
            None => Requirements::usual(scenario.spec.rate_per_s),
        };
        let seed = self.how.seed(&scenario);
        // Refused here is refused as a whole: the workload itself cannot run.
        let batch = self.how.asked(scenario.clone(), seed, Aim::default(), stop).await?;
        let planned = Planned::new(&batch);
        let required: Vec<&str> = requirements.all.iter().map(|one| one.during.as_str()).collect();
        let shares = planned.shares(self.budget.as_secs_f64(), &required);
        let (mut phases, mut left_out) = (Vec::new(), Vec::new());
        for ((name, question), share) in PHASES.into_iter().zip(shares) {
            let begun = match share {
                Ok(given_s) => {
                    let settings = planned.settings(name, given_s);
                    self.phase(named, &settings, given_s, (name, question), (seed, stop)).await
                }
                Err(why) => Err(why),
            };
            match begun {
                Ok(phase) => phases.push(phase),
                Err(why) => left_out.push((name.to_owned(), why)),
            }
        }
        let started = jiff::Timestamp::now();
        let name = &scenario.spec.name;
        let directory = batch::new_directory(self.how.out(), &format!("{name}-review"), started)?;
        let review = ReviewRecord {
            schema_version: SCHEMA_VERSION,
            scenario: name.clone(),
            seed,
            started_utc: started.to_string(),
            budget_s: self.budget.as_secs_f64(),
            contenders: self.how.contenders().to_vec(),
            required_by: requirements.origin,
            requirements: requirements.all,
            phases,
            left_out,
        };
        write_json(&directory.join(ReviewRecord::FILE), &review)?;
        Ok((review, directory))
    }

    /// A phase that can run; otherwise why it cannot.
    async fn phase(
        &self,
        named: &str,
        settings: &[(String, String)],
        given_s: f64,
        (name, question): (&str, &str),
        (seed, stop): (u64, &CancellationToken),
    ) -> Result<ReviewPhase, String> {
        let said = |error: anyhow::Error| format!("{error:#}");
        let scenario = catalog::load(named, settings).map_err(|error| error.to_string())?;
        let spec_toml = scenario.text.clone();
        let capacity_s = (name == "capacity").then_some(given_s);
        let aim = Aim { capacity: capacity_s.is_some(), ..Aim::default() };
        self.how.asked(scenario, seed, aim, stop).await.map_err(said)?;
        Ok(ReviewPhase {
            name: name.to_owned(),
            question: question.to_owned(),
            spec_toml,
            capacity_s,
            folder: name.to_owned(),
        })
    }

    async fn run(
        &self,
        review: &ReviewRecord,
        directory: &Path,
        stop: &CancellationToken,
        display: &Display,
    ) -> anyhow::Result<u8> {
        let how = self.how.of_contenders(&review.contenders);
        let origin = directory.join(ReviewRecord::FILE).display().to_string();
        let part = |phase: &ReviewPhase| {
            let scenario = Scenario::parse(&origin, &phase.spec_toml, &[])?;
            Ok(Part {
                words: format!("{}: {}", phase.name, phase.question),
                folder: directory.join(&phase.folder),
                scenario,
                aim: Aim {
                    capacity: phase.capacity_s.is_some(),
                    latencies_elsewhere: true,
                    budget: phase.capacity_s.map(Duration::from_secs_f64),
                    ..Aim::default()
                },
            })
        };
        let mut parts = review.phases.iter().map(part).collect::<anyhow::Result<Vec<_>>>()?;
        // Last, since of a search alone more time makes more: it has what the others left.
        parts.sort_by_key(|part| part.aim.capacity);
        let several = Several {
            noun: "phase",
            directory,
            seed: review.seed,
            budget: None,
            // Of one that is taken up again nobody knows what is left.
            whole: self.resume.is_none().then(|| Duration::from_secs_f64(review.budget_s)),
            if_failed: IfFailed::Stop,
            parts,
        };
        let told = |directory: &Path| {
            let done = reports::Review::load(directory)?;
            Ok(Told { text: done.terminal(), exit_code: done.exit_code() })
        };
        several.run(&how, stop, display, told).await
    }
}

/// What the phases take, and what the budget allows of it.
struct Planned<'a> {
    batch: &'a Batch,
}

impl<'a> Planned<'a> {
    fn new(batch: &'a Batch) -> Self {
        Self { batch }
    }

    /// The candidates, with the controls that prove the bench.
    fn proving(&self) -> Vec<&'static str> {
        let proves =
            |contender: &&Contender| contender.role == Role::Contender || contender.proves().is_some();
        self.batch.contenders.iter().filter(proves).map(|contender| contender.name).collect()
    }

    /// Seconds of one block under plain load, with runs of so long windows.
    fn block_s(&self, window_s: f64) -> f64 {
        self.proving().len() as f64 * (window_s + self.batch.scenario.spec.warm_up_s + AROUND_S)
    }

    /// The shortest and the longest window of a run under plain load; a burst has but one.
    fn load_windows_s(&self) -> (f64, f64) {
        let spec = &self.batch.scenario.spec;
        let own_s = spec.duration_s.unwrap_or(spec.deadline_ms / 1e3);
        (if spec.duration_s.is_some() { own_s.min(LOAD_S) } else { own_s }, own_s)
    }

    /// Blocks and windows under plain load in so many seconds.
    fn load(&self, given_s: f64) -> (u32, f64) {
        let (short_s, own_s) = self.load_windows_s();
        let fit = (given_s / self.block_s(short_s)).round() as u32;
        let blocks = fit.clamp(*LOAD_BLOCKS.start(), *LOAD_BLOCKS.end());
        let of_a_run_s = given_s / f64::from(blocks) / self.proving().len() as f64;
        let around_s = self.block_s(0.0) / self.proving().len() as f64;
        (blocks, (of_a_run_s - around_s).clamp(short_s, own_s))
    }

    /// Seconds of so many blocks of a search of capacities, by probes of so long windows and so many tasks at least.
    fn search_s(&self, blocks: u32, window_s: f64, tasks: u32) -> f64 {
        LONGER * self.batch.search_takes_s(blocks, window_s, self.warm_up_s(window_s), u64::from(tasks))
    }

    /// The tasks of a probe at least that a search can have in that time.
    fn tasks(&self, given_s: f64) -> u32 {
        let wanted = self.batch.scenario.spec.service_level.tasks;
        if self.search_s(CAPACITY_BLOCKS, PROBE_S, wanted) <= given_s {
            wanted
        } else {
            wanted.min(FEW_TASKS)
        }
    }

    fn warm_up_s(&self, window_s: f64) -> f64 {
        self.batch.scenario.spec.warm_up_s.min(WARM_UP * window_s)
    }

    /// The longest windows, up to the scenario's own, with which a search ends in that time.
    fn window_s(&self, given_s: f64) -> f64 {
        let tasks = self.tasks(given_s);
        let own_s = self.batch.scenario.spec.duration_s.unwrap_or(PROBE_S).max(PROBE_S);
        let (mut fits, mut too_long) = (PROBE_S, own_s);
        if self.search_s(CAPACITY_BLOCKS, own_s, tasks) <= given_s {
            return own_s;
        }
        while too_long - fits > 0.1 {
            let middle = f64::midpoint(fits, too_long);
            if self.search_s(CAPACITY_BLOCKS, middle, tasks) <= given_s {
                fits = middle
            } else {
                too_long = middle
            }
        }
        (fits * 10.0).floor() / 10.0
    }

    /// Seconds that a phase takes at least; why, of one that cannot run.
    fn least_s(&self, phase: &str) -> Result<f64, String> {
        match phase {
            "load" => Ok(f64::from(*LOAD_BLOCKS.start()) * self.block_s(self.load_windows_s().0)),
            "capacity" => Ok(self.search_s(LEAST_CAPACITY_BLOCKS, PROBE_S, self.tasks(0.0))),
            "server-kill" if self.batch.contenders.iter().all(|contender| contender.server.is_none()) => {
                Err("no candidate has a server".to_owned())
            }
            fault => Ok(self.proving().len() as f64 * (self.broken(fault).duration_s + AROUND_BROKEN_S)),
        }
    }

    /// Seconds of each of [`PHASES`]; why, of one that is left out. What something is required of has the first choice. What
    /// is left over goes to plain load, as far as more tells more, and to capacities, half and half.
    fn shares(&self, budget_s: f64, required: &[&str]) -> Vec<Result<f64, String>> {
        let mut left_s = budget_s;
        let mut shares: Vec<_> = PHASES.iter().map(|(name, _)| self.least_s(name)).collect();
        for first in [true, false] {
            for ((name, _), share) in PHASES.iter().zip(&mut shares) {
                let Ok(least_s) = *share else { continue };
                if required.contains(name) != first {
                    continue;
                }
                if least_s > left_s {
                    *share =
                        Err(format!("the budget leaves {left_s:.0} s for it, and it takes {least_s:.0} s"));
                } else {
                    left_s -= least_s;
                }
            }
        }
        let [load, capacity, ..] = &mut shares[..] else { return shares };
        if let Ok(given_s) = load {
            let most_s = f64::from(*LOAD_BLOCKS.end()) * self.block_s(self.load_windows_s().1);
            let more_s = (left_s / 2.0).min(most_s - *given_s).max(0.0);
            *given_s += more_s;
            left_s -= more_s;
        }
        if let Ok(given_s) = capacity {
            *given_s += left_s;
        }
        shares
    }

    /// How a phase sets the scenario.
    fn settings(&self, phase: &str, given_s: f64) -> Vec<(String, String)> {
        let plain = set("faults", "[]".to_owned());
        // A ceiling matters where capacities are; elsewhere its runs would take the place of candidates'.
        let proving = set("contenders", format!("{:?}", self.proving()));
        match phase {
            "load" => {
                let (blocks, window_s) = self.load(given_s);
                let mut settings = vec![plain, proving, set("blocks", blocks.to_string())];
                if self.batch.scenario.spec.duration_s.is_some() {
                    settings.push(set("duration_s", format!("{window_s:.1}")));
                }
                settings
            }
            "capacity" => {
                let window_s = self.window_s(given_s);
                vec![
                    plain,
                    set("blocks", BLOCKS.end().to_string()),
                    set("duration_s", format!("{window_s:?}")),
                    set("warm_up_s", format!("{:?}", self.warm_up_s(window_s))),
                    set("service_level.tasks", self.tasks(given_s).to_string()),
                ]
            }
            fault => [self.broken(fault).settings(), vec![proving]].concat(),
        }
    }

    /// How something is broken in a phase, on this workload.
    fn broken(&self, phase: &str) -> Broken {
        let detect_ms = self.batch.scenario.spec.detect_ms.min(DETECT_MS);
        let (verb, target, for_ms) = match phase {
            "holder-pause" => ("pause", "holder", BEYOND * detect_ms),
            "holder-kill" => ("kill", "holder", BEYOND * detect_ms),
            _ => ("kill", "server", 500.0),
        };
        let duration_s = (FAULTS * (EVERY_S + for_ms / 1e3) + 3.0).max(LEAST_S);
        Broken { verb, target, for_ms, detect_ms, duration_s }
    }
}

/// One kind of fault, over and over.
struct Broken {
    verb: &'static str,
    target: &'static str,
    for_ms: f64,
    detect_ms: f64,
    duration_s: f64,
}

impl Broken {
    fn settings(&self) -> Vec<(String, String)> {
        let Self { verb, target, for_ms, detect_ms, duration_s } = self;
        let fault = format!(
            "[{{ verb = {verb:?}, target = {target:?}, every_s = {EVERY_S:?}, for_ms = {for_ms:?} }}]"
        );
        let mut settings = vec![
            set("faults", fault),
            set("blocks", "1".to_owned()),
            set("duration_s", format!("{duration_s:?}")),
            set("detect_ms", format!("{detect_ms:?}")),
        ];
        if *target == "holder" {
            settings.push(set("placement", "process".to_owned()));
        }
        settings
    }
}

fn set(key: &str, value: String) -> (String, String) {
    (key.to_owned(), value)
}
