//! What a batch leaves behind: one [`Manifest`] per batch, one [`RunRecord`] per run. This is the only module of
//! this crate that `reports` reads; its JSON is the stored format, versioned by [`SCHEMA_VERSION`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use crate::measure::Histogram;

/// Version of the stored format; a reader refuses any other.
pub const SCHEMA_VERSION: u32 = 1;

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
    /// The machine.
    pub machine: Machine,
    /// What the plan contains.
    pub plan: PlanFacts,
    /// Blocks asked for: each contender runs once per block.
    pub blocks: u32,
    /// Cost of the harness itself, measured before the first run.
    pub harness: HarnessCost,
    /// Contenders that could not run, and how to get them.
    pub skipped: Vec<Skipped>,
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
    /// Overlaps that the control `none` should show on steps of level ≥ 1.
    pub overlaps_predicted: u64,
    /// How often the keys had to be folded for that control, because the plan predicts too few; 1 = not.
    pub control_fold: u32,
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

/// Whether a row is compared or checks the bench itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Compared.
    Contender,
    /// Stands apart: crosses nodes for free or excludes nothing.
    Control,
}

/// The result of one run = contender × scenario × block. `<block>-<contender>/record.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Name of the contender.
    pub contender: String,
    /// One sentence on how it works.
    pub summary: String,
    /// Contender or control.
    pub role: Role,
    /// Block, from 1.
    pub block: u32,
    /// Place in the order of all runs of the batch, from 0.
    pub order: u32,
    /// Digest of the plan, hex.
    pub plan_digest: String,
    /// Reasons why the run proves nothing; empty = valid.
    pub invalid: Vec<String>,
    /// Former attempts at this run that only a moment's standstill of the machine spoiled: why, and where they are kept.
    #[serde(default)]
    pub repeated: Vec<String>,
    /// Remarks on the run, with advice.
    pub warnings: Vec<String>,
    /// Where every planned task went.
    pub tasks: Tally,
    /// Length of the arrival window; rates are over it.
    pub window_ns: u64,
    /// Completed tasks per second of the arrival window.
    pub goodput_per_s: f64,
    /// Distributions.
    pub latency: Latency,
    /// Completed tasks in each slice of [`SLICE_NS`] from the start.
    pub completed_per_slice: Vec<u64>,
    /// Answers of the checks.
    pub verdicts: Vec<CheckVerdict>,
    /// What a grant survives.
    pub survives: Survives,
    /// How the loss of a node is noticed, negotiated values included.
    pub detection: String,
    /// The server of this run; `None` for mechanisms without one.
    pub server: Option<ServerFacts>,
    /// Operations that the clients sent to the server; `None` where there is none.
    pub operations: Option<u64>,
    /// Steps that were granted.
    pub grants: u64,
    /// CPU of the server during the run.
    pub server_cpu_ns: Option<u64>,
    /// CPU of this process during the run, timer thread excluded.
    pub process_cpu_ns: u64,
    /// CPU of the timer thread during the run.
    pub timer_cpu_ns: u64,
    /// The most that it held at one time.
    #[serde(default)]
    pub peak: Peak,
    /// The measured wait that a control promised, for the control `noop`.
    pub programmed_delay_ns: Option<u64>,
    /// What was broken on purpose.
    #[serde(default)]
    pub faults: FaultFacts,
}

/// The most that a run held at one time, as far as looks at `/proc` every 200 ms tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// Connections to the server; `None` where there is none, or not one of ours.
    pub connections: Option<u64>,
    /// Threads of the processes that the nodes live in, together; `None` in virtual time.
    pub threads: Option<u64>,
}

/// What was broken on purpose in a run, and what came of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultFacts {
    /// Faults of the plan.
    pub planned: u64,
    /// Those whose time came, in order.
    pub faults: Vec<FaultRecord>,
    /// Entries before the first fault: what the faults are compared with.
    pub entries_before: u64,
    /// Whether the last task to return completed: the system came back.
    pub last_completed: bool,
    /// Faults that must hit a holder for a verdict to mean anything.
    pub least_hits: u64,
    /// The share of them that the scenario promises to end in a token regression.
    pub least_share: Option<f64>,
    /// Within which the contender declares that the key of a killed holder is free.
    pub freed_bound_ns: Option<u64>,
}

/// One fault. Times are from the start of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRecord {
    /// What was done: `pause`, `kill`, `join` …
    pub verb: String,
    /// `holder`, `server`, `leader` or the node.
    pub target: String,
    /// The node that was hit.
    pub node: Option<u16>,
    /// The member that was hit, as the one that led; from 0, in the order of the server's endpoints.
    #[serde(default)]
    pub member: Option<u32>,
    /// When it was planned.
    pub planned_ns: u64,
    /// When it began; `None`: it did not come about.
    pub from_ns: Option<u64>,
    /// When it was taken back.
    pub until_ns: Option<u64>,
    /// Tries at which whoever was aimed at had just left.
    pub misses: u32,
    /// Sections that were inside at the node; of a change of the ring, those inside keys that moved.
    pub hits: u64,
    /// Of these, how many wrote although a later token had entered their slot.
    pub regressions: u64,
    /// Of these, how many had their write refused by the agent.
    pub rejections: u64,
    /// From its beginning to the next entry of a slot that was hit, the longest.
    pub freed_ns: Option<u64>,
    /// The longest time in which nobody entered anything, from its beginning to the first entry after its end.
    #[serde(default)]
    pub unserved_ns: Option<u64>,
    /// Keys that were entered at another node than before, until the next fault; where a key has one owner.
    #[serde(default)]
    pub moved_keys: u64,
    /// The longest time for which somebody waited for one of these and nobody was inside, before its new owner let somebody in.
    #[serde(default)]
    pub stall_ns: Option<u64>,
    /// Tasks that completed in the second before it.
    #[serde(default)]
    pub completed_before: u64,
    /// Tasks that completed in the first second of it.
    #[serde(default)]
    pub completed_after: u64,
    /// Why it could not be injected, or not be taken back.
    pub failure: Option<String>,
}

impl FaultFacts {
    /// Faults that came about.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.faults.iter().filter(|fault| fault.from_ns.is_some()).count() as u64
    }

    /// Faults that hit a holder.
    #[must_use]
    pub fn hit_a_holder(&self) -> u64 {
        self.faults.iter().filter(|fault| fault.hits > 0).count() as u64
    }

    /// Of these, those that ended in a token regression.
    #[must_use]
    pub fn regressed(&self) -> u64 {
        self.faults.iter().filter(|fault| fault.regressions > 0).count() as u64
    }
}

impl RunRecord {
    /// Whether the control `noop` measured the delay that it programmed: within 10 %, or half a millisecond where
    /// that is more. `None` for everybody else.
    #[must_use]
    pub fn delay_is_exact(&self) -> Option<bool> {
        let (programmed_ns, measured_ns) = (self.programmed_delay_ns?, self.latency.delay_ns()?);
        Some(measured_ns.abs_diff(programmed_ns) <= (programmed_ns / 10).max(500_000))
    }
}

/// Length of a slice of [`RunRecord::completed_per_slice`].
pub const SLICE_NS: u64 = 100_000_000;

/// planned = the sum of all other fields (conservation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// In the plan.
    pub planned: u64,
    /// Not given to any node, because the run ended first.
    pub not_offered: u64,
    /// Done, effect applied.
    pub completed: u64,
    /// Refused by the agent.
    pub rejected: u64,
    /// Refused before it began: queue full, node down.
    pub refused: u64,
    /// Ended without effect.
    pub failed: u64,
    /// Deadline passed and withdrawal proven.
    pub timed_out: u64,
    /// May have happened.
    pub unknown: u64,
    /// Still open when the drain ended.
    pub unfinished: u64,
}

/// Distributions of one run; all over *steps* of level ≥ 1 unless said otherwise, or over all steps where every resource is of
/// level 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Whole tasks that completed: intended start to Returned.
    pub response: Histogram,
    /// Whole tasks that did not complete: intended start to Returned.
    pub response_failed: Histogram,
    /// Asked to Entered; the first step of a task counts from the intended start.
    pub wait: Histogram,
    /// Left to Returned at the asking node: what the release costs the caller.
    pub release: Histogram,
    /// Left to the next Entered of the same slot, where the next one was already waiting.
    pub hand_over: Histogram,
    /// The bystander: one step on a private key, zero hold, closed loop.
    pub bystander: Histogram,
    /// How late the driver started tasks.
    pub lag: Histogram,
    /// Where tasks arrive in bursts: from the intended start of each until the last of its tasks that completed had
    /// returned.
    #[serde(default)]
    pub burst: Histogram,
}

impl Latency {
    /// What the mechanism itself took to grant, at the median: the wait, less how late the driver was to ask.
    #[must_use]
    pub fn delay_ns(&self) -> Option<u64> {
        Some(self.wait.quantile_ns(0.5)?.saturating_sub(self.lag.quantile_ns(0.5).unwrap_or(0)))
    }
}

/// A check's answer about one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckVerdict {
    /// Name of the check, such as `exclusion`.
    pub check: String,
    /// The answer.
    pub verdict: Verdict,
    /// How many things the check looked at (entries, writes, tasks).
    pub examined: u64,
    /// How many of them violated it.
    pub violations: u64,
    /// What the scenario promises of this check for this contender.
    pub expected: Expected,
    /// What was measured beside the answer.
    #[serde(default)]
    pub figures: Vec<CheckFigure>,
}

/// What a check measured beside its answer, such as how long two sections overlapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckFigure {
    /// What it is, in words.
    pub name: String,
    /// How much.
    pub amount: Amount,
}

/// A number with its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Amount {
    /// So many; those of several runs add up.
    Count(u64),
    /// So long; of several runs, the longest counts.
    Ns(u64),
}

/// Three-valued answer of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing speaks against it, and enough happened to tell.
    Holds,
    /// Violated, with the smallest excerpt that shows it, one event a line.
    Violated {
        /// Lines of the excerpt.
        witness: Vec<String>,
    },
    /// Cannot be told.
    Unknown {
        /// Why.
        reason: String,
    },
    /// The question does not arise.
    NotApplicable {
        /// Why.
        reason: String,
    },
}

/// What a scenario promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// Must hold; a violation is exit code 3.
    Holds,
    /// Must be violated (a control that must be caught, a race that must show).
    Violated,
    /// Reported, not judged.
    Either,
}

/// What a grant survives, in words.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survives {
    /// The holder's node crashes.
    pub node_crash: String,
    /// The server (or, for a ring, the owner) is killed and restarted.
    pub server_kill: String,
    /// The machine loses power.
    pub power_loss: String,
}

/// The server of a run, as it answered itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFacts {
    /// Product.
    pub name: String,
    /// Version.
    pub version: String,
    /// Effective durability settings.
    pub settings: BTreeMap<String, String>,
    /// Started by us for this run, or one that already ran (its address, password replaced).
    pub origin: String,
}

/// Writes a manifest or a record as JSON; the file appears whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial)?;
    serde_json::to_writer_pretty(&mut file, value)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(partial, path)
}
