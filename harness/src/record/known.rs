//! Known failures, each a batch of its own: what `lockbench matrix` runs.

use serde::{Deserialize, Serialize};

use super::fewer::FewerClaim;

/// Which failures, and where the batch of each is. `matrix.json`, in the folder that has the batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixRecord {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// The seed of every row.
    pub seed: u64,
    /// UTC start, RFC 3339.
    pub started_utc: String,
    /// Whether it is the quick one: fewer rows, shorter.
    pub quick: bool,
    /// Who alone takes part, as the command line said; empty: whoever the scenarios name.
    pub contenders: Vec<String>,
    /// One failure each.
    pub rows: Vec<MatrixRow>,
}

/// A known failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixRow {
    /// Name of the row.
    pub name: String,
    /// What goes wrong, in a few words.
    pub failure: String,
    /// Pages where it was published.
    pub published: Vec<String>,
    /// The scenario that shows it.
    pub scenario: String,
    /// The scenario as it runs here, TOML.
    pub spec_toml: String,
    /// What runs this row alone, but for the contender.
    pub command: String,
    /// The folder of its batch, within that of the matrix; it need not be there yet.
    pub folder: String,
    /// Whether the resource refuses stale tokens there, or holders stop by their own clock.
    #[serde(default)]
    pub guarded: bool,
    /// How long its batch takes, about, in seconds.
    #[serde(default)]
    pub takes_s: f64,
    /// Who does it less often than another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fewer: Option<FewerClaim>,
}

impl MatrixRecord {
    /// The name of the file.
    pub const FILE: &str = "matrix.json";
}
