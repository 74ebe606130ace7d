//! A batch, as the command line asks for it: a scenario, and what of it is other than its file says.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;

use super::how::{Aim, HowArgs};
use crate::catalog;
use crate::spec::Grid;

/// Which batch.
#[derive(Debug, Args)]
pub(super) struct BatchArgs {
    /// Name of a scenario of the catalogue, or path of a .toml file.
    #[arg(required_unless_present = "resume")]
    scenario: Option<String>,
    /// Goes on with a batch that was stopped, in its directory: its scenario, seed and contenders.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["scenario", "small", "set", "nodes", "rate", "closed", "think", "hold", "detect", "duration", "blocks", "seed",
        "contenders", "rtt", "placement", "durability", "topology", "out"])]
    resume: Option<PathBuf>,
    /// The scenario's short form, as it says under `[small]`: to see it work, with least numbers of its own. What else is set wins.
    #[arg(long)]
    small: bool,
    /// Set any field of the scenario: `--set resources.vm.count=10`, `--set tasks.start-vm.step.hold_s=0.5`. May be given more than
    /// once. A list of values sweeps the field: `--set nodes=[1,3,9]`; no value, as in `--set rate_per_s=`, takes it out.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
    /// Management nodes; several, separated by commas, make a sweep.
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<u16>,
    /// Tasks per second; several make a sweep.
    #[arg(long, value_delimiter = ',', value_name = "PER_S", allow_negative_numbers = true)]
    rate: Vec<f64>,
    /// So many callers in a closed loop instead of a rate: each asks for its next task when its last one has returned. Whoever is slow
    /// is asked less then, which figures and reports say; several make a sweep.
    #[arg(long, value_delimiter = ',', value_name = "CALLERS", conflicts_with = "rate")]
    closed: Vec<u32>,
    /// How long each of these callers thinks between two tasks, the mean of an exponential distribution; several make a sweep.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "MS",
        requires = "closed",
        allow_negative_numbers = true
    )]
    think: Vec<f64>,
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
    /// Round trip added to every link between a node and its server, another node of the ring, and, with --placement process,
    /// the agent: loopback hides it. The controls noop and none cross one such link for each grant, local-mutex and ring-local
    /// none: they tell what exclusion takes where the network is free. Several make a sweep.
    #[arg(long, value_delimiter = ',', value_name = "MS", allow_negative_numbers = true)]
    rtt: Vec<f64>,
    /// Where the nodes live: all in this process, each in one of its own, or each in one at hosts that join (--listen).
    #[arg(long, value_name = "single|process|remote")]
    placement: Option<String>,
    /// What an acknowledged write of a private server survives.
    #[arg(long, value_name = "durable|memory")]
    durability: Option<String>,
    /// Of how many members a private server is: one, or three where it can be replicated.
    #[arg(long, value_name = "single|replicated")]
    topology: Option<String>,
    /// Where the batch is kept, once it is over, until `lockbench fetch` has taken it: of a driver in a pod, whose files go with it.
    #[arg(long, value_name = "ADDRESS:PORT")]
    keep: Option<SocketAddr>,
    #[command(flatten)]
    how: HowArgs,
}

/// `KEY=VALUE`, as `--set` takes it.
pub(super) fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// Blocks where nothing else is said and differences are looked for: what one of a tenth asks for where runs stray by a twentieth.
const REVIEW_BLOCKS: u32 = 10;

impl BatchArgs {
    /// The same with one more setting, which wins over the others.
    pub(super) fn with(mut self, setting: Option<(String, String)>) -> Self {
        self.set.extend(setting);
        self
    }

    /// The scenario, or several where fields are lists.
    pub(super) fn grid(&self, aim: Aim) -> anyhow::Result<Grid> {
        let named = self.scenario.as_deref().expect("required unless a batch is taken up");
        let small = if self.small { catalog::small(named)? } else { Vec::new() };
        Ok(catalog::load_grid(named, &[small, settings(self, aim)].concat())?)
    }

    /// The batch that is to be taken up.
    pub(super) fn resumes(&self) -> Option<&Path> {
        self.resume.as_deref()
    }

    /// Where it is kept for whoever fetches it.
    pub(super) fn keep(&self) -> Option<SocketAddr> {
        self.keep
    }

    /// How it runs.
    pub(super) fn how(&self) -> &HowArgs {
        &self.how
    }
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
    if let Some(callers) = one_or_list(args.closed.iter().map(u32::to_string)) {
        // Nothing of the load that it replaces is left.
        ["rate_per_s", "burst", "burst_every_s"].into_iter().for_each(|key| short(key, Some(String::new())));
        let think_ms = one_or_list(args.think.iter().copied().map(float)).unwrap_or_else(|| "0.0".to_owned());
        let arrivals = format!("{{ shape = \"closed\", callers = {callers}, think_ms = {think_ms} }}");
        short("arrivals", Some(arrivals));
    }
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
