//! A batch: every contender in every block, interleaved in seeded random order, each on a server of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use harness::agent::{AgentOptions, Fencing, WhenBusy};
use harness::check;
use harness::clock::Clock;
use harness::event::{Progress, write_history};
use harness::fault::{Fault, FaultTarget, FaultVerb, LinkTo, aftermath};
use harness::link::{Link, Links};
use harness::measure::measure;
use harness::placement::{self, NodeCommand};
use harness::plan::{Plan, splitmix};
use harness::record::{
    CheckVerdict, Expected, FaultFacts, Manifest, Role, RunRecord, SCHEMA_VERSION, ServerFacts, Skipped,
    Verdict, write_json,
};
use harness::run::{Run, RunOptions, run};
use harness::servers::{self, Finding, Member, Server, ServerKind, ServerOptions};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::contenders::{Contender, Here, LinksBetween, Setting};
use crate::spec::{Durability, Placement, Scenario, ScenarioSpec, Topology};
use crate::workload;

/// Median lateness of the driver beyond which it is saturated: it does not keep up with the plan.
const MOST_LAG_P50_NS: u64 = 1_000_000;

/// Lateness at the 99th percentile beyond which the tail of a run is the driver's. A driver that shares its
/// processors with the server under test is late by some milliseconds now and then; that is warned about.
const MOST_LAG_P99_NS: u64 = 10_000_000;

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
        let seeds = (0..self.scenario.spec.blocks).map(|block| block_seed(self.seed, block));
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
            for contender in order {
                if self.stop.is_cancelled() {
                    return Ok(());
                }
                let number = records.len() as u32;
                let record = self.one(contender, block as u32, number, plan, directory, show).await;
                let record = record.with_context(|| format!("{} in block {block}", contender.name))?;
                if self.stop.is_cancelled() {
                    // Cut short: its figures would be wrong.
                    return Ok(());
                }
                records.push(record);
            }
        }
        Ok(())
    }

    async fn one(
        &self,
        contender: &Contender,
        block: u32,
        order: u32,
        plan: &Arc<Plan>,
        directory: &Path,
        show: &dyn Show,
    ) -> anyhow::Result<RunRecord> {
        let spec = &self.scenario.spec;
        let fold = if contender.excludes_nothing() { workload::control_fold(plan) } else { 1 };
        let mut plan = if fold > 1 { Arc::new(plan.folded(fold)) } else { Arc::clone(plan) };
        let spared = |fault: &Fault| {
            let of_server = matches!(fault.target, FaultTarget::Server | FaultTarget::Leader);
            let of_link = fault.verb.is_of_link() && fault.link == LinkTo::Server;
            (of_server || of_link) && contender.server.is_none()
        };
        if contender.role == Role::Control || plan.faults.iter().any(spared) {
            // Controls prove the bench, undisturbed; a fault of a server needs one.
            let faults = plan.faults.iter().filter(|fault| contender.role != Role::Control && !spared(fault));
            let faults = faults.copied().collect();
            plan = Arc::new(Plan::clone(&plan).with_faults(faults));
        }
        let progress = Arc::new(Progress::default());
        let title = format!("block {}/{} {}", block + 1, spec.blocks, contender.name);
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
            run_seed: splitmix(plan.settings.seed ^ u64::from(order) << 32),
            here: Here::all(&plan),
        };
        let fencing = if spec.fencing { Fencing::On } else { Fencing::Off };
        // The control must show that the checks can see, so its agents hide nothing.
        let when_busy = if contender.excludes_nothing() { WhenBusy::Admit } else { spec.when_busy };
        let agent = AgentOptions { fencing, when_busy };
        let links = self.links(server.as_deref(), &mut setting).await?;
        let stop = self.stop.clone();
        let agent_links = self.scenario.agent_links();
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
            ..self.record(contender, block, order, &run)
        };
        if let Some(server) = server {
            server.stop().await?;
        }
        if self.stop.is_cancelled() {
            show.end("interrupted");
            return Ok(record);
        }
        let folder = directory.join(format!("{block}-{}", contender.name));
        std::fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        write_history(&folder.join("history.ndjson.zst"), &run.events)?;
        write_json(&folder.join("record.json"), &record)?;
        let tasks = &record.tasks;
        show.end(&format!(
            "{:>6.1} tasks/s, {} of {} completed{}",
            record.goodput_per_s,
            tasks.completed,
            tasks.planned,
            if record.invalid.is_empty() { "" } else { ", INVALID" }
        ));
        Ok(record)
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
            Placement::Single => Ok(run(plan, contender.build(setting).await?, clock, options).await),
            Placement::Process => {
                let command = NodeCommand {
                    program: self.program.clone(),
                    args: vec!["node".into()],
                    mechanism: serde_json::to_value(contender.recipe(setting))?,
                };
                Ok(placement::run(plan, command, clock, options).await?)
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

    fn record(&self, contender: &Contender, block: u32, order: u32, run: &Run) -> RunRecord {
        let figures = measure(run);
        let mut invalid = figures.implausible.clone();
        let mut warnings = Vec::new();
        if figures.tasks.not_offered > 0 {
            invalid.push(format!("{} arrivals were dropped", figures.tasks.not_offered));
        }
        for outage in &run.outages {
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
        let lag_ns = |quantile| figures.latency.lag.quantile_ns(quantile).unwrap_or(0);
        let late = format!(
            "the driver was {:.1} ms late at the median, {:.1} ms at the 99th percentile",
            lag_ns(0.5) as f64 / 1e6,
            lag_ns(0.99) as f64 / 1e6
        );
        // A burst is late by nature: its tasks are started one after the other.
        let paced = self.scenario.spec.burst.is_none();
        if paced && (lag_ns(0.5) > MOST_LAG_P50_NS || lag_ns(0.99) > MOST_LAG_P99_NS) {
            invalid.push(format!("{late}: it is saturated"));
        } else if lag_ns(0.99) > 1_000_000 {
            warnings.push(format!("{late}; latencies include it"));
        }
        if run.bystander_failed > 0 {
            warnings.push(format!("{} probes of the bystander did not complete", run.bystander_failed));
        }
        RunRecord {
            schema_version: SCHEMA_VERSION,
            contender: contender.name.to_owned(),
            summary: contender.summary.to_owned(),
            role: contender.role,
            block,
            order,
            plan_digest: run.plan.digest(),
            invalid,
            warnings,
            tasks: figures.tasks,
            window_ns: run.plan.settings.window_ns,
            goodput_per_s: figures.goodput_per_s,
            latency: figures.latency,
            completed_per_slice: figures.completed_per_slice,
            verdicts: check::ALL.iter().map(|check| self.verdict(contender, check, run, &faults)).collect(),
            survives: contender.survives.clone(),
            detection: run.detection.clone(),
            server: None,
            operations: run.operations,
            grants: figures.grants,
            server_cpu_ns: None,
            process_cpu_ns: run.process_cpu_ns,
            timer_cpu_ns: run.timer_cpu_ns,
            programmed_delay_ns: contender
                .is_noop()
                .then_some((self.scenario.spec.noop_delay_ms * 1e6) as u64),
            faults,
        }
    }

    /// What came of the faults, and what the scenario promises of it.
    fn faults(&self, contender: &Contender, run: &Run) -> FaultFacts {
        let spec = &self.scenario.spec;
        let aimed = run.plan.faults.iter().any(|fault| fault.target == FaultTarget::Holder);
        let killed = run.plan.faults.iter().any(|fault| fault.verb == FaultVerb::Kill);
        let shares = check::ALL.iter().filter_map(|check| {
            match self.scenario.expected(check.name, contender.class()) {
                (Expected::Violated, share) => share,
                _ => None,
            }
        });
        FaultFacts {
            least_hits: if aimed { u64::from(spec.least_hits) } else { 0 },
            least_share: shares.reduce(f64::max).filter(|_| aimed),
            freed_bound_ns: run.promises.free_within_ns.filter(|_| aimed && killed),
            ..aftermath(run)
        }
    }

    fn verdict(
        &self,
        contender: &Contender,
        check: &check::Check,
        run: &Run,
        faults: &FaultFacts,
    ) -> CheckVerdict {
        let judgement = (check.judge)(run);
        let expected = match check.must_catch_none {
            check::MustCatch::Yes if contender.excludes_nothing() => Expected::Violated,
            check::MustCatch::Yes if contender.is_noop() => Expected::Either,
            _ => self.scenario.expected(check.name, contender.class()).0,
        };
        verdict(check, judgement, expected, faults)
    }
}

/// Seed of the plan of a block.
#[must_use]
pub fn block_seed(seed: u64, block: u32) -> u64 {
    splitmix(seed ^ u64::from(block))
}

/// A check that found nothing where too few faults hit a holder has not seen what it was asked about.
fn verdict(
    check: &check::Check,
    judgement: check::Judgement,
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
        match contender.refuses(spec.placement, spec.topology).or(missing) {
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

/// The end of a batch in one number, and the reasons for it.
///
/// Precedence: 130 interrupted, 3 a contender broke a promise (a witness stands even in an invalid run), 4 invalid or
/// not proven, 0 otherwise. 2 never gets here; 1 and 5 need a gate.
#[must_use]
pub fn conclude(manifest: &Manifest, records: &[RunRecord], interrupted: bool) -> (u8, Vec<String>) {
    let (mut broken, mut unproven) = (Vec::new(), Vec::new());
    for record in records {
        let place = format!("{}, block {}", record.contender, record.block + 1);
        unproven.extend(record.invalid.iter().map(|reason| format!("{place}: invalid: {reason}")));
        for verdict in &record.verdicts {
            use harness::record::Verdict::{Holds, NotApplicable, Unknown, Violated};
            let what = match (&verdict.verdict, verdict.expected) {
                (_, Expected::Either)
                | (Holds | NotApplicable { .. }, Expected::Holds)
                | (Violated { .. }, Expected::Violated) => continue,
                (Violated { .. }, Expected::Holds) => {
                    format!("{} was violated {} times", verdict.check, verdict.violations)
                }
                (Unknown { reason }, _) => format!("{}: cannot tell: {reason}", verdict.check),
                (Holds | NotApplicable { .. }, Expected::Violated) if record.role == Role::Control => {
                    format!("{} did not catch it", verdict.check)
                }
                (Holds | NotApplicable { .. }, Expected::Violated) => {
                    format!("{} held where a violation was promised", verdict.check)
                }
            };
            let told = !matches!(verdict.verdict, Unknown { .. });
            let reasons = if record.role == Role::Contender && told { &mut broken } else { &mut unproven };
            reasons.push(format!("{place}: {what}"));
        }
        broken.extend(too_few_regressions(record).map(|what| format!("{place}: {what}")));
        unproven.extend(noop_is_off(record).map(|off| format!("{place}: {off}")));
    }
    if records.is_empty() && !interrupted {
        unproven.push("nothing ran".to_owned());
    }
    for control in ["noop", "none"] {
        let ran = records.iter().any(|record| record.contender == control);
        if !ran && !interrupted && !manifest.skipped.iter().any(|skipped| skipped.contender == control) {
            unproven.push(format!("the control {control} did not take part, so nothing proves the bench"));
        }
    }
    let code = match (interrupted, broken.is_empty(), unproven.is_empty()) {
        (true, ..) => 130,
        (_, false, _) => 3,
        (_, true, false) => 4,
        (_, true, true) => 0,
    };
    let mut reasons = if interrupted { vec!["interrupted".to_owned()] } else { Vec::new() };
    reasons.extend(broken);
    reasons.extend(unproven);
    (code, reasons)
}

/// The control `noop` proves the measuring.
fn noop_is_off(record: &RunRecord) -> Option<String> {
    let (measured_ns, programmed_ns) = (record.latency.delay_ns()?, record.programmed_delay_ns?);
    (record.delay_is_exact() == Some(false)).then(|| {
        let (measured, programmed) = (measured_ns as f64 / 1e6, programmed_ns as f64 / 1e6);
        format!("measured a wait of {measured:.3} ms where {programmed:.3} ms were programmed")
    })
}

/// Whether fewer hits than promised ended in a token regression.
fn too_few_regressions(record: &RunRecord) -> Option<String> {
    let faults = &record.faults;
    let (hits, regressed) = (faults.hit_a_holder(), faults.regressed());
    let share = faults.least_share?;
    (hits >= faults.least_hits.max(1) && (regressed as f64) < share * hits as f64).then(|| {
        let share = share * 100.0;
        format!(
            "{regressed} of {hits} faults that hit a holder ended in a token regression, {share:.0} % were promised"
        )
    })
}

async fn cpu_ns(server: Option<&Mutex<Server>>) -> Option<u64> {
    server?.lock().await.cpu_ns()
}
