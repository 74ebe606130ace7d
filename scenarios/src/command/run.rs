//! `lockbench run`: a batch, from the command line to its report.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use harness::record::{BatchEnd, Conclusion, End, Role, write_json};
use harness::servers::{self, Server};
use reports::Comparison;
use tokio_util::sync::CancellationToken;

use super::manifest::manifest;
use super::print::print;
use super::servers::ServerUrls;
use super::signals::watch_signals;
use super::verb::{Group, Work};
use crate::batch::{self, Batch, Pinning, Show as _};
use crate::contenders::{self, Contender};
use crate::progress::Display;
use crate::spec::did_you_mean;
use crate::{catalog, spec, workload};

/// Run a scenario and write a report.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// Name of a scenario of the catalogue, or path of a .toml file.
    scenario: String,
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
    /// Where batch directories are made.
    #[arg(long, default_value = "out", value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    urls: ServerUrls,
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl Work for Run {
    const NAME: &str = "run";
    const GROUP: Group = Group::Measure;

    async fn work(self) -> anyhow::Result<u8> {
        let stop = CancellationToken::new();
        // Before the first child of ours is started, if only to be asked for its version.
        let mut signals = tokio::task::JoinSet::new();
        signals.spawn(watch_signals(stop.clone())?);
        let scenario = catalog::load(&self.scenario, &settings(&self))?;
        let attached = self.urls.by_kind().clone();
        for (kind, url) in &attached {
            Server::attach(*kind, url).await?.stop().await?;
        }
        let wanted = wanted(&self, &scenario)?;
        let (taking_part, skipped) = batch::sort(wanted, &attached, &scenario.spec);
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
        let seed = self.seed.or(scenario.spec.seed).unwrap_or_else(workload::fresh_seed);
        let batch = Batch {
            scenario,
            contenders: taking_part,
            skipped,
            attached,
            seed,
            out: self.out.clone(),
            program: std::env::current_exe().context("cannot find the program of lockbench itself")?,
            pinning,
            stop: stop.clone(),
        };
        batch.can_be_drawn()?;
        let started = jiff::Timestamp::now();
        let directory = batch::new_directory(&batch.out, &batch.scenario.spec.name, started)?;
        let display = Display::default();
        display.line(&format!("{}, seed {seed}, into {}", batch.scenario.spec.name, directory.display()));
        for skip in &batch.skipped {
            display.line(&format!("skipped: {}: {}", skip.contender, skip.reason));
        }

        let neighbours = batch::twins::warnings();
        for neighbour in &neighbours {
            display.line(neighbour);
        }
        let mut manifest = manifest(&batch, started).await?;
        manifest.threats.extend(neighbours);
        write_json(&directory.join("manifest.json"), &manifest)?;
        let (mut records, mut failed) = (Vec::new(), Vec::new());
        // What ran before a failure is kept; the batch as a whole proves nothing.
        let failure = batch.run(&directory, &display, &mut records, &mut failed).await.err();
        manifest.failed = failed;
        let end = match &failure {
            _ if stop.is_cancelled() => BatchEnd::Interrupted,
            Some(error) => BatchEnd::Failed(format!("{error:#}")),
            None => BatchEnd::Complete,
        };
        let comparison = Comparison::new(manifest.clone(), records);
        let Conclusion { exit_code, reasons, .. } = comparison.concluded(&end);
        let ended_utc = jiff::Timestamp::now().to_string();
        manifest.end = Some(End { exit_code, reasons: reasons.clone(), ended_utc });
        write_json(&directory.join("manifest.json"), &manifest)?;
        if !comparison.rows.is_empty() {
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
        Ok(exit_code)
    }
}

/// `--set` and the short forms, in that order, so that a short form wins.
fn settings(args: &Run) -> Vec<(String, String)> {
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
    short("blocks", args.blocks.map(|blocks| blocks.to_string()));
    short("placement", args.placement.as_ref().map(|placement| format!("{placement:?}")));
    short("topology", args.topology.as_ref().map(|topology| format!("{topology:?}")));
    short("durability", args.durability.as_ref().map(|durability| format!("{durability:?}")));
    settings
}

fn wanted(args: &Run, scenario: &spec::Scenario) -> anyhow::Result<Vec<Contender>> {
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
