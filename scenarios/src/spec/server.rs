//! How private servers are to be, as a scenario says it.

use serde::{Deserialize, Serialize};

/// What an acknowledged write of a server survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Flushed to disk.
    #[default]
    Durable,
    /// Not flushed, in memory where there is room.
    Memory,
}

/// Of how many members a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// One.
    #[default]
    Single,
    /// Three, of which one leads; etcd and ZooKeeper only.
    Replicated,
}
