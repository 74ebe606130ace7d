//! Resources and kinds of task, as a scenario says them.

use harness::model::{Mode, ResourceKind};
use serde::Deserialize;
use toml::Spanned;

/// Resources of one kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceSpec {
    /// How many there are.
    pub count: u32,
    /// At least so many for each task a second: the more load, the more resources, so that none of them binds.
    #[serde(default)]
    pub per_rate: f64,
    /// How many steps may be inside one at once; 0 = unlimited.
    pub level: u32,
    /// Exponent of the Zipf distribution over them; 0 = uniform.
    #[serde(default)]
    pub zipf: f64,
}

/// A kind of task.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskSpec {
    /// Its name.
    pub name: Spanned<String>,
    /// Its share among all kinds.
    pub weight: f64,
    /// Its tree of steps.
    pub step: StepSpec,
}

/// A step of a kind of task. The root's resource is drawn; that of a child follows from its parent's, always the same
/// one: the same VM is always on the same host. A child of its parent's own kind is any of those behind it: the second of two
/// accounts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Kind of its resource; must be in `resources`.
    pub resource: Spanned<ResourceKind>,
    /// Exclusive unless said otherwise.
    #[serde(default)]
    pub mode: Mode,
    /// Own duration in seconds before scaling; none = 0.
    #[serde(default)]
    pub hold_s: Duration,
    /// The step finds its resource or creates it: in so many seconds before scaling if nobody has done so yet in the run,
    /// else it only looks, for `hold_s`.
    pub create_s: Option<Duration>,
    /// Shifts the child's resource: the next one after the parent's.
    #[serde(default)]
    pub offset: u32,
    /// Run in order while this step holds its slot.
    #[serde(default)]
    pub steps: Vec<StepSpec>,
}

/// How long a step takes, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Duration {
    /// Always as long.
    Constant(f64),
    /// Log-normal, by median and 99th percentile.
    LogNormal([f64; 2]),
}

impl Default for Duration {
    fn default() -> Self {
        Self::Constant(0.0)
    }
}
