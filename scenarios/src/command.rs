//! The command line.

mod check;
mod floors;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use harness::engine::{Clock, Open, WhenBusy, process_cpu_ns};
use harness::record::{
    End, HarnessCost, Manifest, PlanFacts, Role, SCHEMA_VERSION, Skipped, encode_history, write_json,
};

use harness::model::{Arrival, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind, StepTree};
use harness::placement::process::{self, Invitation};
use harness::placement::single;
use harness::placement::{Run, RunOptions};
use harness::servers::{self, Finding, Server, ServerKind};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::batch::{self, Batch, Show as _};
use crate::contenders::{self, Contender};
use crate::progress::Display;
use crate::spec::Topology;
use crate::{catalog, ring, spec, workload};

/// Compares distributed locks with a lock-free design under one workload, and says which was wrong.
#[derive(Debug, Parser)]
#[command(name = "lockbench", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

const EXIT_CODES: &str = "Exit codes: 0 pass, 2 usage or configuration, 3 correctness violated by a contender (or a \
                          promised violation did not show), 4 run invalid or controls not proven, 130 interrupted (1 and 5 need a gate); \
                          those of check: see its help.";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a scenario and write a report.
    Run(Box<RunArgs>),
    /// List scenarios and contenders.
    List,
    /// Be one node of a run whose nodes are processes. The driver starts it; the secret is in LOCKBENCH_SECRET.
    #[command(hide = true)]
    Node(NodeArgs),
    /// Render a batch directory again; needs no server.
    Report {
        /// The batch directory, such as out/smoke-20260101T120000Z.
        directory: PathBuf,
    },
    /// Say which node of a hash ring owns which key, and what a join moves.
    Ring(ring::RingArgs),
    /// Measure how far each lock variant is from the least that its server could take, and print a table.
    Floors(floors::FloorsArgs),
    /// Say which servers were found, which are missing and how to get them.
    Doctor(ServerUrls),
    /// Judge stored histories: is there an order of the operations that explains every answer (linearizability)?
    Check(check::CheckArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Name of a scenario of the catalogue, or path of a .toml file.
    scenario: String,
    /// Set any field of the scenario: `--set resources.vm.count=10`. May be given more than once.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Management nodes.
    #[arg(long)]
    nodes: Option<u16>,
    /// Tasks per second.
    #[arg(long, value_name = "PER_S")]
    rate: Option<f64>,
    /// Own hold of every step, instead of the scenario's durations.
    #[arg(long, value_name = "MS")]
    hold: Option<f64>,
    /// Time to live of leases, session timeout and suspicion alike.
    #[arg(long, value_name = "MS")]
    detect: Option<f64>,
    /// Length of the arrival window of each run.
    #[arg(long, value_name = "S")]
    duration: Option<f64>,
    /// How often each contender runs.
    #[arg(long)]
    blocks: Option<u32>,
    /// Seed of everything drawn; printed at the start of each batch.
    #[arg(long)]
    seed: Option<u64>,
    /// Only these contenders (controls are kept), separated by commas; one without its server is an error.
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    contenders: Vec<String>,
    /// Round trip added to every link between a node and its server, another node of the ring, and, with --placement process,
    /// the agent: loopback hides it. Controls are spared.
    #[arg(long, value_name = "MS")]
    rtt: Option<f64>,
    /// Where the nodes live: all in this process, or each in one of its own.
    #[arg(long, value_name = "single|process")]
    placement: Option<String>,
    /// What an acknowledged write of a private server survives.
    #[arg(long, value_name = "durable|memory")]
    durability: Option<String>,
    /// Of how many members a private server is: one, or three (etcd and ZooKeeper).
    #[arg(long, value_name = "single|replicated")]
    topology: Option<String>,
    /// Where batch directories are made.
    #[arg(long, default_value = "out", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    urls: ServerUrls,
}

#[derive(Debug, Args)]
struct NodeArgs {
    /// Where the driver listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    driver: SocketAddr,
    /// Where the agent is reached; by default where the driver listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    agent: Option<SocketAddr>,
    /// Which node this is to be, from 0.
    #[arg(long)]
    node: u16,
}

/// Servers that already run, instead of private ones.
#[derive(Debug, Args)]
struct ServerUrls {
    /// A Redis that already runs: `redis://[:PASSWORD@]HOST:PORT`.
    #[arg(long, value_name = "URL", env = "LOCKBENCH_REDIS", hide_env_values = true)]
    redis: Option<String>,
    /// An etcd that already runs: http://HOST:PORT,…
    #[arg(long, value_name = "URL,…", env = "LOCKBENCH_ETCD", hide_env_values = true)]
    etcd: Option<String>,
    /// A ZooKeeper that already runs: HOST:PORT,…
    #[arg(long, value_name = "HOST:PORT,…", env = "LOCKBENCH_ZOOKEEPER", hide_env_values = true)]
    zookeeper: Option<String>,
    /// A PostgreSQL that already runs: `postgres://USER[:PASSWORD]@HOST:PORT/DATABASE`.
    #[arg(long, value_name = "URL", env = "LOCKBENCH_POSTGRES", hide_env_values = true)]
    postgres: Option<String>,
}

impl ServerUrls {
    fn by_kind(&self) -> BTreeMap<ServerKind, String> {
        let given = [
            (ServerKind::Redis, &self.redis),
            (ServerKind::Etcd, &self.etcd),
            (ServerKind::Zookeeper, &self.zookeeper),
            (ServerKind::Postgres, &self.postgres),
        ];
        given.into_iter().filter_map(|(kind, url)| Some((kind, url.clone()?))).collect()
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let asked = std::env::var("LOCKBENCH_LOG").ok().and_then(|text| text.parse().ok());
    let filter = asked.unwrap_or_else(|| Targets::new().with_default(LevelFilter::ERROR));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(filter).with(lines).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("lockbench: cannot start: {error}");
            return ExitCode::from(2);
        }
    };
    let code = runtime.block_on(async {
        match cli.verb {
            Verb::Run(args) => run_batch(&args).await,
            Verb::Node(args) => node(args).await,
            Verb::List => list(),
            Verb::Report { directory } => report(&directory),
            Verb::Ring(args) => {
                ring::run(args, std::io::stdout().lock(), std::io::stderr().lock()).map(|()| 0)
            }
            Verb::Doctor(urls) => doctor(&urls).await,
            Verb::Check(args) => Ok(check::check(&args)),
            Verb::Floors(args) => floors::floors(&args).await,
        }
    });
    // Whatever still runs has been told to stop; do not wait for it for ever.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("lockbench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Prints to standard output; a reader that has gone away (`| head`) is no error.
fn print(text: &str) {
    let _reader_gone = writeln!(std::io::stdout().lock(), "{text}").is_err();
}

fn list() -> anyhow::Result<u8> {
    print("Scenarios:");
    for (name, _) in catalog::ALL {
        print(&format!("  {name:<18} {}", catalog::load(name, &[])?.spec.summary));
    }
    print("\nContenders and controls:");
    for contender in contenders::all() {
        let role = if contender.role == Role::Control { "control" } else { "" };
        print(&format!("  {:<18} {role:<8} {}", contender.name, contender.summary));
    }
    Ok(0)
}

fn report(directory: &Path) -> anyhow::Result<u8> {
    for file in reports::write_all(directory)? {
        print(&file.display().to_string());
    }
    Ok(0)
}

async fn doctor(urls: &ServerUrls) -> anyhow::Result<u8> {
    servers::sweep_leftovers();
    let mut missing = false;
    for kind in ServerKind::ALL {
        let line = match urls.by_kind().get(kind) {
            Some(url) => match Server::attach(*kind, url).await {
                Ok(server) => format!(
                    "{:<12} answers at {}, version {}",
                    kind.title(),
                    servers::redact(url),
                    server.version()
                ),
                Err(error) => {
                    missing = true;
                    format!("{:<12} {error}", kind.title())
                }
            },
            None => match servers::find(*kind) {
                Finding::Found { path, version } => {
                    format!("{:<12} {version} at {}", kind.title(), path.display())
                }
                Finding::Missing { remedy } => {
                    missing = true;
                    format!("{:<12} missing: {remedy}", kind.title())
                }
            },
        };
        print(&line);
    }
    print(if missing { "\n`make setup` installs what is missing." } else { "\nEverything is there." });
    Ok(if missing { 2 } else { 0 })
}

async fn node(args: NodeArgs) -> anyhow::Result<u8> {
    let NodeArgs { driver, agent, node } = args;
    let secret = std::env::var(process::SECRET)
        .with_context(|| format!("{} is not set; `lockbench run` starts nodes itself", process::SECRET))?;
    let agent = agent.unwrap_or(driver);
    let invitation = Invitation { driver, agent, node: NodeId(node), secret: secret.into() };
    process::serve(invitation, contenders::node).await.with_context(|| format!("node {node}"))?;
    Ok(0)
}

async fn run_batch(args: &RunArgs) -> anyhow::Result<u8> {
    let stop = CancellationToken::new();
    // Before the first child of ours is started, if only to be asked for its version.
    let mut signals = tokio::task::JoinSet::new();
    signals.spawn(watch_signals(stop.clone())?);
    let scenario = catalog::load(&args.scenario, &settings(args))?;
    let attached = args.urls.by_kind();
    for (kind, url) in &attached {
        Server::attach(*kind, url).await?.stop().await?;
    }
    let wanted = wanted(args, &scenario)?;
    let (taking_part, skipped) = batch::sort(wanted, &attached, &scenario.spec);
    if let Some(skip) = skipped.iter().find(|skip| args.contenders.contains(&skip.contender)) {
        anyhow::bail!("{} cannot run: {}", skip.contender, skip.reason);
    }
    servers::sweep_leftovers();
    let seed = args.seed.or(scenario.spec.seed).unwrap_or_else(workload::fresh_seed);
    let batch = Batch {
        scenario,
        contenders: taking_part,
        skipped,
        attached,
        seed,
        out: args.out.clone(),
        program: std::env::current_exe().context("cannot find the program of lockbench itself")?,
        stop: stop.clone(),
    };
    let plans = batch.plans()?;
    let started = jiff::Timestamp::now();
    let directory = batch::new_directory(&batch.out, &batch.scenario.spec.name, started)?;
    let display = Display::default();
    display.line(&format!("{}, seed {seed}, into {}", batch.scenario.spec.name, directory.display()));
    for skip in &batch.skipped {
        display.line(&format!("skipped: {}: {}", skip.contender, skip.reason));
    }

    let mut manifest = manifest(&batch, &plans, started).await?;
    write_json(&directory.join("manifest.json"), &manifest)?;
    let mut records = Vec::new();
    // What ran before a failure is kept; the batch as a whole proves nothing.
    let failure = batch.run(&plans, &directory, &display, &mut records).await.err();
    let (mut exit_code, mut reasons) = batch::conclude(&manifest, &records, stop.is_cancelled());
    if let Some(error) = &failure {
        (exit_code, reasons) = (if stop.is_cancelled() { 130 } else { 2 }, vec![format!("{error:#}")]);
    }
    let ended_utc = jiff::Timestamp::now().to_string();
    manifest.end = Some(End { exit_code, reasons: reasons.clone(), ended_utc });
    write_json(&directory.join("manifest.json"), &manifest)?;
    if !records.is_empty() {
        let files = reports::write_all(&directory)?;
        print(&reports::terminal_table(&reports::load(&directory)?));
        if let Some(page) = files.iter().find(|file| file.extension().is_some_and(|ending| ending == "html"))
        {
            print(&format!("report: {}", page.display()));
        }
    }
    for reason in &reasons {
        display.line(reason);
    }
    Ok(exit_code)
}

/// `--set` and the short forms, in that order, so that a short form wins.
fn settings(args: &RunArgs) -> Vec<(String, String)> {
    let mut settings = args.set.clone();
    let mut short =
        |key: &str, value: Option<String>| settings.extend(value.map(|value| (key.to_owned(), value)));
    let float = |value: Option<f64>| value.map(|value| format!("{value:?}"));
    short("nodes", args.nodes.map(|nodes| nodes.to_string()));
    short("rate_per_s", float(args.rate));
    short("hold_ms", float(args.hold));
    short("detect_ms", float(args.detect));
    short("duration_s", float(args.duration));
    short("rtt_ms", float(args.rtt));
    short("blocks", args.blocks.map(|blocks| blocks.to_string()));
    short("placement", args.placement.as_ref().map(|placement| format!("{placement:?}")));
    short("topology", args.topology.as_ref().map(|topology| format!("{topology:?}")));
    short("durability", args.durability.as_ref().map(|durability| format!("{durability:?}")));
    settings
}

fn wanted(args: &RunArgs, scenario: &spec::Scenario) -> anyhow::Result<Vec<Contender>> {
    let all = contenders::all();
    let names: Vec<_> = all.iter().map(|contender| contender.name).collect();
    let known = names.join(", ");
    for listed in &scenario.spec.contenders {
        if !names.contains(&listed.get_ref().as_str()) {
            let what = format!("unknown contender `{}`; there are {known}", listed.get_ref());
            return Err(scenario.error_at(listed.span(), what).into());
        }
    }
    for name in &args.contenders {
        if !names.contains(&name.as_str()) {
            anyhow::bail!("--contenders: unknown contender `{name}`; there are {known}");
        }
    }
    let takes_part = |contender: &Contender| {
        let listed = scenario.spec.contenders.iter().any(|listed| listed.get_ref() == contender.name);
        let named = args.contenders.iter().any(|name| name == contender.name);
        named || listed && (args.contenders.is_empty() || contender.role == Role::Control)
    };
    let taking_part = all.into_iter().filter(takes_part);
    Ok(taking_part.map(|contender| contender.with_members(scenario.spec.membership)).collect())
}

fn watch_signals(stop: CancellationToken) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    })
}

async fn manifest(batch: &Batch, plans: &[Arc<Plan>], started: jiff::Timestamp) -> anyhow::Result<Manifest> {
    let spec = &batch.scenario.spec;
    let plan = plans.first().context("a batch has at least one block")?;
    let mut kinds: Vec<_> = plan.kinds.iter().map(|kind| (kind.clone(), 0)).collect();
    for task in &plan.tasks {
        kinds[usize::from(task.kind)].1 += 1;
    }
    let clients = env!("LOCKBENCH_CLIENTS").split(',').filter_map(|client| client.split_once('='));
    Ok(Manifest {
        schema_version: SCHEMA_VERSION,
        scenario: spec.name.clone(),
        summary: spec.summary.clone(),
        spec_toml: batch.scenario.text.clone(),
        seed: batch.seed,
        started_utc: started.to_string(),
        command: std::env::args().map(|argument| redact_argument(&argument)).collect(),
        lockbench_version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("LOCKBENCH_COMMIT").map(str::to_owned),
        clients: clients.map(|(name, version)| (name.to_owned(), version.to_owned())).collect(),
        machine: harness::engine::machine::survey(&std::env::temp_dir()),
        plan: PlanFacts {
            nodes: u32::from(plan.settings.nodes),
            tasks: plan.tasks.len() as u64,
            steps: plan.tasks.iter().map(|task| task.steps.len() as u64).sum(),
            window_ns: plan.settings.window_ns,
            kinds,
            busiest: plan.loads().first().map(|(resource, load)| (resource.to_string(), *load)),
            saturating: spec.saturating,
            unlimited: plan.is_unlimited(),
            overlaps_predicted: plan.overlaps_without_exclusion(),
            control_fold: workload::control_fold(plan),
        },
        blocks: spec.blocks,
        harness: harness_cost().await?,
        skipped: batch.skipped.clone(),
        threats: threats(batch),
        end: None,
    })
}

/// A password may stand in any URL on the command line.
fn redact_argument(argument: &str) -> String {
    match argument.split_once("://") {
        Some(_) => servers::redact(argument),
        None => argument.to_owned(),
    }
}

fn threats(batch: &Batch) -> Vec<String> {
    let mut threats = vec![
        "Driver, nodes and server share one machine: its processors are contended, and no network lies between.".to_owned(),
        match batch.scenario.spec.topology {
            Topology::Single => "Servers are single members; replication adds round trips and failure modes that this batch does not show.",
            Topology::Replicated => "All three members of a server are on this machine: its round trips between members cost next to nothing, its flushes share one disk.",
        }
        .to_owned(),
    ];
    if batch.scenario.spec.faults.is_empty() {
        threats.push(
            "No faults were injected: nothing here says what happens when a process pauses or a link breaks."
                .to_owned(),
        );
    }
    if batch.scenario.spec.blocks < 5 {
        threats.push(format!(
            "{} block{}: the spread over blocks is an indication, not an interval.",
            batch.scenario.spec.blocks,
            if batch.scenario.spec.blocks == 1 { "" } else { "s" }
        ));
    }
    if batch.scenario.spec.when_busy != WhenBusy::Admit {
        threats.push(
            "Agents turn an overlap away or let it wait (when_busy): races that a mechanism lets through do not show."
                .to_owned(),
        );
    }
    let outside: Vec<&Skipped> = batch.skipped.iter().collect();
    if !outside.is_empty() {
        threats.push(format!("{} contender(s) of the scenario did not take part.", outside.len()));
    }
    threats
}

/// The harness's own cost, by the control `noop`: without locks, what is left is ours.
async fn harness_cost() -> anyhow::Result<HarnessCost> {
    const RATE_PER_S: u32 = 5_000;
    const BURST: u32 = 50_000;
    let burst = run_noop(BURST, 0).await?;
    let cpu_before = process_cpu_ns();
    encode_history(std::io::sink(), &burst.events)?;
    let burst_cpu_ns = burst.process_cpu_ns + process_cpu_ns() - cpu_before;

    let paced = run_noop(RATE_PER_S, 1_000_000_000 / u64::from(RATE_PER_S)).await?;
    Ok(HarnessCost {
        cpu_per_task_ns: burst_cpu_ns / u64::from(BURST),
        rate_per_s: f64::from(RATE_PER_S),
        paced_cpu_per_task_ns: paced.process_cpu_ns / u64::from(RATE_PER_S),
        timer_cpu_per_task_ns: paced.timer_cpu_ns / u64::from(RATE_PER_S),
        lag_p99_ns: paced.measure().latency.lag.quantile_ns(0.99).unwrap_or(0),
    })
}

/// Runs one-step tasks without a hold, so far apart, against the control `noop` without a delay.
async fn run_noop(tasks: u32, apart_ns: u64) -> anyhow::Result<Run> {
    let arrivals = (0..tasks).map(|number| Arrival {
        kind: 0,
        at_ns: u64::from(number) * apart_ns,
        entry: NodeId(0),
        root: StepTree {
            resource: Resource { kind: ResourceKind::Vm, id: number, level: 1 },
            mode: Mode::Exclusive,
            hold_ns: 0,
            create_ns: None,
            children: Vec::new(),
        },
    });
    let settings = PlanSettings {
        seed: 0,
        nodes: 1,
        window_ns: 1_000_000_000,
        deadline_ns: 10_000_000_000,
        holder: Holder::Checks,
    };
    let plan = Arc::new(Plan::new(settings, vec!["noop".to_owned()], arrivals.collect())?);
    let clock = Clock::real()?;
    let mechanism = Arc::new(Open::new(Arc::clone(&plan), clock.clone(), std::time::Duration::ZERO));
    Ok(single::run(plan, mechanism, clock, RunOptions::default()).await)
}
