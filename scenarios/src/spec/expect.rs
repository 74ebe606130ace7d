//! What the checks must answer, as a scenario says it.

use harness::model::Holder;
use harness::record::Expected;
use serde::{Deserialize, Serialize};
use toml::Spanned;

/// What a check must answer for contenders of a class. The first that fits decides.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectSpec {
    /// Name of the check.
    pub check: Spanned<String>,
    /// The class of contender; left out: all.
    pub class: Option<Class>,
    /// Only where the agents' fencing is so; left out: either way.
    pub fencing: Option<bool>,
    /// Only where holders are so; left out: however they are.
    pub holder: Option<Holder>,
    /// The answer; `either` = reported, not judged.
    pub verdict: Expected,
    /// With `violated`: the share of the faults that hit a holder that must end in a token regression.
    pub share_of_hits: Option<f64>,
}

/// Contenders that behave alike when a node stands still or dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Locks with a lease: it ends without the holder's doing.
    Leased,
    /// Locks that are held as long as their connection lives.
    Unleased,
    /// The ring with work queues, that does nothing when it changes.
    Ring,
    /// The ring whose new owners wait for the old ones.
    RingDrain,
    /// The ring whose new owners start at once, under higher tokens.
    RingFenced,
    /// The queue of jobs in the database.
    Jobs,
    /// Controls.
    Control,
}
