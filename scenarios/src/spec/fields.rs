//! The fields of a scenario file.

use std::collections::BTreeMap;

use harness::engine::WhenBusy;
use harness::model::{EntryPolicy, Holder, ResourceKind};
use harness::servers::{Durability, Topology};
use serde::Deserialize;
use toml::Spanned;

use super::arrivals::ArrivalsSpec;
use super::expect::ExpectSpec;
use super::faults::FaultSpec;
use super::known::{KnownSpec, settings};
use super::level::LevelSpec;
use super::placement::{Members, Placement};
use super::prices::PricesSpec;
use super::servers::ServerSpec;
use super::tasks::{ResourceSpec, TaskSpec};
use super::word::word;

/// A scenario: which tasks, how hot, against which contenders.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioSpec {
    /// Name; the batch directory starts with it.
    pub name: String,
    /// What it asks, and what is fair or unfair about it.
    pub summary: String,
    /// Management nodes.
    pub nodes: u16,
    /// Tasks per second, Poisson arrivals; leave out with `burst`.
    pub rate_per_s: Option<f64>,
    /// Length of the arrival window; leave out with a single `burst`.
    pub duration_s: Option<f64>,
    /// This many tasks, all at once, instead of a rate.
    pub burst: Option<u32>,
    /// Such a burst again and again, at this distance, for `duration_s`. The tasks of one are then all on one resource, the
    /// next one each time.
    pub burst_every_s: Option<f64>,
    /// A scheduled job instead: every node asks for it at each tick, at this distance, for `duration_s`. The tasks of one tick are
    /// all on one resource, the next one each time.
    pub tick_every_s: Option<f64>,
    /// With it: how far each node's clock is behind, by number; those that are not in it go right.
    #[serde(default)]
    pub clocks_ms: Vec<f64>,
    /// How tasks arrive where that is not independently at `rate_per_s`: at equal distances, on a ramp, a sine, in steps, as
    /// recorded, or not by themselves but of callers in a closed loop.
    pub arrivals: Option<ArrivalsSpec>,
    /// Length of the run before each measured one, on the same server; not measured.
    #[serde(default)]
    pub warm_up_s: f64,
    /// How often each contender runs.
    #[serde(default = "one")]
    pub blocks: u32,
    /// Deadline of each task, from its intended start; bounds its waiting.
    pub deadline_ms: f64,
    /// Time to live, session timeout and membership suspicion alike.
    pub detect_ms: f64,
    /// Divides every duration of the tasks.
    #[serde(default = "one_f64")]
    pub time_scale: f64,
    /// Replaces the own hold of every step, after scaling; creations take as long as they take.
    pub hold_ms: Option<f64>,
    /// What holders do about a lost lease.
    #[serde(default)]
    pub holder: Holder,
    /// Where the nodes live.
    #[serde(default)]
    pub placement: Placement,
    /// How the nodes of a ring know who is a member.
    #[serde(default)]
    pub membership: Members,
    /// What users do whose node is down: `sticky`, they know no other; `any`, they come to the next one that lives; `failover`,
    /// and those who had asked already ask there again, under the same id, which is applied once.
    #[serde(default)]
    pub entry: EntryPolicy,
    /// Whether the agents reject stale tokens.
    #[serde(default)]
    pub fencing: bool,
    /// What the agents do with an entry while somebody is inside the slot: `admit` it, so that an overlap shows,
    /// `refuse` it (a resource's state machine), or let it wait (`serialise`). The latter two hide races.
    #[serde(default)]
    pub when_busy: WhenBusy,
    /// What an acknowledged write of a server survives.
    #[serde(default, deserialize_with = "word")]
    pub durability: Durability,
    /// Of how many members a server is: contenders whose server cannot be so are skipped.
    #[serde(default, deserialize_with = "word")]
    pub topology: Topology,
    /// Declares that a resource is loaded beyond 0.8 on purpose.
    #[serde(default)]
    pub saturating: bool,
    /// The delay that the control `noop` is programmed with, besides `rtt_ms`.
    #[serde(default)]
    pub noop_delay_ms: f64,
    /// What is broken on purpose.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
    /// Round trip that is added to every link between a node and its server, another node of the ring, and the agent where
    /// that is in another process. The controls `noop` and `none`, which ask nobody, cross one such link for each grant;
    /// `local-mutex` and `ring-local` cross none: they tell what exclusion takes where the network is free.
    #[serde(default)]
    pub rtt_ms: f64,
    /// How many faults of each kind must take effect for a verdict to mean anything, where `least` of the fault does not say.
    #[serde(default = "three")]
    pub least_faults: u32,
    /// What a rate must meet to be carried: what `lockbench capacity` looks for.
    #[serde(default)]
    pub service_level: LevelSpec,
    /// What servers, processors and requests cost, for the costs in the report.
    #[serde(default)]
    pub prices: PricesSpec,
    /// What the checks must answer; where nothing is said, that they hold.
    #[serde(default)]
    pub expect: Vec<ExpectSpec>,
    /// Known failures that it shows, for `lockbench matrix`.
    #[serde(default)]
    pub known: Vec<KnownSpec>,
    /// What is other in its short form, which `--small` runs: less load, a shorter window, and how many faults must take effect in
    /// it; keys may have dots.
    pub small: Option<toml::Table>,
    /// Seed of everything drawn; `--seed` replaces it.
    pub seed: Option<u64>,
    /// Who takes part, controls included.
    pub contenders: Vec<Spanned<String>>,
    /// How many resources of each kind there are.
    pub resources: BTreeMap<ResourceKind, ResourceSpec>,
    /// Servers that already run, by the name of the product, instead of private ones.
    #[serde(default)]
    pub servers: BTreeMap<String, ServerSpec>,
    /// Kinds of task.
    pub tasks: Vec<TaskSpec>,
}

/// Of a run beside its window: servers start, connections open, the last tasks end.
const AROUND_A_RUN_S: f64 = 5.0;

impl ScenarioSpec {
    /// How long a run takes, about, with what is around it.
    #[must_use]
    pub fn takes_s(&self) -> f64 {
        self.duration_s.unwrap_or(self.deadline_ms / 1e3) + self.warm_up_s + AROUND_A_RUN_S
    }

    /// The settings of its short form; `None` where it has none.
    #[must_use]
    pub fn small_settings(&self) -> Option<Vec<(String, String)>> {
        self.small.as_ref().map(settings)
    }

    /// How many resources of a kind there are at the scenario's rate.
    ///
    /// # Panics
    /// When the scenario has none of that kind; every step's was found to be there.
    #[must_use]
    pub fn count(&self, kind: ResourceKind) -> u32 {
        let resource = &self.resources[&kind];
        let asked = resource.per_rate * self.rate_per_s.unwrap_or(0.0);
        // A float that is too large becomes the greatest whole number there is.
        resource.count.max((asked.ceil() as u32).min(MOST_RESOURCES))
    }
}

/// Of one kind, at most.
pub(super) const MOST_RESOURCES: u32 = 1_000_000;

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}

fn one_f64() -> f64 {
    1.0
}
