//! The first violation of a run, with what was around it: who was inside when, until when leases lasted, what happened just before and after.

use serde::{Deserialize, Serialize};

/// What was around the first violation of a run, on the resource that it is about. Follows from the history. Times are from the start
/// of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timeline {
    /// The check that was violated.
    pub check: String,
    /// The resource.
    pub resource: String,
    /// When the violation showed.
    pub at_ns: u64,
    /// In whose section; `None`: that is not known.
    pub node: Option<u16>,
    /// Where it begins and ends.
    pub from_ns: u64,
    /// See [`Timeline::from_ns`].
    pub until_ns: u64,
    /// Who was inside in that time, by when they entered.
    pub stays: Vec<Stay>,
    /// How many more there were.
    pub more_stays: u64,
    /// What happened there: [`Timeline::BESIDE`] events before the violation at most, the one that shows it, and as many after.
    pub moments: Vec<Moment>,
}

impl Timeline {
    /// Events on each side of the violation.
    pub const BESIDE: usize = 5;

    /// Stays that are kept.
    pub const MOST_STAYS: usize = 24;
}

/// Somebody inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stay {
    /// At which node; `None`: its node never told of its grant.
    pub node: Option<u16>,
    /// Task and step.
    pub step: String,
    /// Slot.
    pub slot: Option<u32>,
    /// Token, `generation.sequence`.
    pub token: Option<String>,
    /// Entered.
    pub from_ns: u64,
    /// Out again; `None`: it never was.
    pub until_ns: Option<u64>,
    /// End of the lease, as known when it was granted.
    pub lease_until_ns: Option<u64>,
    /// How it ended.
    pub end: StayEnd,
}

/// How a stay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StayEnd {
    /// It wrote.
    Wrote,
    /// It left without effect.
    NoEffect,
    /// Its write was refused.
    Refused,
    /// Its node was gone.
    Abandoned,
    /// It had not ended when the run had.
    Open,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// When.
    pub at_ns: u64,
    /// At which node; `None`: the agent says so.
    pub node: Option<u16>,
    /// Task and step, and what.
    pub what: String,
    /// Whether it shows the violation.
    pub shows: bool,
}
