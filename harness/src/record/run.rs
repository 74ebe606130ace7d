//! The result of one run.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use super::faults::FaultFacts;
use crate::model::{Closed, Operations};

use super::figures::{Awareness, Backlog, Elsewhere, Latency, Tally};
use super::hosts::HostFacts;
use super::probe::Probe;
use super::server::ServerFacts;
use super::sweep::CellValues;
use super::timeline::Timeline;
use super::verdict::CheckVerdict;

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
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
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
    /// Its place in a sweep, where it is of a cell of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cell: CellValues,
    /// Reasons why the run proves nothing; empty = valid.
    pub invalid: Vec<String>,
    /// Former attempts at this run that only a moment's standstill of the machine spoiled: why, and where they are kept.
    #[serde(default)]
    pub repeated: Vec<String>,
    /// Remarks on the run, with advice.
    pub warnings: Vec<String>,
    /// Where every planned task went.
    pub tasks: Tally,
    /// Those that another node took, since theirs was down.
    #[serde(default)]
    pub elsewhere: Elsewhere,
    /// Tasks per second that were asked for, where that is not the scenario's rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// Who asked, where tasks did not arrive by themselves: latencies are from the moment of asking then, and no rate was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Closed>,
    /// What it has besides where it is a probe for the capacity; such a run is judged, and is none of the rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
    /// What its contender carries by the probes of its block. Follows from the probes, so it is not stored; `None` where none
    /// were made, or they do not tell.
    #[serde(skip)]
    pub carries: Option<Carries>,
    /// Length of the arrival window; rates are over it.
    pub window_ns: u64,
    /// Tasks per second of the arrival window that completed within it; what the drain completes is backlog. Where all arrive
    /// in bursts, per second until the last completed.
    pub goodput_per_s: f64,
    /// What was left of the arrivals, which tells whether the rate was more than it can carry; `None` of a burst.
    pub backlog: Option<Backlog>,
    /// Distributions.
    pub latency: Latency,
    /// What those who wait and those who hold were told.
    #[serde(default)]
    pub awareness: Awareness,
    /// Completed tasks in each slice of [`SLICE_NS`] from the start.
    pub completed_per_slice: Vec<u64>,
    /// What the tasks that were due in each slice of [`SLICE_NS`] took beyond their own planned work, the mean, in ns; `None` where
    /// none was due. What has not ended is in it with what it had lasted at least.
    #[serde(default)]
    pub excess_per_slice_ns: Vec<Option<u64>>,
    /// How long the run before it was, which is not measured.
    #[serde(default)]
    pub warm_up_ns: u64,
    /// Answers of the checks.
    pub verdicts: Vec<CheckVerdict>,
    /// What was around the first violation of a contender, where one let two in, lost a write or took a stale one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
    /// What a grant survives.
    pub survives: Survives,
    /// How the loss of a node is noticed, negotiated values included.
    pub detection: String,
    /// The hosts that its nodes were at, where they were not on the driver's machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostFacts>,
    /// The server of this run; `None` for mechanisms without one.
    pub server: Option<ServerFacts>,
    /// Operations that the clients sent to the server, by what they were for; `None` where there is none.
    pub operations: Option<Operations>,
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
    /// What the machine did for others meanwhile; `None` in virtual time.
    pub others: Option<Others>,
    /// The measured wait that a control promised, for the control `noop`.
    pub programmed_delay_ns: Option<u64>,
    /// What was broken on purpose.
    #[serde(default)]
    pub faults: FaultFacts,
    /// What all of this follows from; `None` where no history was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}

/// The most that a run held at one time, as far as looks at `/proc` every 200 ms tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peak {
    /// Connections to the server; `None` where there is none, or not one of ours.
    pub connections: Option<u64>,
    /// Threads of the processes that the nodes live in, together; `None` in virtual time.
    pub threads: Option<u64>,
    /// Memory that those processes have to themselves, together; with nodes in one process that is the driver's too.
    #[serde(default)]
    pub node_bytes: Option<u64>,
    /// The same of the server; `None` where there is none, or not one of ours.
    #[serde(default)]
    pub server_bytes: Option<u64>,
}

/// What a contender carries by the probes of one block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Carries {
    /// Tasks per second.
    pub per_s: f64,
    /// Whether that is its own, and not of a ceiling that it is near to; else it carries that much at least.
    pub own: bool,
}

/// How the reasons of invalid runs begin of which only the machine is to blame.
pub const TOO_BUSY: &str = "the machine was too busy";

/// Processor time that went to others than the run: its driver, nodes and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Others {
    /// Stolen by the host of a virtual machine.
    pub stolen_ns: u64,
    /// Used by processes that are not ours.
    pub foreign_ns: u64,
    /// All that there was: processors times time.
    pub capacity_ns: u64,
}

impl Others {
    /// The share of the machine above which it was too busy to measure on.
    pub const MOST_SHARE: f64 = 0.02;

    /// The share of the machine that went to others.
    #[must_use]
    pub fn share(&self) -> f64 {
        (self.stolen_ns + self.foreign_ns) as f64 / self.capacity_ns.max(1) as f64
    }
}

impl RunRecord {
    /// Operations for the steps of the plan alone: what the bystanders ask and what keeps leases is none of its grants' cost.
    #[must_use]
    pub fn load_operations(&self) -> Option<u64> {
        self.operations.map(|operations| operations.load)
    }

    /// CPU of the server for the steps of the plan alone, by their share of the operations; `None` where that is not known.
    #[must_use]
    pub fn load_cpu_ns(&self) -> Option<u64> {
        let share = self.load_operations()? as f64 / self.operations?.total().max(1) as f64;
        self.server_cpu_ns.map(|ns| (ns as f64 * share) as u64)
    }

    /// Whether the machine was too busy with others for this run's lateness to be anybody's in it.
    #[must_use]
    pub fn machine_was_busy(&self) -> bool {
        self.others.is_some_and(|others| others.share() > Others::MOST_SHARE)
    }

    /// How far the clocks of its nodes may be off the driver's, where they are on other machines.
    #[must_use]
    pub fn clock_bound_ns(&self) -> Option<u64> {
        self.hosts.iter().filter_map(|host| host.clock_bound_ns).max()
    }

    /// Whether the control `noop` measured the delay that it programmed: the median within 10 %, or half a millisecond
    /// where that is more; and the 99th percentile, where there are tasks enough for one, no more than a quarter above it,
    /// or 5 ms. `None` for everybody else.
    #[must_use]
    pub fn delay_is_exact(&self) -> Option<bool> {
        let (programmed_ns, measured_ns) = (self.programmed_delay_ns?, self.latency.delay_ns()?);
        let clocks_ns = self.clock_bound_ns().unwrap_or(0);
        let exact = measured_ns.abs_diff(programmed_ns) <= (programmed_ns / 10).max(500_000) + clocks_ns;
        Some(exact && self.latency.tail_ns().is_none_or(|tail_ns| tail_ns <= tail_bound_ns(programmed_ns)))
    }
}

/// A tail has the hiccups of the machine in it, which are milliseconds and no share of what was programmed.
fn tail_bound_ns(programmed_ns: u64) -> u64 {
    programmed_ns + (programmed_ns / 4).max(5_000_000)
}

/// Length of a slice of [`RunRecord::completed_per_slice`].
pub const SLICE_NS: u64 = 100_000_000;

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
