//! A probe: a short run at one rate, which meets the service level or does not. Capacity is found from many.

use serde::{Deserialize, Serialize};

/// What a rate must meet to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceLevel {
    /// The most that the 99th percentile of [`Latency::excess`](super::Latency) may be.
    pub excess_ns: u64,
    /// The least part of the tasks that were due early enough which must complete within the arrival window (0 to 1).
    pub completed: f64,
    /// Tasks of a probe, at least.
    pub least_tasks: u64,
}

impl Default for ServiceLevel {
    /// 50 ms, 98 %, 1,000 tasks.
    fn default() -> Self {
        Self { excess_ns: 50_000_000, completed: 0.98, least_tasks: 1_000 }
    }
}

/// How many tasks of a probe were in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnTime {
    /// Tasks that completed and took no more than the limit beyond their own work.
    pub within: u64,
    /// Tasks whose planned work and the limit were over before the arrival window was.
    pub due: u64,
    /// How many of these completed before the window's end.
    pub completed: u64,
}

/// What a probe has beside what every run has.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// Tasks per second that were asked for.
    pub rate_per_s: f64,
    /// Whether what was due in time was done in time.
    pub on_time: OnTime,
    /// When it was stopped because it could no longer meet the service level, from the window's start; `None`: it ran to its end.
    pub cut_ns: Option<u64>,
    /// The load of the plan's hottest resource, ρ = arrivals × holds ÷ level, without any waiting.
    pub busiest: f64,
}
