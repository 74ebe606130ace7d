//! Counts and distributions of a run, as they are stored.

use serde::{Deserialize, Serialize};

use crate::model::Histogram;

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
    /// Ended early, whatever ended it, after a step of it had written: neither done nor undone.
    pub partial: u64,
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

/// Tasks that another node took, since the one where they were to enter was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Elsewhere {
    /// That came to it.
    pub came: u64,
    /// That returned there: those that came, and those whose users had waited at the node that died and asked again.
    pub returned: u64,
}

/// Tasks that were due and had not returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backlog {
    /// In the middle of the arrival window.
    pub middle: u64,
    /// At its end.
    pub end: u64,
}

/// Distributions of one run. Responses and waits are over all planned work: what did not finish is in them with its
/// deadline, as lasting that long at least. All over *steps* of level ≥ 1 unless said otherwise, or over all steps where every resource is of
/// level 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Whole tasks: intended start to Returned; without an end where they did not complete.
    pub response: Histogram,
    /// Whole tasks: what the response is longer than the planned work of all its steps. What has not ended is in it with what it
    /// had lasted when the run was over.
    #[serde(default)]
    pub excess: Histogram,
    /// Whole tasks that did not complete: intended start to Returned.
    pub response_failed: Histogram,
    /// Asked to Entered; the first step of a task counts from the intended start. Without an end where it did not enter.
    pub wait: Histogram,
    /// Left to Returned at the asking node: what the release costs the caller.
    pub release: Histogram,
    /// Left to the next Entered of the same slot, where the next one was already waiting.
    pub hand_over: Histogram,
    /// The bystander: one step on a private key, zero hold, on a schedule, from when it was due. Without an end where it did
    /// not complete.
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
        self.less_lag_ns(0.5)
    }

    /// The same at the 99th percentile; `None` where there are too few tasks for one.
    #[must_use]
    pub fn tail_ns(&self) -> Option<u64> {
        self.wait.quantile(0.99)?;
        self.less_lag_ns(0.99)
    }

    fn less_lag_ns(&self, quantile: f64) -> Option<u64> {
        Some(self.wait.quantile_ns(quantile)?.saturating_sub(self.lag.quantile_ns(quantile).unwrap_or(0)))
    }
}

/// What those who wait and those who hold were told. Over steps of level ≥ 1, or over all where every resource is of level 0.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Awareness {
    /// Steps that were asked for.
    pub asked: u64,
    /// Of these, how many waited until their own deadline, or the end of the run, in silence: no error was told, and nobody
    /// was granted the resource in the meantime.
    pub silent: u64,
    /// The most that waited at one time.
    pub most_waiting: u64,
    /// How long leases still lasted when they were granted.
    pub validity: Histogram,
    /// How many had ended by then.
    pub expired: u64,
    /// Of holders whose slot was granted to another before they left it: from that grant until they were told. Without an
    /// end where they never were.
    pub knew: Histogram,
}
