//! The service level of a scenario.

use harness::record::ServiceLevel;
use serde::Deserialize;

/// `[service_level]`: what a rate must meet to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LevelSpec {
    /// The most that tasks may take beyond their own planned work, at the 99th percentile.
    pub p99_ms: f64,
    /// The least part of the tasks due in time that must complete within the arrival window.
    pub completed: f64,
    /// Tasks of a probe, at least.
    pub tasks: u32,
}

impl Default for LevelSpec {
    fn default() -> Self {
        let ServiceLevel { excess_ns, completed, least_tasks } = ServiceLevel::default();
        Self { p99_ms: excess_ns as f64 / 1e6, completed, tasks: least_tasks as u32 }
    }
}

impl From<LevelSpec> for ServiceLevel {
    fn from(level: LevelSpec) -> Self {
        Self {
            excess_ns: (level.p99_ms * 1e6) as u64,
            completed: level.completed,
            least_tasks: u64::from(level.tasks),
        }
    }
}
