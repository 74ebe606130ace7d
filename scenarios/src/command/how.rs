//! How batches run, whatever their scenario: who takes part, on which servers, what they are looked at for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use harness::record::difference::Looks;
use harness::record::{Role, RunRecord, ServiceLevel};
use harness::servers::{self, Server};
use tokio_util::sync::CancellationToken;

use super::guests::guests;
use super::measured::Begun;
use super::remote::RemoteArgs;
use super::servers::ServerUrls;
use crate::batch::care::Sharing;
use crate::batch::{self, Batch, Pinning, Ran, Remote};
use crate::calibration;
use crate::contenders::{self, AGAIN, Contender, PORT_ECHO};
use crate::progress::{Display, Form};
use crate::spec::{Scenario, ShapeWord, did_you_mean, servers_told};
use crate::workload;

/// How batches run, whatever their scenario.
#[derive(Debug, Clone, Args)]
pub(super) struct HowArgs {
    /// Seed of everything drawn; printed at the start of each batch.
    #[arg(long)]
    seed: Option<u64>,
    /// Only these contenders (controls are kept), separated by commas; one without its server is an error.
    #[arg(long, visible_alias = "candidates", value_delimiter = ',', value_name = "NAME")]
    contenders: Vec<String>,
    /// Takes part too: a folder with a contender.toml, whose program speaks over the port (docs/port.md), or one of our own locks, asked for
    /// over the port as programs of others are. May be given more than once.
    #[arg(long, value_name = "FOLDER|LOCK")]
    with: Vec<String>,
    /// Those, once they are built.
    #[arg(skip)]
    guests: OnceLock<Vec<Contender>>,
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
    /// How what goes on is shown, on standard error: `auto` draws a line anew each second on a terminal, and is `plain` elsewhere.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    progress: Form,
    /// Uses servers of --redis and so on that others use too. What they hold is never touched, but a run loads them.
    #[arg(long)]
    shared_server: bool,
    /// Ends a run on a server of --redis and so on once whoever else uses it waits so many times as long for an answer as before, and
    /// 5 ms longer; its load begins at a tenth. With `off` neither.
    #[arg(long, default_value = "3", value_name = "TIMES|off", value_parser = bystander_bound)]
    bystander_bound: f64,
    #[command(flatten)]
    urls: ServerUrls,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Without a bound: infinite.
fn bystander_bound(text: &str) -> Result<f64, String> {
    match text {
        "off" => Ok(f64::INFINITY),
        text => {
            text.parse().ok().filter(|times| *times >= 1.0).ok_or_else(|| "from 1 on, or `off`".to_owned())
        }
    }
}

/// How long a batch takes, about, in seconds.
pub(super) fn about_s(batch: &Batch) -> f64 {
    let spec = &batch.scenario.spec;
    batch.contenders.len() as f64 * f64::from(spec.blocks) * spec.takes_s()
}

/// `20 ms`, `1.5 s`, `9 min`.
pub(super) fn span(s: f64) -> String {
    let digits = |value: f64| format!("{}", (value * 10.0).round() / 10.0);
    match s {
        s if s >= 120.0 => format!("{:.0} min", s / 60.0),
        s if s >= 1.0 => format!("{} s", digits(s)),
        s if s >= 1e-3 || s == 0.0 => format!("{} ms", digits(s * 1e3)),
        s => format!("{} µs", digits(s * 1e6)),
    }
}

/// A time as people write it: `90s`, `10m`, `1h`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "must be a time such as 90s, 10m or 1h".to_owned())?;
    let span = Duration::try_from(span).map_err(|_| "must not be negative".to_owned())?;
    if span.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(span) }
}

/// What is looked for, beside what every batch tells.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is asked for by itself")]
pub(super) struct Aim {
    /// How much each contender carries.
    pub(super) capacity: bool,
    /// How long that may take, about.
    pub(super) budget: Option<Duration>,
    /// Latencies are compared elsewhere.
    pub(super) latencies_elsewhere: bool,
    /// Every contender takes part twice in each block, to be compared with itself.
    pub(super) twice: bool,
    /// It may end as soon as everything is told.
    pub(super) until_decided: bool,
}

impl HowArgs {
    /// Where noise floors are kept.
    pub(super) fn store(&self) -> Option<PathBuf> {
        self.store.clone().or_else(calibration::default_store)
    }

    /// Where what goes on is shown.
    pub(super) fn display(&self) -> Display {
        Display::new(self.progress)
    }

    /// How long a batch of this takes, about, in seconds; `None`: until all capacities are found.
    ///
    /// # Errors
    /// When nobody knows who takes part.
    pub(super) fn takes_s(&self, scenario: &Scenario, aim: Aim) -> anyhow::Result<Option<f64>> {
        if aim.capacity {
            return Ok(aim.budget.map(|budget| budget.as_secs_f64()));
        }
        let runs = wanted(self, scenario)?.len() as f64 * f64::from(scenario.spec.blocks);
        Ok(Some(runs * scenario.spec.takes_s()))
    }

    /// The seed of all that is drawn.
    pub(super) fn seed(&self, scenario: &Scenario) -> u64 {
        self.seed.or(scenario.spec.seed).unwrap_or_else(workload::fresh_seed)
    }

    /// Everybody who could take part: those of the registry, and those of `--with`.
    fn everybody(&self) -> anyhow::Result<Vec<Contender>> {
        Ok(contenders::all().into_iter().chain(self.guests()?.iter().cloned()).collect())
    }

    /// Those of `--with`, built the first time that they are asked for.
    fn guests(&self) -> anyhow::Result<&[Contender]> {
        if self.guests.get().is_none() {
            let guests = guests(&self.with)?;
            return Ok(self.guests.get_or_init(|| guests));
        }
        Ok(self.guests.get().map_or(&[], Vec::as_slice))
    }

    /// Who alone takes part, besides controls; empty: whoever the scenario names.
    pub(super) fn contenders(&self) -> &[String] {
        &self.contenders
    }

    /// The same with these beside, whoever it names alone.
    pub(super) fn with_guests(&self, with: &[String]) -> Self {
        let with = self.with.iter().chain(with).cloned().collect();
        Self { with, guests: OnceLock::new(), contenders: Vec::new(), ..self.clone() }
    }

    /// The same with these alone.
    pub(super) fn of_contenders(&self, names: &[String]) -> Self {
        Self { contenders: names.to_vec(), ..self.clone() }
    }

    /// Where batches are made.
    pub(super) fn out(&self) -> &Path {
        &self.out
    }

    /// The hosts of nodes on other machines, if any have been waited for.
    pub(super) fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.remote()
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
        let everybody = self.everybody()?;
        let is_here =
            |name: &&String| everybody.iter().any(|one| one.name == name.strip_suffix(AGAIN).unwrap_or(name));
        if let Some(name) = manifest.contenders.iter().find(|name| !is_here(name)) {
            anyhow::bail!("{place}: {name} took part over the port: name it again with --with");
        }
        let took_part = |contender: &Contender| manifest.contenders.iter().any(|name| name == contender.name);
        let wanted = everybody.into_iter().filter(took_part);
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
        let mut members = BTreeMap::new();
        for (kind, url) in &attached {
            members.insert(*kind, batch::near::members(*kind, url).await.with_context(|| kind.to_string())?);
        }
        // What was needed to ask them.
        let kept = batch::care::give_back(&attached).await;
        anyhow::ensure!(kept.is_empty(), "{}", kept.join("; "));
        let programs = self.urls.programs().clone();
        for (kind, program) in &programs {
            // One that was named is meant.
            if let servers::Finding::Missing { remedy } = servers::find_with(*kind, Some(program)) {
                anyhow::bail!("--{}-program: {remedy}", kind.name());
            }
        }
        let (mut taking_part, skipped) = batch::sort(wanted, &attached, &programs, &scenario.spec);
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
        let remote = self.remote.of(&scenario.spec)?;
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
            programs,
            members,
            bystander_bound: Some(self.bystander_bound).filter(|bound| bound.is_finite()),
            seed,
            out: self.out.clone(),
            program: std::env::current_exe().context("cannot find the program of lockbench itself")?,
            pinning,
            remote,
            level,
            latencies_elsewhere: aim.latencies_elsewhere,
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
    if spec.load().is_some_and(|load| load.closed().is_some()) {
        let what = "capacity is the highest rate that is carried, and a closed loop offers none: its callers ask no more than they are served";
        return Err(scenario.error_of("arrivals", what).into());
    }
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

fn wanted(how: &HowArgs, scenario: &Scenario) -> anyhow::Result<Vec<Contender>> {
    let all = how.everybody()?;
    let guests = how.guests()?;
    let is_guest = |contender: &Contender| {
        // What the port costs stands beside whoever speaks over it.
        contender.name == PORT_ECHO && !guests.is_empty()
            || guests.iter().any(|guest| guest.name == contender.name)
    };
    let names: Vec<_> = all.iter().map(|contender| contender.name).collect();
    let unknown = |name: &str| {
        let meant = did_you_mean(name, names.iter().copied());
        format!("unknown contender `{name}`{meant}; there are {}", names.join(", "))
    };
    let foretold = scenario.spec.expect.iter().flat_map(|expect| expect.contenders.iter().flatten());
    for listed in scenario.spec.contenders.iter().chain(foretold) {
        if !names.contains(&listed.get_ref().as_str()) {
            let what = unknown(listed.get_ref());
            return Err(scenario.error_at(listed.span(), what).into());
        }
    }
    for name in &how.contenders {
        if !names.contains(&name.as_str()) {
            anyhow::bail!("--contenders: {}", unknown(name));
        }
    }
    let takes_part = |contender: &Contender| {
        let listed = scenario.spec.contenders.iter().any(|listed| listed.get_ref() == contender.name);
        let named = how.contenders.iter().any(|name| name == contender.name);
        is_guest(contender)
            || named
            || listed && (how.contenders.is_empty() || contender.role == Role::Control)
    };
    let taking_part = all.into_iter().filter(takes_part);
    Ok(taking_part.map(|contender| contender.with_members(scenario.spec.membership)).collect())
}
