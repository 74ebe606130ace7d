//! What was asked: a scenario file, strict about its keys. What will run is a [`Plan`](harness::model::Plan), drawn by
//! [`crate::workload`].

mod arrivals;
mod faults;

use std::collections::BTreeMap;

use harness::engine::{Ways, WhenBusy};
use harness::judge::checks;
use harness::model::{Holder, LinkTo, Mode, ResourceKind};
use harness::record::Expected;
use serde::{Deserialize, Serialize};
use toml::Spanned;

pub use self::arrivals::Arrivals;
pub use self::faults::{FaultSpec, VerbSpec};

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
    /// Whether the agents reject stale tokens.
    #[serde(default)]
    pub fencing: bool,
    /// What the agents do with an entry while somebody is inside the slot: `admit` it, so that an overlap shows,
    /// `refuse` it (a resource's state machine), or let it wait (`serialise`). The latter two hide races.
    #[serde(default)]
    pub when_busy: WhenBusy,
    /// What an acknowledged write of a server survives.
    #[serde(default)]
    pub durability: Durability,
    /// Of how many members a server is: contenders whose server cannot be so are skipped.
    #[serde(default)]
    pub topology: Topology,
    /// Declares that a resource is loaded beyond 0.8 on purpose.
    #[serde(default)]
    pub saturating: bool,
    /// The delay that the control `noop` is programmed with.
    #[serde(default)]
    pub noop_delay_ms: f64,
    /// What is broken on purpose.
    #[serde(default)]
    pub faults: Vec<FaultSpec>,
    /// Round trip that is added to every link between a node and its server, another node of the ring, and the agent where
    /// that is in another process; controls are spared.
    #[serde(default)]
    pub rtt_ms: f64,
    /// How many faults must hit a holder for a verdict to mean anything, where faults are aimed at holders.
    #[serde(default = "three")]
    pub least_hits: u32,
    /// What the checks must answer; where nothing is said, that they hold.
    #[serde(default)]
    pub expect: Vec<ExpectSpec>,
    /// Seed of everything drawn; `--seed` replaces it.
    pub seed: Option<u64>,
    /// Who takes part, controls included.
    pub contenders: Vec<Spanned<String>>,
    /// How many resources of each kind there are.
    pub resources: BTreeMap<ResourceKind, ResourceSpec>,
    /// Kinds of task.
    pub tasks: Vec<TaskSpec>,
}

/// Resources of one kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceSpec {
    /// How many there are.
    pub count: u32,
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
/// one: the same VM is always on the same host.
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

/// Where the nodes live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// All in this process.
    #[default]
    Single,
    /// Each in a process of its own, on this machine.
    Process,
}

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}

fn one_f64() -> f64 {
    1.0
}

/// Why a scenario was refused. Every message names the place and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct SpecError {
    /// File and line, or the flag.
    pub place: String,
    /// What is wrong and what to do about it.
    pub what: String,
}

/// A scenario with the text that it came from, for messages and for the record.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// The parsed text.
    pub spec: ScenarioSpec,
    /// The text as it will run, with every `--set` in it.
    pub text: String,
    /// Where it came from.
    pub origin: String,
}

impl Scenario {
    /// Parses a text, then puts `key=value` settings into it, later ones winning. Keys may have dots:
    /// `resources.vm.count=10`.
    ///
    /// # Errors
    /// When the text or a setting is no valid TOML, a key is unknown or missing, or a value has the wrong type or
    /// an impossible size.
    pub fn parse(origin: &str, text: &str, settings: &[(String, String)]) -> Result<Self, SpecError> {
        // The file alone first, so that its own errors carry its own lines.
        let mut scenario = Self::parse_text(origin, text)?;
        if !settings.is_empty() {
            let mut table: toml::Table = toml::from_str(text).map_err(|error| toml_error(origin, &error))?;
            for (key, value) in settings {
                set(&mut table, key, value)?;
            }
            let keys = settings.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ");
            let text = toml::to_string(&table).expect("a table that was parsed can be written");
            scenario = Self::parse_text(&format!("{origin} with {keys} set"), &text)?;
        }
        scenario.validate()?;
        Ok(scenario)
    }

    fn parse_text(origin: &str, text: &str) -> Result<Self, SpecError> {
        let spec = toml::from_str(text).map_err(|error| toml_error(origin, &error))?;
        Ok(Self { spec, text: text.to_owned(), origin: origin.to_owned() })
    }

    /// An error at the place of a spanned value.
    #[must_use]
    pub fn error_at(&self, span: std::ops::Range<usize>, what: impl Into<String>) -> SpecError {
        let line = self.text[..span.start.min(self.text.len())].matches('\n').count() + 1;
        SpecError { place: format!("{}, line {line}", self.origin), what: what.into() }
    }

    /// An error at the first line that sets a key.
    #[must_use]
    pub fn error_of(&self, key: &str, what: impl Into<String>) -> SpecError {
        let sets = |line: &&str| {
            line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
        };
        let start = self
            .text
            .lines()
            .find(sets)
            .map_or(0, |line| line.as_ptr() as usize - self.text.as_ptr() as usize);
        self.error_at(start..start, format!("`{key}`: {}", what.into()))
    }

    fn validate(&self) -> Result<(), SpecError> {
        let spec = &self.spec;
        self.validate_arrivals()?;
        if !(1..=1000).contains(&spec.nodes) {
            return Err(self.error_of("nodes", "must be from 1 to 1000"));
        }
        if !(1..=1000).contains(&spec.blocks) {
            return Err(self.error_of("blocks", "must be from 1 to 1000"));
        }
        self.positive("deadline_ms", spec.deadline_ms)?;
        self.positive("detect_ms", spec.detect_ms)?;
        self.positive("time_scale", spec.time_scale)?;
        for (key, value) in [
            ("warm_up_s", spec.warm_up_s),
            ("noop_delay_ms", spec.noop_delay_ms),
            ("rtt_ms", spec.rtt_ms),
            ("hold_ms", spec.hold_ms.unwrap_or(0.0)),
        ] {
            if !(0.0..=3_600_000.0).contains(&value) {
                return Err(self.error_of(key, format!("{value} must be from 0 to an hour")));
            }
        }
        if spec.fencing && spec.when_busy == WhenBusy::Serialise {
            return Err(self.error_of(
                "when_busy",
                "`serialise` and `fencing = true` exclude each other: a higher token could not supersede the section \
                 that it waits for; use `refuse` or `admit`, or drop fencing",
            ));
        }
        for (kind, resource) in &spec.resources {
            let wrong = if *kind == ResourceKind::Bystander {
                "is the bystander's own; name another kind"
            } else if !(1..=1_000_000).contains(&resource.count) {
                "count must be from 1 to 1,000,000"
            } else if resource.level > 10_000 {
                "level must be at most 10,000"
            } else if !(0.0..=10.0).contains(&resource.zipf) {
                "zipf must be from 0 to 10"
            } else {
                continue;
            };
            return Err(self.error_of(kind.name(), wrong));
        }
        if spec.tasks.is_empty() {
            return Err(self.error_of("name", "the scenario has no [[tasks]]"));
        }
        for task in &spec.tasks {
            if !(task.weight.is_finite() && task.weight > 0.0) {
                return Err(self.error_at(task.name.span(), "weight must be greater than 0"));
            }
            self.validate_step(&task.step)?;
        }
        self.validate_faults()?;
        spec.expect.iter().try_for_each(|expect| self.validate_expect(expect))
    }

    fn positive(&self, key: &str, value: f64) -> Result<(), SpecError> {
        let fine = value.is_finite() && value > 0.0;
        if fine { Ok(()) } else { Err(self.error_of(key, format!("{value} must be greater than 0"))) }
    }

    fn validate_expect(&self, expect: &ExpectSpec) -> Result<(), SpecError> {
        let names: Vec<_> = checks::ALL.iter().map(|check| check.name).collect();
        let (name, span) = (expect.check.get_ref(), expect.check.span());
        if !names.contains(&name.as_str()) {
            let what = format!("unknown check `{name}`; there are {}", names.join(", "));
            return Err(self.error_at(span, what));
        }
        if expect.share_of_hits.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            return Err(self.error_at(span, "share_of_hits must be from 0 to 1"));
        }
        Ok(())
    }

    /// How links to servers, and between nodes of the ring, are where they are in the path: of all contenders or of none.
    /// One way takes half a round trip.
    #[must_use]
    pub fn links(&self) -> Option<Ways> {
        let broken = self.breaks_links(LinkTo::Server) || self.breaks_links(LinkTo::Nodes);
        (self.spec.rtt_ms > 0.0 || broken).then(|| self.delayed())
    }

    /// How links to the agent are where they are in the path: where it is in another process.
    #[must_use]
    pub fn agent_links(&self) -> Option<Ways> {
        let far = self.spec.rtt_ms > 0.0 && self.spec.placement == Placement::Process;
        (far || self.breaks_links(LinkTo::Agent)).then(|| self.delayed())
    }

    fn delayed(&self) -> Ways {
        Ways::delayed(std::time::Duration::from_secs_f64(self.spec.rtt_ms / 2e3))
    }

    fn breaks_links(&self, to: LinkTo) -> bool {
        self.spec.faults.iter().any(|fault| fault.link == to && fault.fault().is_of_link())
    }

    /// What a check must answer for contenders of a class, and the share of hits that must end in a regression.
    #[must_use]
    pub fn expected(&self, check: &str, class: Class) -> (Expected, Option<f64>) {
        let spec = &self.spec;
        let fits = |expect: &&ExpectSpec| {
            expect.check.get_ref() == check
                && expect.class.is_none_or(|of| of == class)
                && expect.fencing.is_none_or(|fencing| fencing == spec.fencing)
                && expect.holder.is_none_or(|holder| holder == spec.holder)
        };
        let found = spec.expect.iter().find(fits);
        found.map_or((Expected::Holds, None), |expect| (expect.verdict, expect.share_of_hits))
    }

    fn validate_step(&self, step: &StepSpec) -> Result<(), SpecError> {
        let kind = step.resource.get_ref();
        if !self.spec.resources.contains_key(kind) {
            let what = format!(
                "the step's resource `{0}` is not in [resources]; add `{0} = {{ count = …, level = … }}`",
                kind.name()
            );
            return Err(self.error_at(step.resource.span(), what));
        }
        let fine = |duration: Duration| match duration {
            Duration::Constant(seconds) => (0.0..=1e6).contains(&seconds),
            Duration::LogNormal([median, p99]) => median > 0.0 && median <= p99 && p99 <= 1e6,
        };
        if !fine(step.hold_s) || !step.create_s.is_none_or(fine) {
            let what = "hold_s and create_s must be a number of seconds, or [median, 99th percentile] with \
                        0 < median ≤ 99th percentile";
            return Err(self.error_at(step.resource.span(), what));
        }
        let one_by_one = self.spec.resources[kind].level == 1 && step.mode == Mode::Exclusive;
        if step.create_s.is_some() && !one_by_one {
            let what = "create_s is for exclusive steps on resources of level 1: with more slots, or none, it could not be \
                        told what was created once";
            return Err(self.error_at(step.resource.span(), what));
        }
        step.steps.iter().try_for_each(|step| self.validate_step(step))
    }
}

fn toml_error(origin: &str, error: &toml::de::Error) -> SpecError {
    SpecError { place: origin.to_owned(), what: error.to_string().trim_end().to_owned() }
}

/// Puts one setting into the table; the value is TOML, or else a string.
fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<(), SpecError> {
    let wrong = |what: &str| SpecError { place: format!("--set {key}={value}"), what: what.to_owned() };
    let parsed = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut path: Vec<&str> = key.split('.').collect();
    let last = path.pop().filter(|last| !last.is_empty()).ok_or_else(|| wrong("the key is empty"))?;
    let mut place = table;
    for part in path {
        let next = place.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = next.as_table_mut().ok_or_else(|| wrong(&format!("`{part}` is not a table")))?;
    }
    // 5 means 5.0 where a number with a fraction stood before.
    let parsed = match (&parsed, place.get(last)) {
        (toml::Value::Integer(whole), Some(toml::Value::Float(_))) => toml::Value::Float(*whole as f64),
        _ => parsed,
    };
    place.insert(last.to_owned(), parsed);
    Ok(())
}
