//! Figures over commits: a line a batch, contender and metric, appended to a file of NDJSON.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One figure of one batch. A line of the file that `lockbench history --append` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrendPoint {
    /// The commit that was measured; empty where nobody knows.
    pub commit: String,
    /// UTC start of the batch, RFC 3339.
    pub started_utc: String,
    /// [`Machine::class`](super::Machine::class).
    pub machine_class: String,
    /// Name of the scenario.
    pub scenario: String,
    /// Digest of all that its figures depend on: points of another are another series.
    pub scenario_digest: String,
    /// Name of the contender.
    pub contender: String,
    /// Name of the metric.
    pub metric: String,
    /// The figure, in the unit of the metric.
    pub value: f64,
    /// The 99 % interval over blocks, where there is one.
    pub low: Option<f64>,
    /// Its other end.
    pub high: Option<f64>,
    /// Blocks that it is of.
    pub blocks: u32,
}

/// A short name of a text: equal texts have the same, and no others.
#[must_use]
pub fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
