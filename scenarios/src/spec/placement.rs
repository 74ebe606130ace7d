//! Where nodes live, and how they know each other.

use serde::{Deserialize, Serialize};

/// How the nodes of a ring know who is a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Members {
    /// They are told. Nobody notices that one has died.
    #[default]
    Static,
    /// Each writes heartbeats into a table in PostgreSQL and reads who else does; `detect_ms` is the suspicion.
    Postgres,
}

impl Placement {
    /// Whether each node is a process, which can be stopped and killed, and the agent is in another.
    #[must_use]
    pub fn is_of_processes(self) -> bool {
        self != Self::Single
    }
}

/// Where the nodes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// All in this process.
    #[default]
    Single,
    /// Each in a process of its own, on this machine.
    Process,
    /// Each in a process of its own, at hosts that join.
    Remote,
}
