//! What a mechanism answers: tokens, how steps and releases end, and what it promises.

use std::ops::Add as _;

use serde::{Deserialize, Serialize};

/// A fencing token: rises with every grant of a key; compared by generation, then sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// For a ring: the epoch at which this owner got the key. 0 for locks.
    pub generation: u64,
    /// Rises with every grant of one generation.
    pub sequence: u64,
}

/// How a step, or a task, ended. The ring's nodes send it to each other as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done, the effect is applied.
    Completed,
    /// The agent refused it.
    Rejected(String),
    /// It did not begin: queue full, node down.
    Refused(String),
    /// It ended without effect.
    Failed(String),
    /// The deadline passed while it waited, and it is proven that it will not run.
    TimedOut,
    /// It may have run, or may yet run.
    Unknown(String),
}

/// How a release ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReleaseRet {
    /// It was held until then.
    Released,
    /// It was no longer held.
    AlreadyLost,
    /// The answer did not come.
    Unknown(String),
}

/// Requests that a mechanism has sent to a server, by what they were for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operations {
    /// For the steps of the plan.
    pub load: u64,
    /// For the probes of the bystanders.
    pub bystander: u64,
    /// To keep leases and sessions.
    pub renewal: u64,
}

impl Operations {
    /// All of them.
    #[must_use]
    pub fn total(self) -> u64 {
        self.load.saturating_add(self.bystander).saturating_add(self.renewal)
    }
}

impl std::ops::Add for Operations {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            load: self.load.saturating_add(other.load),
            bystander: self.bystander.saturating_add(other.bystander),
            renewal: self.renewal.saturating_add(other.renewal),
        }
    }
}

impl std::ops::Sub for Operations {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        // Counters that are read one after the other while they move may disagree by one.
        Self {
            load: self.load.saturating_sub(earlier.load),
            bystander: self.bystander.saturating_sub(earlier.bystander),
            renewal: self.renewal.saturating_sub(earlier.renewal),
        }
    }
}

impl std::iter::Sum for Operations {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

/// What a mechanism promises beyond exclusion; nothing unless it is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Promises {
    /// A key that nobody is inside any more, also because its holder crashed, lets a waiter in within this.
    pub free_within_ns: Option<u64>,
    /// Where a member of its server that led is lost, the members that are left serve again within this.
    pub led_within_ns: Option<u64>,
    /// Steps of one resource enter in the order in which they were asked for, unless they were asked for within this
    /// of each other: two nodes' requests may pass each other on their way.
    pub in_order_beyond_ns: Option<u64>,
    /// A step that finds or creates its resource is run again, elsewhere, when the node where it runs is lost: at least
    /// once. Every other step, and every step of mechanisms that do not promise this, at most once.
    pub runs_again: bool,
    /// Steps of a resource run at one node, which owns it until the ring changes; not just where they were asked for.
    pub one_owner: bool,
}
