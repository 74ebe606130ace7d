//! A batch, as the command line asks for it: what the verbs that measure share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use harness::record::difference::Looks;
use harness::record::{Role, RunRecord, ServiceLevel};
use harness::servers::{self, Server};
use tokio_util::sync::CancellationToken;

use super::measured::Begun;
use super::servers::ServerUrls;
use crate::batch::care::Sharing;
use crate::batch::{self, Batch, Pinning, Ran};
use crate::contenders::{self, Contender};
use crate::spec::{Grid, Scenario, ShapeWord, did_you_mean, servers_told};
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
    /// Set any field of the scenario: `--set resources.vm.count=10`, `--set tasks.start-vm.step.hold_s=0.5`. May be given more than
    /// once. A list of values sweeps the field: `--set nodes=[1,3,9]`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Management nodes; several, separated by commas, make a sweep.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<u16>,
    /// Tasks per second; several make a sweep.
    #[arg(long, value_delimiter = ',', value_name = "PER_S", allow_negative_numbers = true)]
    rate: Vec<f64>,
    /// Own hold of every step, instead of the scenario's durations; several make a sweep.
    #[arg(long, value_delimiter = ',', value_name = "MS", allow_negative_numbers = true)]
    hold: Vec<f64>,
    /// Time to live of leases, session timeout and suspicion alike; several make a sweep.
    #[arg(long, value_delimiter = ',', value_name = "MS", allow_negative_numbers = true)]
    detect: Vec<f64>,
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
    /// none: they tell what exclusion takes where the network is free. Several make a sweep.
    #[arg(long, value_delimiter = ',', value_name = "MS", allow_negative_numbers = true)]
    rtt: Vec<f64>,
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

    /// The scenario, or several where fields are lists.
    pub(super) fn grid(&self, aim: Aim) -> anyhow::Result<Grid> {
        let named = self.scenario.as_deref().expect("required unless a batch is taken up");
        Ok(catalog::load_grid(named, &settings(self, aim))?)
    }

    /// The batch that is to be taken up.
    pub(super) fn resumes(&self) -> Option<&Path> {
        self.resume.as_deref()
    }

    /// The seed of all that is drawn.
    pub(super) fn seed(&self, scenario: &Scenario) -> u64 {
        self.seed.or(scenario.spec.seed).unwrap_or_else(workload::fresh_seed)
    }

    /// Who alone takes part, besides controls; empty: whoever the scenario names.
    pub(super) fn contenders(&self) -> &[String] {
        &self.contenders
    }

    /// The same with these alone.
    pub(super) fn of_contenders(mut self, names: &[String]) -> Self {
        self.contenders = names.to_vec();
        self
    }

    /// Where batches are made.
    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// Whether parties have processors of their own.
    pub(super) fn pins(&self) -> bool {
        self.pin
    }

    /// What a scenario asks for; nothing has been written yet.
    ///
    /// # Errors
    /// When it cannot be run as it is.
    pub(super) async fn asked(
        &self,
        scenario: Scenario,
        seed: u64,
        aim: Aim,
        stop: &CancellationToken,
    ) -> anyhow::Result<Batch> {
        let level = aim.capacity.then(|| level(&scenario)).transpose()?;
        let wanted = wanted(self, &scenario)?;
        let looks = aim.until_decided.then(|| Looks::planned(scenario.spec.blocks));
        let batch = Batch { looks, ..self.batch(scenario, wanted, seed, level, aim, stop.clone()).await? };
        if aim.until_decided && batch.contenders.iter().filter(|one| one.role == Role::Contender).count() < 2
        {
            anyhow::bail!("--until-decided: nothing is to be decided of fewer than two contenders");
        }
        batch.can_be_drawn()?;
        Ok(batch)
    }

    /// A batch that was stopped, with what it has.
    ///
    /// # Errors
    /// When it was begun by another verb, version or machine, or somebody cannot take part any more.
    pub(super) async fn taken_up(
        &self,
        directory: &Path,
        aim: Aim,
        stop: &CancellationToken,
    ) -> anyhow::Result<Begun> {
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
        let scenario = Scenario { cell: manifest.cell.clone(), ..scenario };
        let members = scenario.spec.membership;
        let took_part = |contender: &Contender| manifest.contenders.iter().any(|name| name == contender.name);
        let wanted = contenders::all().into_iter().filter(took_part);
        let wanted = wanted.map(|contender| contender.with_members(members)).collect();
        let batch =
            self.batch(scenario, wanted, manifest.seed, manifest.service_level, aim, stop.clone()).await?;
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
    // Whole numbers as they were written: a field that has fractions takes them too.
    let float = |value: f64| match value.fract() == 0.0 && value.abs() < 1e15 {
        true => format!("{value:.0}"),
        false => toml::Value::Float(value).to_string(),
    };
    short("nodes", one_or_list(args.nodes.iter().map(u16::to_string)));
    short("rate_per_s", one_or_list(args.rate.iter().copied().map(float)));
    short("hold_ms", one_or_list(args.hold.iter().copied().map(float)));
    short("detect_ms", one_or_list(args.detect.iter().copied().map(float)));
    short("duration_s", args.duration.map(float));
    short("rtt_ms", one_or_list(args.rtt.iter().copied().map(float)));
    let usual = (aim.twice || aim.until_decided).then_some(REVIEW_BLOCKS);
    short("blocks", args.blocks.or(usual).map(|blocks| blocks.to_string()));
    short("placement", args.placement.as_ref().map(|placement| format!("{placement:?}")));
    short("topology", args.topology.as_ref().map(|topology| format!("{topology:?}")));
    short("durability", args.durability.as_ref().map(|durability| format!("{durability:?}")));
    settings
}

/// A value, or a list of several to sweep; `None` of none.
fn one_or_list(values: impl Iterator<Item = String>) -> Option<String> {
    let values: Vec<String> = values.collect();
    match &values[..] {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
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
