//! `lockbench init`: a scenario of one's own, from a few answers.

use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, ensure};
use clap::Args;

use super::print::print;
use super::verb::{Example, Group, Work};
use crate::spec::Scenario;

/// Write a scenario file of your own, with comments: asks at a terminal for what the options leave open.
#[derive(Debug, Args)]
pub(super) struct Init {
    /// The file to write; one that is there stays.
    #[arg(default_value = "mine.toml")]
    file: PathBuf,
    /// Management nodes.
    #[arg(long)]
    nodes: Option<u16>,
    /// Tasks a second, of all nodes together.
    #[arg(long, allow_negative_numbers = true)]
    rate: Option<f64>,
    /// What a task needs for itself: how many such things there are.
    #[arg(long, value_name = "COUNT")]
    keys: Option<u32>,
    /// How long a task holds one, the median.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    hold: Option<f64>,
    /// How hot: 0 = all alike, 1 = the n-th is asked for an n-th as often as the first.
    #[arg(long, value_name = "EXPONENT", allow_negative_numbers = true)]
    skew: Option<f64>,
    /// How long nobody may be served by what a dead node held; the time to live of leases.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    detect: Option<f64>,
}

impl Work for Init {
    const NAME: &str = "init";
    const GROUP: Group = Group::Extend;
    const EXAMPLES: &[Example] = &[
        ("Asks what it must know", "lockbench init mine.toml"),
        (
            "Asks nothing",
            "lockbench init mine.toml --nodes 9 --rate 500 --keys 2000 --hold 80 --skew 0.9 --detect 10000",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        let Self { file, nodes, rate, keys, hold, skew, detect } = self;
        let name =
            file.file_stem().and_then(|stem| stem.to_str()).context("give the path of a .toml file")?;
        ensure!(
            file.extension().is_some_and(|ending| ending == "toml"),
            "{}: give the path of a .toml file",
            file.display()
        );
        ensure!(!file.exists(), "{} is there already: give another name, or remove it", file.display());
        let answers = Answers {
            nodes: answer(nodes, "management nodes", 3)?,
            rate: answer(rate, "tasks a second, of all nodes together", 100.0)?,
            keys: answer(keys, "things of which a task needs one for itself", 300)?,
            hold_ms: answer(hold, "ms for which a task holds it, the median", 50.0)?,
            skew: answer(
                skew,
                "how hot: 0 = all alike, 1 = the n-th asked for an n-th as often as the first",
                0.8,
            )?,
            detect_ms: answer(detect, "ms for which what a dead node held may stay unserved", 5000.0)?,
        };
        let text = answers.text(name);
        // Checked before it is written: what is written can be run.
        Scenario::parse(&file.display().to_string(), &text, &[])?;
        let written = OpenOptions::new().write(true).create_new(true).open(&file);
        written
            .and_then(|mut open| open.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let file = file.display();
        print(&format!(
            "{file} is written. What it would run: lockbench explain {file}. To run it: lockbench run {file}"
        ));
        Ok(0)
    }
}

/// What was given, else what is answered at a terminal, else what is usual.
fn answer<T: FromStr + ToString>(given: Option<T>, question: &str, usual: T) -> anyhow::Result<T> {
    if let Some(given) = given {
        return Ok(given);
    }
    if !std::io::stdin().is_terminal() {
        return Ok(usual);
    }
    loop {
        eprint!("{question} [{}]: ", usual.to_string());
        let mut line = String::new();
        ensure!(std::io::stdin().read_line(&mut line)? > 0, "nothing is written: the answers ended");
        match line.trim() {
            "" => return Ok(usual),
            text => match text.parse() {
                Ok(answer) => return Ok(answer),
                Err(_) => eprintln!("a number, please"),
            },
        }
    }
}

struct Answers {
    nodes: u16,
    rate: f64,
    keys: u32,
    hold_ms: f64,
    skew: f64,
    detect_ms: f64,
}

impl Answers {
    fn text(&self, name: &str) -> String {
        let Self { nodes, rate, keys, hold_ms, skew, detect_ms } = self;
        let name = toml::Value::String(name.to_owned());
        let float = |value: f64| toml::Value::Float(value).to_string();
        format!(
            r#"# Every field is explained by `lockbench explain` and in the catalogue's files; any can be set for one run: --set nodes=5.
name = {name}
summary = "Tasks of our own: what does it cost to keep them apart?"

# Who asks. With `placement = "process"` each node is a process of its own, which faults can pause and kill.
nodes = {nodes}
placement = "single"

# How much: independent arrivals (Poisson). `lockbench capacity` begins at this rate and looks for the highest that each carries.
rate_per_s = {rate}
duration_s = 10.0
warm_up_s = 1.0
# Each contender runs so often, in a new order each time: fewer than five tell no difference apart from chance.
blocks = 6

# A task that waits longer than this has timed out.
deadline_ms = {deadline}
# Time to live of leases, session timeout and suspicion alike: for so long nobody is served by what a dead node held.
detect_ms = {detect}
# The control `noop` takes so long for each grant, to show that waits are measured as they are.
noop_delay_ms = 5.0

# Controls first: what they do not show, nobody else does. `lockbench list` names all contenders.
contenders = ["noop", "none", "redis-fenced", "pg-mux", "etcd-cas", "zk-seq", "ring-queue"]

# What tasks need for themselves. level = how many may be inside at once; zipf = how hot the hottest is.
[resources]
vm = {{ count = {keys}, level = 1, zipf = {skew} }}

# What they do: kinds by weight; hold_s = seconds, or [median, 99th percentile]. Steps inside a step hold both.
[[tasks]]
name = "change-vm"
weight = 1.0
step = {{ resource = "vm", hold_s = [{hold}, {long}] }}

# What is broken on purpose; take the marks away, and set `placement = "process"` and `duration_s = 60.0`: three must take effect.
# [[faults]]
# verb = "pause"          # or kill, cut, slow, reset
# target = "holder"       # or node-0, server, leader
# every_s = 2.0
# for_ms = {broken}
"#,
            rate = float(*rate),
            deadline = float((detect_ms * 3.0).max(10_000.0)),
            detect = float(*detect_ms),
            skew = float(*skew),
            hold = float(hold_ms / 1e3),
            long = float(hold_ms * 4.0 / 1e3),
            broken = float(detect_ms * 2.5),
        )
    }
}
