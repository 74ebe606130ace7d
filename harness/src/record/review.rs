//! A review: one workload put to several tests, and what is required of whoever is to carry it.

use serde::{Deserialize, Serialize};

/// What was asked, and where the batch of each phase is. `review.json`, in the folder that has the batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewRecord {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// The seed of every phase.
    pub seed: u64,
    /// UTC start, RFC 3339.
    pub started_utc: String,
    /// How long it was to take, about.
    pub budget_s: f64,
    /// Who alone takes part, as the command line said; empty: whoever the scenario names.
    pub contenders: Vec<String>,
    /// Where the requirements came from, in words.
    pub required_by: String,
    /// What is required, in their order.
    pub requirements: Vec<Requirement>,
    /// The tests, in their order.
    pub phases: Vec<ReviewPhase>,
    /// Tests that were left out, and why.
    pub left_out: Vec<(String, String)>,
}

/// One test of the workload: a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReviewPhase {
    /// Its name; requirements name it.
    pub name: String,
    /// What it asks.
    pub question: String,
    /// The scenario as it runs here, TOML.
    pub spec_toml: String,
    /// Whether the capacity of each is looked for, and how long that may take.
    pub capacity_s: Option<f64>,
    /// The folder of its batch, within that of the review; it need not be there yet.
    pub folder: String,
}

/// Something that is required of a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// In words.
    pub what: String,
    /// In which phase it is seen.
    pub during: String,
    /// What exactly.
    pub demand: Demand,
}

/// What exactly is required.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Demand {
    /// A figure is so much at most, in the metric's unit.
    AtMost {
        /// Name of the metric.
        metric: String,
        /// The limit.
        limit: f64,
    },
    /// A figure is so much at least.
    AtLeast {
        /// Name of the metric.
        metric: String,
        /// The limit.
        limit: f64,
    },
    /// A check holds.
    Holds {
        /// Name of the check.
        check: String,
    },
}

impl ReviewRecord {
    /// The name of the file.
    pub const FILE: &str = "review.json";
}
