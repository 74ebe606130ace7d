//! A batch: what was asked for and where it ran.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::prices::Prices;
use super::probe::ServiceLevel;
use super::sweep::CellValues;
use crate::model::Closed;

/// Version of the stored format; a reader refuses any other.
pub const SCHEMA_VERSION: u32 = 3;

/// A batch: what one command asked for and where it ran. `manifest.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// One or two sentences: what the scenario asks, and what is fair or unfair about it.
    pub summary: String,
    /// The scenario as it ran, TOML, after `--set` and the short forms.
    pub spec_toml: String,
    /// The seed of every random choice; `--seed` takes it back.
    pub seed: u64,
    /// UTC start, RFC 3339.
    pub started_utc: String,
    /// The command line, passwords replaced.
    pub command: Vec<String>,
    /// Version of lockbench.
    pub lockbench_version: String,
    /// Commit that it was built from, with `-dirty` when changed; `None` outside a checkout.
    pub commit: Option<String>,
    /// Versions of the client crates, by name.
    pub clients: BTreeMap<String, String>,
    /// Of each contender that is a program of somebody else a digest of what it is made of, lock files of its libraries included.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub programs: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
    /// Who had which processors; `None`: all parties shared them.
    #[serde(default)]
    pub pinning: Option<Pinning>,
    /// What the plan contains.
    pub plan: PlanFacts,
    /// Blocks asked for: each contender runs once per block.
    pub blocks: u32,
    /// Who takes part, controls too.
    #[serde(default)]
    pub contenders: Vec<String>,
    /// The contender that all others are compared with, chosen before the first run.
    #[serde(default)]
    pub reference: Option<String>,
    /// After which blocks the batch might end because everything was told; empty: only after all.
    #[serde(default)]
    pub looks: Vec<u32>,
    /// How much figures stray on such a machine, as far as somebody has measured it there; without it, nobody has.
    #[serde(default)]
    pub calibration: Option<Calibration>,
    /// What a rate must meet to be carried, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_level: Option<ServiceLevel>,
    /// What servers, processors and requests are taken to cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// Its place in a sweep, where it is a cell of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cell: CellValues,
    /// Cost of the harness itself, measured before the first run.
    pub harness: HarnessCost,
    /// Contenders that could not run, and how to get them.
    pub skipped: Vec<Skipped>,
    /// Contenders that could not be run to their end, and why; what they had measured until then is kept, and proves nothing.
    #[serde(default)]
    pub failed: Vec<Skipped>,
    /// What stands against trusting the numbers of this batch as they are: one sentence each.
    pub threats: Vec<String>,
    /// The end of the batch; `None` while it runs or when it was killed.
    pub end: Option<End>,
}

/// How the batch ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Exit code of the command.
    pub exit_code: u8,
    /// The exit code in words, one sentence per reason.
    pub reasons: Vec<String>,
    /// UTC end, RFC 3339.
    pub ended_utc: String,
}

/// A contender that did not run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// Its name.
    pub contender: String,
    /// Why, and how to get what is missing.
    pub reason: String,
}

/// Where the batch ran.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: u32,
    /// Main memory in bytes.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// Name of the operating system.
    pub os: String,
    /// File system below the servers' data folders.
    pub filesystem: String,
    /// Median time of a 4 KiB write with fdatasync there.
    pub fsync_p50_ns: Option<u64>,
    /// 99th percentile of the same.
    pub fsync_p99_ns: Option<u64>,
    /// Median round trip of 64 bytes over loopback TCP.
    pub loopback_rtt_p50_ns: Option<u64>,
}

impl Machine {
    /// What makes figures comparable: the processor, how many, memory, and the file system below the servers.
    #[must_use]
    pub fn class(&self) -> String {
        let gib = (self.memory_bytes as f64 / f64::from(1 << 30)).round();
        format!("{}, {} processors, {gib} GiB, {}", self.cpu, self.cores, self.filesystem)
    }
}

/// Processors by party, as lists such as `0-2,7`; those of one party are no other's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinning {
    /// The driver's, with the agent, and with all nodes that are no processes of their own.
    pub driver: String,
    /// Those of each member of the contender's server, if it is a private one.
    pub members: Vec<String>,
    /// Those of each node that is a process of its own.
    pub nodes: Vec<String>,
}

/// What the plan of every run of the batch contains (block seeds differ; this is the first block's).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanFacts {
    /// Management nodes.
    pub nodes: u32,
    /// Tasks that arrive.
    pub tasks: u64,
    /// Steps in all trees of the tasks.
    pub steps: u64,
    /// Length of the arrival window.
    pub window_ns: u64,
    /// Tasks by kind, in the order of the catalogue.
    pub kinds: Vec<(String, u64)>,
    /// The most loaded resource and its load ρ = arrivals × (own hold + children's holds) ÷ level ÷ window.
    pub busiest: Option<(String, f64)>,
    /// Whether the scenario declares that it saturates a resource.
    pub saturating: bool,
    /// Whether every resource is of level 0, so that nothing has to be kept apart.
    #[serde(default)]
    pub unlimited: bool,
    /// Who asked, where tasks did not arrive by themselves; `tasks` are then what callers can come to at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// Overlaps that the control `none` should show on steps of level ≥ 1.
    pub overlaps_predicted: u64,
    /// How often the keys had to be folded for that control, because the plan predicts too few; 1 = not.
    pub control_fold: u32,
    /// How long its steps had to hold at least, since even one key would see too few; 0 = as planned.
    #[serde(default)]
    pub control_hold_ns: u64,
}

/// The harness's own cost, from a run of the control `noop`: without locks, what is left is ours.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HarnessCost {
    /// CPU per task where one follows the other at once, its part of the stored history included.
    pub cpu_per_task_ns: u64,
    /// Arrivals per second of the paced measurement, to which the fields below belong.
    pub rate_per_s: f64,
    /// CPU per task, timer thread excluded: mostly the kernel's, which wakes sleeping threads for each arrival.
    pub paced_cpu_per_task_ns: u64,
    /// CPU of the timer thread per task: it spins for the last 100 µs before each deadline.
    pub timer_cpu_per_task_ns: u64,
    /// 99th percentile of how late tasks started.
    pub lag_p99_ns: u64,
}
