//! The server of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The server of a run, as it answered itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerFacts {
    /// Product.
    pub name: String,
    /// Version.
    pub version: String,
    /// Effective durability settings.
    pub settings: BTreeMap<String, String>,
    /// Started by us for this run, or one that already ran (its address, password replaced).
    pub origin: String,
    /// Each of its members, of a server that already ran, before the first run; empty of a private one, which is on this machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberFacts>,
}

/// The value of a setting that this login is not told.
pub const UNSEEN: &str = "unknown";

impl ServerFacts {
    /// Settings that decide what a grant is worth, and that could not be seen.
    #[must_use]
    pub fn unseen(&self) -> Vec<&str> {
        let unseen = self.settings.iter().filter(|(_, value)| *value == UNSEEN);
        unseen.map(|(name, _)| name.as_str()).collect()
    }
}

/// One of the servers that a URL stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberFacts {
    /// Its `host:port`.
    pub place: String,
    /// What it does among the others, in the product's word; empty where it is alone or that is not told.
    pub role: String,
    /// Median of the least request there is.
    pub round_trip_p50_ns: Option<u64>,
    /// How far its clock was from this machine's, where it tells the time.
    pub clock: Option<ClockDifference>,
    /// Why it could not be asked.
    pub failure: Option<String>,
}

/// How far two clocks are apart, by the exchange of least delay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockDifference {
    /// The server's less this machine's.
    pub ahead_ns: i64,
    /// The truth is no further from that: half of what the exchange took, and the step in which the server tells the time.
    pub error_ns: u64,
}
