//! What the figures of a run follow from, and by which digests it is known.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::manifest::SCHEMA_VERSION;
use crate::model::{Audit, Facts, Injected, Outage, Plan, Promises};

/// SHA-256 of the files beside a record that its figures follow from, hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Of `history.ndjson.zst`.
    pub history_sha256: String,
    /// Of `facts.json`.
    pub facts_sha256: String,
}

impl Evidence {
    /// The history of a run in its folder.
    pub const HISTORY: &str = "history.ndjson.zst";
    /// What is known of it beside its events, in the same folder.
    pub const FACTS: &str = "facts.json";

    /// Of the files in the folder of a run.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn of(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            history_sha256: sha256(&folder.join(Self::HISTORY))?,
            facts_sha256: sha256(&folder.join(Self::FACTS))?,
        })
    }
}

/// Of a file as it is, piece by piece.
fn sha256(path: &Path) -> io::Result<String> {
    let (mut file, mut sha, mut piece) = (File::open(path)?, Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => sha.update(&piece[..read]),
        }
    }
}

/// What must be known of a run, beside its plan and its events, to judge it again: [`Facts`] without the plan, which is drawn from
/// the seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFacts {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Stamp of the plan's time 0.
    pub origin_ns: u64,
    /// Stamp at which the drain was over.
    pub end_ns: u64,
    /// What the mechanism promises.
    pub promises: Promises,
    /// Times at which nodes could not work as planned.
    pub outages: Vec<Outage>,
    /// What became of the plan's faults.
    pub injected: Vec<Injected>,
    /// How much longer than its own work a task may take to be in time, where anybody asks.
    pub limit_ns: Option<u64>,
    /// What was found of the money that its tasks move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// How much earlier than by their clocks requests of nodes are stamped; absent where all have one clock.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub earlier_ns: u64,
}

fn is_zero(ns: &u64) -> bool {
    *ns == 0
}

impl StoredFacts {
    /// Those of a run.
    #[must_use]
    pub fn of(facts: &Facts) -> Self {
        let Facts { plan: _, origin_ns, end_ns, promises, outages, injected, limit_ns, audit, earlier_ns } =
            facts.clone();
        Self {
            schema_version: SCHEMA_VERSION,
            origin_ns,
            end_ns,
            promises,
            outages,
            injected,
            limit_ns,
            audit,
            earlier_ns,
        }
    }

    /// The facts of a run of that plan.
    #[must_use]
    pub fn of_plan(self, plan: Arc<Plan>) -> Facts {
        let Self {
            schema_version: _,
            origin_ns,
            end_ns,
            promises,
            outages,
            injected,
            limit_ns,
            audit,
            earlier_ns,
        } = self;
        Facts { plan, origin_ns, end_ns, promises, outages, injected, limit_ns, audit, earlier_ns }
    }
}
