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
