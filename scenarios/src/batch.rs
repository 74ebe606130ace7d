//! A batch: every contender in every block, interleaved in seeded random order, each on a server of its own.

mod conclusion;
mod lateness;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::{AgentOptions, Clock, Link, Links, Progress, WhenBusy};
use harness::judge::aftermath;
use harness::judge::checks;
use harness::model::{FaultTarget, FaultVerb, Mode, Plan, splitmix};
use harness::placement::process::{self, NodeCommand};
use harness::placement::single;
use harness::placement::{Run, RunOptions};
use harness::record::{
    CheckVerdict, Expected, FaultFacts, Role, RunRecord, SCHEMA_VERSION, ServerFacts, Skipped, Tally,
    Verdict, write_history, write_json,
};
use harness::servers::{self, Finding, Member, Server, ServerKind, ServerOptions};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

pub use self::conclusion::conclude;
use self::lateness::{Lateness, only_late};
use crate::contenders::{Contender, Here, LinksBetween, Setting};
use crate::spec::{Durability, Placement, Scenario, ScenarioSpec, Topology};
use crate::workload;

/// How many runs of a block, at most, are repeated because the machine stood still under the driver for a moment. Where
/// more are late than that, the machine is too busy, and the batch says so.
const MOST_REPEATS_PER_BLOCK: u32 = 2;

/// What to run.
#[derive(Debug)]
pub struct Batch {
    /// The scenario.
    pub scenario: Scenario,
    /// Who takes part, with a server on this machine or at a URL.
    pub contenders: Vec<Contender>,
    /// Who does not, and why.
    pub skipped: Vec<Skipped>,
    /// Servers that already run, by kind.
    pub attached: BTreeMap<ServerKind, String>,
    /// The seed of everything drawn.
    pub seed: u64,
    /// Where batch directories are made.
    pub out: PathBuf,
    /// The program that is started for each node in a process of its own: lockbench itself.
    pub program: PathBuf,
    /// Ends the batch early.
    pub stop: CancellationToken,
}

/// Tells a user what goes on.
pub trait Show: Send + Sync {
    /// A line, for people who read a log.
    fn line(&self, text: &str);
    /// A run begins: its title, how many tasks it has, and the counts that move.
    fn begin(&self, title: &str, tasks: u64, progress: Arc<Progress>);
    /// The run is over.
    fn end(&self, summary: &str);
}

impl Batch {
    /// Plans of all blocks; the only step that may refuse. Nothing is written before it has passed.
    ///
    /// # Errors
    /// When the scenario cannot be run as it is.
    pub fn plans(&self) -> anyhow::Result<Vec<Arc<Plan>>> {
        let seeds = (1..=self.scenario.spec.blocks).map(|block| block_seed(self.seed, block));
        seeds.map(|seed| Ok(Arc::new(workload::draw(&self.scenario, seed)?))).collect()
    }

    /// Runs everything into the directory. Each run's record is on disk, and in `records`, before the next run begins.
    ///
    /// # Errors
    /// When a server or a session cannot be had, or the directory cannot be written.
    pub async fn run(
        &self,
        plans: &[Arc<Plan>],
        directory: &Path,
        show: &dyn Show,
        records: &mut Vec<RunRecord>,
    ) -> anyhow::Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(splitmix(self.seed ^ u64::MAX));
        for (block, plan) in plans.iter().enumerate() {
            let mut order: Vec<_> = self.contenders.iter().collect();
            order.shuffle(&mut rng);
            let mut repeats_left = MOST_REPEATS_PER_BLOCK;
            for contender in order {
                let place = Place { block: block as u32 + 1, order: records.len() as u32 };
                let mut repeated = Vec::new();
                let record = loop {
                    if self.stop.is_cancelled() {
                        return Ok(());
                    }
                    let done = self.one(contender, place, plan, show).await;
                    let (run, record) = done.with_context(|| format!("{} in {place}", contender.name))?;
                    if self.stop.is_cancelled() {
                        // Cut short: its figures would be wrong.
                        show.end("interrupted");
                        return Ok(());
                    }
                    let repeat = repeats_left > 0 && only_late(&record);
                    let record = RunRecord { repeated: repeated.clone(), ..record };
                    let folder = match repeat {
                        true => format!("late/{}-{}-{}", place.block, contender.name, repeated.len() + 1),
                        false => format!("{}-{}", place.block, contender.name),
                    };
                    store(&directory.join(&folder), &run, &record)?;
                    show.end(&end_line(&record, repeat));
                    if !repeat {
                        break record;
                    }
                    repeats_left -= 1;
                    repeated.push(format!("{}; kept in {folder}", record.invalid.join("; ")));
                };
                records.push(record);
            }
        }
        Ok(())
    }

    async fn one(
        &self,
        contender: &Contender,
        place: Place,
        plan: &Arc<Plan>,
        show: &dyn Show,
    ) -> anyhow::Result<(Run, RunRecord)> {
        let spec = &self.scenario.spec;
        let fold = if contender.excludes_nothing() { workload::control_fold(plan) } else { 1 };
        let mut plan = if fold > 1 { Arc::new(plan.folded(fold)) } else { Arc::clone(plan) };
        if plan.faults.iter().any(|fault| contender.is_spared(fault)) {
            let faults = plan.faults.iter().filter(|fault| !contender.is_spared(fault)).copied().collect();
            plan = Arc::new(Plan::clone(&plan).with_faults(faults));
        }
        let progress = Arc::new(Progress::default());
        let title = format!("{place}/{} {}", spec.blocks, contender.name);
        show.begin(&title, plan.tasks.len() as u64, Arc::clone(&progress));

        let server = match contender.server {
            Some(kind) => Some(Arc::new(Mutex::new(self.server(kind).await?))),
            None => None,
        };
        let clock = Clock::real()?;
        let mut setting = Setting {
            plan: Arc::clone(&plan),
            clock,
            endpoint: match &server {
                Some(server) => Some(server.lock().await.endpoint().to_owned()),
                None => None,
            },
            detect: Duration::from_secs_f64(spec.detect_ms / 1e3),
            noop_delay: Duration::from_secs_f64(spec.noop_delay_ms / 1e3),
            run_seed: splitmix(plan.settings.seed ^ u64::from(place.order) << 32),
            here: Here::all(&plan),
        };
        let fencing = contender.fencing(spec.fencing);
        // The control must show that the checks can see, so its agents hide nothing.
        let when_busy = if contender.excludes_nothing() { WhenBusy::Admit } else { spec.when_busy };
        let agent = AgentOptions { fencing, when_busy };
        let links = self.links(server.as_deref(), &mut setting).await?;
        let stop = self.stop.clone();
        // Controls prove the bench, undisturbed.
        let agent_links = self.scenario.agent_links().filter(|_| contender.role == Role::Contender);
        let options = RunOptions { agent, progress, stop, server: server.clone(), links, agent_links };
        if let Some(warm_up) = workload::draw_warm_up(&self.scenario, plan.settings.seed)? {
            let setting = Setting { plan: Arc::new(warm_up), ..setting.clone() };
            let quiet = RunOptions { progress: Arc::default(), ..options.clone() };
            self.placed(contender, &setting, quiet).await?;
        }
        setting.run_seed = splitmix(setting.run_seed);
        let cpu_before = cpu_ns(server.as_deref()).await;
        let run = self.placed(contender, &setting, options).await?;
        let server = server.map(|server| Arc::into_inner(server).expect("the run is over").into_inner());
        let cpu_after = server.as_ref().and_then(Server::cpu_ns);

        let record = RunRecord {
            server: server.as_ref().map(facts),
            server_cpu_ns: cpu_after.zip(cpu_before).and_then(|(after, before)| after.checked_sub(before)),
            ..self.record(contender, place, &run)
        };
        if let Some(server) = server {
            server.stop().await?;
        }
        Ok((run, record))
    }

    /// Puts links between the nodes and the server, and between the ring's nodes, where the scenario wants any.
    async fn links(
        &self,
        server: Option<&Mutex<Server>>,
        setting: &mut Setting,
    ) -> anyhow::Result<Option<Arc<Links>>> {
        let Some(usual) = self.scenario.links() else { return Ok(None) };
        let between = setting.here.between.insert(LinksBetween::default());
        between.one_way = usual.to.delay;
        let Some(server) = server else { return Ok(None) };
        let server = server.lock().await;
        let nodes = setting.plan.settings.nodes;
        let members: Vec<_> = server.members().iter().map(Member::address).collect();
        anyhow::ensure!(
            !members.is_empty(),
            "links (rtt_ms, cut, slow, reset) need a private {}, not one that already runs",
            server.kind()
        );
        let links = Links::open(nodes, &members, usual, &setting.clock).await?;
        let over =
            |links: &[Link]| server.endpoint_over(&links.iter().map(Link::address).collect::<Vec<_>>());
        between.endpoints = links.iter().map(over).collect();
        Ok(Some(Arc::new(links)))
    }

    /// Runs the setting's plan, with the nodes where the scenario wants them.
    async fn placed(
        &self,
        contender: &Contender,
        setting: &Setting,
        options: RunOptions,
    ) -> anyhow::Result<Run> {
        let (plan, clock) = (Arc::clone(&setting.plan), setting.clock.clone());
        match self.scenario.spec.placement {
            Placement::Single => Ok(single::run(plan, contender.build(setting).await?, clock, options).await),
            Placement::Process => {
                let command = NodeCommand {
                    program: self.program.clone(),
                    args: vec!["node".into()],
                    mechanism: serde_json::to_value(contender.recipe(setting))?,
                };
                Ok(process::run(plan, command, clock, options).await?)
            }
        }
    }

    async fn server(&self, kind: ServerKind) -> anyhow::Result<Server> {
        if let Some(url) = self.attached.get(&kind) {
            return Ok(Server::attach(kind, url).await?);
        }
        let spec = &self.scenario.spec;
        let durability = match spec.durability {
            Durability::Durable => servers::Durability::Durable,
            Durability::Memory => servers::Durability::Memory,
        };
        let topology = match spec.topology {
            Topology::Single => servers::Topology::Single,
            Topology::Replicated => servers::Topology::Replicated,
        };
        let detect = Duration::from_secs_f64(spec.detect_ms / 1e3);
        Ok(Server::start(kind, &ServerOptions { durability, topology, detect, data_root: None }).await?)
    }

    fn record(&self, contender: &Contender, place: Place, run: &Run) -> RunRecord {
        let figures = run.measure();
        let mut invalid = figures.implausible.clone();
        let mut warnings = Vec::new();
        if figures.tasks.not_offered > 0 {
            invalid.push(format!("{} arrivals were dropped", figures.tasks.not_offered));
        }
        for outage in &run.facts.outages {
            if let Some(how) = &outage.unplanned {
                invalid.push(format!("node {} died: {how}", outage.node.0));
            }
        }
        let faults = self.faults(contender, run);
        for fault in &faults.faults {
            if let Some(failure) = &fault.failure {
                invalid.push(format!("a fault ({} {}) failed: {failure}", fault.verb, fault.target));
            }
        }
        if !faults.faults.is_empty() && !faults.last_completed {
            warnings.push("the last task to return did not complete: it had not come back yet".to_owned());
        }
        if figures.tasks.completed == 0 {
            invalid.push("no task completed".to_owned());
        }
        // A burst is late by nature: its tasks are started one after the other.
        let paced = self.scenario.spec.burst.is_none();
        match Lateness::of(&figures.latency) {
            Lateness::Saturated(late) | Lateness::Stalled(late) if paced => invalid.push(late),
            Lateness::None => {}
            Lateness::Slight(late) | Lateness::Saturated(late) | Lateness::Stalled(late) => {
                warnings.push(format!("{late}; latencies include it"));
            }
        }
        let mut steps = run.facts.plan.tasks.iter().flat_map(|task| &task.steps);
        if !contender.shares() && steps.any(|step| step.mode == Mode::Shared) {
            warnings.push("it has no shared mode: shared steps waited for each other".to_owned());
        }
        if run.bystander_failed > 0 {
            warnings.push(format!("{} probes of the bystander did not complete", run.bystander_failed));
        }
        let Ok(judgements) = checks::judge(checks::ALL, &run.facts, &run.events[..]);
        let verdicts = checks::ALL
            .iter()
            .zip(judgements)
            .map(|(check, judgement)| self.verdict(contender, check, judgement, run, &faults))
            .collect();
        RunRecord {
            schema_version: SCHEMA_VERSION,
            contender: contender.name.to_owned(),
            summary: contender.summary.to_owned(),
            role: contender.role,
            block: place.block,
            order: place.order,
            plan_digest: run.facts.plan.digest(),
            invalid,
            repeated: Vec::new(),
            warnings,
            tasks: figures.tasks,
            window_ns: run.facts.plan.settings.window_ns,
            goodput_per_s: figures.goodput_per_s,
            latency: figures.latency,
            completed_per_slice: figures.completed_per_slice,
            verdicts,
            survives: contender.survives.clone(),
            detection: run.detection.clone(),
            server: None,
            operations: run.operations,
            grants: figures.grants,
            server_cpu_ns: None,
            process_cpu_ns: run.process_cpu_ns,
            timer_cpu_ns: run.timer_cpu_ns,
            peak: run.peak,
            programmed_delay_ns: contender
                .is_noop()
                .then_some((self.scenario.spec.noop_delay_ms * 1e6) as u64),
            faults,
        }
    }

    /// What came of the faults, and what the scenario promises of it.
    fn faults(&self, contender: &Contender, run: &Run) -> FaultFacts {
        let spec = &self.scenario.spec;
        let aimed = run.facts.plan.faults.iter().any(|fault| fault.target == FaultTarget::Holder);
        let killed = run.facts.plan.faults.iter().any(|fault| fault.verb == FaultVerb::Kill);
        let shares = checks::ALL.iter().filter_map(|check| {
            match self.scenario.expected(check.name, contender.class()) {
                (Expected::Violated, share) => share,
                _ => None,
            }
        });
        FaultFacts {
            least_hits: if aimed { u64::from(spec.least_hits) } else { 0 },
            least_share: shares.reduce(f64::max).filter(|_| aimed),
            freed_bound_ns: run.facts.promises.free_within_ns.filter(|_| aimed && killed),
            ..aftermath(&run.facts, &run.events)
        }
    }

    fn verdict(
        &self,
        contender: &Contender,
        check: &checks::Check,
        judgement: checks::Judgement,
        run: &Run,
        faults: &FaultFacts,
    ) -> CheckVerdict {
        let caught = match check.must_catch_none {
            // Where nothing has to be kept apart there is nothing to catch.
            checks::MustCatch::Yes => !run.facts.plan.is_unlimited(),
            checks::MustCatch::WhereItApplies => !matches!(judgement.verdict, Verdict::NotApplicable { .. }),
            checks::MustCatch::No => false,
        };
        let expected = match caught {
            true if contender.excludes_nothing() => Expected::Violated,
            true if contender.is_noop() => Expected::Either,
            _ => self.scenario.expected(check.name, contender.class()).0,
        };
        verdict(check, judgement, expected, faults)
    }
}

/// Where a run stands in its batch.
#[derive(Debug, Clone, Copy)]
struct Place {
    block: u32,
    /// Of all runs.
    order: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}", self.block)
    }
}

fn end_line(record: &RunRecord, repeat: bool) -> String {
    let end = match (record.invalid.is_empty(), repeat) {
        (true, _) => "",
        (false, true) => ", the driver was late: once more",
        (false, false) => ", INVALID",
    };
    let Tally { completed, planned, .. } = record.tasks;
    format!("{:>6.1} tasks/s, {completed} of {planned} completed{end}", record.goodput_per_s)
}

/// Writes what is kept of a run into a folder of its own.
fn store(folder: &Path, run: &Run, record: &RunRecord) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    write_history(&folder.join("history.ndjson.zst"), &run.events)?;
    Ok(write_json(&folder.join("record.json"), record)?)
}

/// Seed of the plan of a block, counted from 1.
#[must_use]
pub fn block_seed(seed: u64, block: u32) -> u64 {
    splitmix(seed ^ u64::from(block))
}

/// A check that found nothing where too few faults hit a holder has not seen what it was asked about.
fn verdict(
    check: &checks::Check,
    judgement: checks::Judgement,
    expected: Expected,
    faults: &FaultFacts,
) -> CheckVerdict {
    let hits = faults.hit_a_holder();
    let verdict = match judgement.verdict {
        Verdict::Holds if hits < faults.least_hits => {
            let least = faults.least_hits;
            Verdict::Unknown { reason: format!("only {hits} faults hit a holder, {least} are needed") }
        }
        verdict => verdict,
    };
    CheckVerdict {
        check: check.name.to_owned(),
        verdict,
        examined: judgement.examined,
        violations: judgement.violations,
        expected,
        figures: judgement.figures,
    }
}

fn facts(server: &Server) -> ServerFacts {
    let origin = match server.pid() {
        Some(_) => "started for this run".to_owned(),
        None => format!("already running at {}", servers::redact(server.endpoint())),
    };
    ServerFacts {
        name: server.kind().title().to_owned(),
        version: server.version().to_owned(),
        settings: server.settings().clone(),
        origin,
    }
}

/// Sorts contenders into those that can run and those that cannot, with the reason.
#[must_use]
pub fn sort(
    wanted: Vec<Contender>,
    attached: &BTreeMap<ServerKind, String>,
    spec: &ScenarioSpec,
) -> (Vec<Contender>, Vec<Skipped>) {
    let mut skipped = Vec::new();
    let mut contenders = Vec::new();
    for contender in wanted {
        let missing =
            contender.server.filter(|kind| !attached.contains_key(kind)).and_then(
                |kind| match servers::find(kind) {
                    Finding::Found { .. } => None,
                    Finding::Missing { remedy } => Some(remedy),
                },
            );
        match contender.refuses(spec).or(missing) {
            Some(reason) => skipped.push(Skipped { contender: contender.name.to_owned(), reason }),
            None => contenders.push(contender),
        }
    }
    (contenders, skipped)
}

/// A directory for a batch that nobody has yet: `<scenario>-<UTC>`, with a number behind when that is taken.
///
/// # Errors
/// When it cannot be made.
pub fn new_directory(out: &Path, scenario: &str, started: jiff::Timestamp) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(out)
        .with_context(|| format!("cannot make the folder {}; --out names another place", out.display()))?;
    let name: String =
        scenario.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let name = format!("{name}-{}", started.strftime("%Y%m%dT%H%M%SZ"));
    for number in 1.. {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let directory = out.join(format!("{name}{suffix}"));
        match std::fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make the folder {}", directory.display()));
            }
        }
    }
    unreachable!("a free number is found before they run out")
}

async fn cpu_ns(server: Option<&Mutex<Server>>) -> Option<u64> {
    server?.lock().await.cpu_ns()
}
