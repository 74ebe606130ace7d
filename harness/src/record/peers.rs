//! Other people's locks beside ours: several questions, each a batch of its own.

use serde::{Deserialize, Serialize};

/// Which questions, who could not take part, and where the batch of each question is. `peers.json`, in the folder that has the batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersRecord {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// The seed of every question.
    pub seed: u64,
    /// UTC start, RFC 3339.
    pub started_utc: String,
    /// The command that asks all of it again.
    pub command: String,
    /// Who takes part over the port: folders, and names of our own locks.
    pub with: Vec<String>,
    /// Who could not be built, and how to get what is missing.
    pub left_out: Vec<(String, String)>,
    /// The questions, in their order.
    pub questions: Vec<PeersQuestion>,
}

/// One question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersQuestion {
    /// Its name.
    pub name: String,
    /// In words.
    pub question: String,
    /// The scenario that answers it, as it runs here, TOML.
    pub spec_toml: String,
    /// The folder of its batch, within that of all; it need not be there yet.
    pub folder: String,
}

impl PeersRecord {
    /// The name of the file.
    pub const FILE: &str = "peers.json";
}
