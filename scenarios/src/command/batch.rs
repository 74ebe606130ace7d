//! A batch, from the command line to its report: what the verbs that measure share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use harness::record::difference::Looks;
use harness::record::{BatchEnd, Conclusion, End, Manifest, Role, RunRecord, ServiceLevel, write_json};
use harness::servers::{self, Server};
use reports::Comparison;
use tokio_util::sync::CancellationToken;

use super::manifest::{as_it_was, manifest};
use super::print::print;
use super::servers::ServerUrls;
use super::signals::watch_signals;
use crate::batch::care::Sharing;
use crate::batch::{self, Batch, Pinning, Ran, Show as _};
use crate::contenders::{self, Contender};
use crate::progress::Display;
use crate::spec::{Scenario, ShapeWord, did_you_mean, servers_told};
use crate::{calibration, catalog, workload};

/// Which batch.
#[derive(Debug, Args)]
pub(super) struct BatchArgs {
    /// Name of a scenario of the catalogue, or path of a .toml file.
    #[arg(required_unless_present = "resume")]
    scenario: Option<String>,
    /// Goes on with a batch that was stopped, in its directory: its scenario, seed and contenders.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["scenario", "set", "nodes", "rate", "hold", "detect", "duration", "blocks", "seed",
        "contenders", "rtt", "placement", "durability", "topology", "out"])]
    resume: Option<PathBuf>,
    /// Set any field of the scenario: `--set resources.vm.count=10`. May be given more than once.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Management nodes.
    #[arg(long)]
    nodes: Option<u16>,
    /// Tasks per second.
    #[arg(long, value_name = "PER_S", allow_negative_numbers = true)]
    rate: Option<f64>,
    /// Own hold of every step, instead of the scenario's durations.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    hold: Option<f64>,
    /// Time to live of leases, session timeout and suspicion alike.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    detect: Option<f64>,
    /// Length of the arrival window of each run.
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
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
    /// the agent: loopback hides it. The controls noop and none cross one such link for each grant, local-mutex and ring-local
    /// none: they tell what exclusion takes where the network is free.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    rtt: Option<f64>,
    /// Where the nodes live: all in this process, or each in one of its own.
    #[arg(long, value_name = "single|process")]
    placement: Option<String>,
    /// What an acknowledged write of a private server survives.
    #[arg(long, value_name = "durable|memory")]
    durability: Option<String>,
    /// Of how many members a private server is: one, or three where it can be replicated.
    #[arg(long, value_name = "single|replicated")]
    topology: Option<String>,
    /// Gives the driver, each member of a private server and each node in a process of its own processors that no other party
    /// uses; an error where there are too few.
    #[arg(long)]
    pin: bool,
    /// Where the noise floors of classes of machines are kept, by `calibrate`, for reports and gates; $XDG_CACHE_HOME/lockbench or
    /// ~/.cache/lockbench where not given.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Where batch directories are made.
    #[arg(long, default_value = "out", value_name = "DIR")]
    out: PathBuf,
    /// Uses servers of --redis and so on that others use too. What they hold is never touched, but a run loads them.
    #[arg(long)]
    shared_server: bool,
    #[command(flatten)]
    urls: ServerUrls,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// What is looked for, beside what every batch tells.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Aim {
    /// How much each contender carries.
    pub(super) capacity: bool,
    /// How long that may take, about.
    pub(super) budget: Option<Duration>,
    /// Every contender takes part twice in each block, to be compared with itself.
    pub(super) twice: bool,
    /// It may end as soon as everything is told.
    pub(super) until_decided: bool,
}

/// Blocks where nothing else is said and differences are looked for: what one of a tenth asks for where runs stray by a twentieth.
const REVIEW_BLOCKS: u32 = 10;

impl BatchArgs {
    /// The same with one more setting, which wins over the others.
    pub(super) fn with(mut self, setting: Option<(String, String)>) -> Self {
        self.set.extend(setting);
        self
    }

    /// Where noise floors are kept.
    pub(super) fn store(&self) -> Option<PathBuf> {
        self.store.clone().or_else(calibration::default_store)
    }

    /// Runs it, and writes the report. Returns the exit code, and where the batch is.
    pub(super) async fn run(self, aim: Aim) -> anyhow::Result<(u8, PathBuf)> {
        let stop = CancellationToken::new();
        // Before the first child of ours is started, if only to be asked for its version.
        let mut signals = tokio::task::JoinSet::new();
        signals.spawn(watch_signals(stop.clone())?);
        let display = Display::default();
        let begun = match &self.resume {
            Some(directory) => self.taken_up(directory, aim, stop).await?,
            None => self.begun(aim, stop, &display).await?,
        };
        let attached = begun.batch.attached.clone();
        let measured = self.measured(begun, &display).await;
        // Also after a failure or Ctrl-C.
        for kept in batch::care::give_back(&attached).await {
            display.line(&kept);
        }
        measured
    }

    async fn measured(&self, begun: Begun, display: &Display) -> anyhow::Result<(u8, PathBuf)> {
        let neighbours = batch::twins::warnings();
        for neighbour in &neighbours {
            display.line(neighbour);
        }
        let Begun { batch, directory, mut manifest, mut ran } = begun;
        manifest.threats.extend(neighbours);
        manifest.end = None;
        write_json(&directory.join("manifest.json"), &manifest)?;
        // What ran before a failure is kept; the batch as a whole proves nothing.
        let failure = batch.run(&directory, display, &mut ran).await.err();
        as_it_was(&batch, &ran, &mut manifest)?;
        let Ran { records, failed, .. } = ran;
        manifest.failed = failed;
        let end = match &failure {
            _ if batch.stop.is_cancelled() => BatchEnd::Interrupted,
            Some(error) => BatchEnd::Failed(format!("{error:#}")),
            None => BatchEnd::Complete,
        };
        let comparison = Comparison::new(manifest.clone(), records);
        let Conclusion { exit_code, reasons, .. } = comparison.concluded(&end);
        let ended_utc = jiff::Timestamp::now().to_string();
        manifest.end = Some(End { exit_code, reasons: reasons.clone(), ended_utc });
        write_json(&directory.join("manifest.json"), &manifest)?;
        if !comparison.rows.is_empty() || !comparison.probes.is_empty() {
            let files = reports::write_all(&directory)?;
            print(&reports::terminal_table(&reports::load(&directory)?));
            if let Some(page) =
                files.iter().find(|file| file.extension().is_some_and(|ending| ending == "html"))
            {
                print(&format!("report: {}", page.display()));
            }
        }
        for reason in &reasons {
            display.line(reason);
        }
        if end == BatchEnd::Interrupted {
            display.line(&format!("the rest of it: --resume {}", directory.display()));
        }
        Ok((exit_code, directory))
    }

    /// A batch that begins.
    async fn begun(&self, aim: Aim, stop: CancellationToken, display: &Display) -> anyhow::Result<Begun> {
        let named = self.scenario.as_deref().expect("required unless a batch is taken up");
        let scenario = catalog::load(named, &settings(self, aim))?;
        let level = aim.capacity.then(|| level(&scenario)).transpose()?;
        let wanted = wanted(self, &scenario)?;
        let seed = self.seed.or(scenario.spec.seed).unwrap_or_else(workload::fresh_seed);
        let looks = aim.until_decided.then(|| Looks::planned(scenario.spec.blocks));
        let batch = Batch { looks, ..self.batch(scenario, wanted, seed, level, aim, stop).await? };
        if aim.until_decided && batch.contenders.iter().filter(|one| one.role == Role::Contender).count() < 2
        {
            anyhow::bail!("--until-decided: nothing is to be decided of fewer than two contenders");
        }
        batch.can_be_drawn()?;
        let started = jiff::Timestamp::now();
        let directory = batch::new_directory(&batch.out, &batch.scenario.spec.name, started)?;
        display.line(&format!("{}, seed {seed}, into {}", batch.scenario.spec.name, directory.display()));
        for skip in &batch.skipped {
            display.line(&format!("skipped: {}: {}", skip.contender, skip.reason));
        }
        let manifest = manifest(&batch, started).await?;
        Ok(Begun { batch, directory, manifest, ran: Ran::default() })
    }

    /// A batch that was stopped, with what it has.
    async fn taken_up(&self, directory: &Path, aim: Aim, stop: CancellationToken) -> anyhow::Result<Begun> {
        let former = reports::load(directory)?;
        let mut records: Vec<RunRecord> = former.records().chain(&former.probes).cloned().collect();
        records.sort_by_key(|record| record.order);
        let manifest = former.manifest;
        let place = directory.display();
        anyhow::ensure!(
            manifest.service_level.is_some() == aim.capacity,
            "{place} was begun by `lockbench {}`: take it up with that",
            if aim.capacity { "run" } else { "capacity" }
        );
        let same = manifest.lockbench_version == env!("CARGO_PKG_VERSION")
            && manifest.commit.as_deref() == option_env!("LOCKBENCH_COMMIT");
        anyhow::ensure!(
            same,
            "{place} was begun by another version of lockbench: its runs could not be compared"
        );
        let here = harness::engine::machine::survey(&std::env::temp_dir());
        anyhow::ensure!(
            here.cpu == manifest.machine.cpu && here.cores == manifest.machine.cores,
            "{place} was begun on another machine ({}, {} processors): its runs could not be compared",
            manifest.machine.cpu,
            manifest.machine.cores
        );
        let scenario = Scenario::parse(&format!("{place}/manifest.json"), &manifest.spec_toml, &[])?;
        let members = scenario.spec.membership;
        let took_part = |contender: &Contender| manifest.contenders.iter().any(|name| name == contender.name);
        let wanted = contenders::all().into_iter().filter(took_part);
        let wanted = wanted.map(|contender| contender.with_members(members)).collect();
        let batch = self.batch(scenario, wanted, manifest.seed, manifest.service_level, aim, stop).await?;
        if let Some(skip) = batch.skipped.first() {
            anyhow::bail!("{} cannot run any more: {}", skip.contender, skip.reason);
        }
        let looks = (!manifest.looks.is_empty()).then(|| Looks::of(&manifest.looks));
        let batch = Batch { skipped: manifest.skipped.clone(), looks, ..batch };
        let ran = Ran { records, ..Ran::default() };
        Ok(Begun { batch, directory: directory.to_owned(), manifest, ran })
    }

    async fn batch(
        &self,
        scenario: Scenario,
        wanted: Vec<Contender>,
        seed: u64,
        level: Option<ServiceLevel>,
        aim: Aim,
        stop: CancellationToken,
    ) -> anyhow::Result<Batch> {
        let mut attached = servers_told(&scenario.spec.servers).map_err(anyhow::Error::msg)?;
        attached.extend(self.urls.by_kind().clone());
        // A server that does not answer is told before anything runs.
        for (kind, url) in &attached {
            Server::attach(*kind, url).await?.stop().await?;
        }
        let sharing = if self.shared_server { Sharing::Shared } else { Sharing::Alone };
        batch::care::may_be_used(&attached, sharing).await?;
        let (mut taking_part, skipped) = batch::sort(wanted, &attached, &scenario.spec);
        if aim.twice {
            let compared = |contender: &&Contender| contender.role == Role::Contender;
            let again: Vec<_> = taking_part.iter().filter(compared).map(Contender::again).collect();
            taking_part.extend(again);
        }
        batch::care::none_is_broken(&scenario, &taking_part, &attached)?;
        if let Some(skip) = skipped.iter().find(|skip| self.contenders.contains(&skip.contender)) {
            anyhow::bail!("{} cannot run: {}", skip.contender, skip.reason);
        }
        let private =
            |contender: &Contender| contender.server.is_some_and(|kind| !attached.contains_key(&kind));
        let pinning = match self.pin {
            true => Some(Pinning::deal(&scenario.spec, taking_part.iter().any(private))?),
            false => None,
        };
        if let Some(pinning) = &pinning {
            pinning.driver.keep_process().context("--pin: cannot keep the driver on its processors")?;
        }
        servers::sweep_leftovers();
        Ok(Batch {
            scenario,
            contenders: taking_part,
            skipped,
            attached,
            seed,
            out: self.out.clone(),
            program: std::env::current_exe().context("cannot find the program of lockbench itself")?,
            pinning,
            level,
            budget: aim.budget,
            looks: None,
            store: self.store(),
            stop,
        })
    }
}

/// A batch that is about to run, or to go on.
struct Begun {
    batch: Batch,
    directory: PathBuf,
    manifest: Manifest,
    ran: Ran,
}

/// The service level of a scenario whose capacity can be looked for.
fn level(scenario: &Scenario) -> anyhow::Result<ServiceLevel> {
    let spec = &scenario.spec;
    if spec.rate_per_s.is_none() || spec.duration_s.is_none() {
        let what = "capacity is looked for at one rate after the other: the scenario needs rate_per_s, where the search begins, and \
                    duration_s, how long a probe lasts";
        return Err(scenario.error_of("burst", what).into());
    }
    if spec.arrivals.as_ref().is_some_and(|arrivals| arrivals.shape != ShapeWord::Constant) {
        let what = "a rate that changes is none that is carried or not; leave it out";
        return Err(scenario.error_of("arrivals", what).into());
    }
    if !spec.faults.is_empty() {
        let what =
            "what is broken on purpose would decide how much is carried; leave it out with `--set faults=[]`";
        return Err(scenario.error_of("faults", what).into());
    }
    Ok(spec.service_level.into())
}

/// `--set` and the short forms, in that order, so that a short form wins.
fn settings(args: &BatchArgs, aim: Aim) -> Vec<(String, String)> {
    let mut settings = args.set.clone();
    let mut short =
        |key: &str, value: Option<String>| settings.extend(value.map(|value| (key.to_owned(), value)));
    let float = |value: Option<f64>| value.map(|value| toml::Value::Float(value).to_string());
    short("nodes", args.nodes.map(|nodes| nodes.to_string()));
    short("rate_per_s", float(args.rate));
    short("hold_ms", float(args.hold));
    short("detect_ms", float(args.detect));
    short("duration_s", float(args.duration));
    short("rtt_ms", float(args.rtt));
    let usual = (aim.twice || aim.until_decided).then_some(REVIEW_BLOCKS);
    short("blocks", args.blocks.or(usual).map(|blocks| blocks.to_string()));
    short("placement", args.placement.as_ref().map(|placement| format!("{placement:?}")));
    short("topology", args.topology.as_ref().map(|topology| format!("{topology:?}")));
    short("durability", args.durability.as_ref().map(|durability| format!("{durability:?}")));
    settings
}

fn wanted(args: &BatchArgs, scenario: &Scenario) -> anyhow::Result<Vec<Contender>> {
    let all = contenders::all();
    let names: Vec<_> = all.iter().map(|contender| contender.name).collect();
    let unknown = |name: &str| {
        let meant = did_you_mean(name, names.iter().copied());
        format!("unknown contender `{name}`{meant}; there are {}", names.join(", "))
    };
    for listed in &scenario.spec.contenders {
        if !names.contains(&listed.get_ref().as_str()) {
            let what = unknown(listed.get_ref());
            return Err(scenario.error_at(listed.span(), what).into());
        }
    }
    for name in &args.contenders {
        if !names.contains(&name.as_str()) {
            anyhow::bail!("--contenders: {}", unknown(name));
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
