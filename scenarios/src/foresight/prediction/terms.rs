//! The terms of the models, as a file has them: each with its source.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use harness::simulation::queueing::{Costs, Route};
use serde::{Deserialize, Serialize};

/// Version of the file.
const VERSION: u32 = 1;

/// What the models are made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Of the file.
    pub schema_version: u32,
    /// On which they were measured.
    pub machine: String,
    /// Processors that nodes and servers shared there.
    pub processors: u32,
    /// The batches that they follow from, as `scenario, nodes, seed`.
    pub batches: Vec<String>,
    /// By name.
    pub contenders: BTreeMap<String, OfContender>,
}

/// The terms of a contender.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfContender {
    /// Where its steps wait and run.
    pub route: RouteWord,
    /// Work of a node for a step, in ns, the bench's own left out.
    pub node_ns: Term,
    /// The bench's own work for a step, in ns: only where it shares processors with the nodes.
    pub bench_ns: Term,
    /// Work of the server for a request, in ns; a step takes two, and a third where another waits.
    pub server_ns: Term,
    /// Requests that the server works on at a time.
    pub server_width: Term,
    /// What a message takes one way, in ns, without any work.
    pub one_way_ns: Term,
    /// Requests of a node that keep its leases, a second.
    pub renewals_per_s: Term,
    /// Connections of a node to the server.
    pub connections: Term,
    /// Connections that the server takes, or that a node of a ring takes.
    pub most_connections: Term,
}

/// Where steps wait and run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteWord {
    /// At a server; where they were asked for.
    Lock,
    /// At the node that owns the resource.
    Owner,
}

/// A number, and where it is from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Term {
    /// The number.
    pub value: f64,
    /// How it is known.
    pub source: Source,
    /// From what.
    pub of: String,
}

/// How a term is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Read off a run.
    Measured,
    /// Such that the model says what was measured.
    Fitted,
    /// Neither: change it where you know better.
    Assumed,
}

impl Source {
    /// As the table says it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Fitted => "fitted",
            Self::Assumed => "assumed",
        }
    }
}

impl Term {
    pub(super) fn new(value: f64, source: Source, of: &str) -> Self {
        Self { value, source, of: of.to_owned() }
    }

    fn ns(&self) -> u64 {
        self.value.max(0.0) as u64
    }
}

impl OfContender {
    /// All of them, with their names.
    #[must_use]
    pub fn all(&self) -> [(&'static str, &Term); 8] {
        [
            ("node_ns", &self.node_ns),
            ("bench_ns", &self.bench_ns),
            ("server_ns", &self.server_ns),
            ("server_width", &self.server_width),
            ("one_way_ns", &self.one_way_ns),
            ("renewals_per_s", &self.renewals_per_s),
            ("connections", &self.connections),
            ("most_connections", &self.most_connections),
        ]
    }

    /// Share of the server's time that goes to the leases of so many nodes; above 1 there is not enough of it.
    #[must_use]
    pub fn background(&self, nodes: u32) -> f64 {
        let width = self.server_width.value.max(1.0);
        f64::from(nodes) * self.renewals_per_s.value * self.server_ns.value / 1e9 / width
    }

    /// What the model of so many nodes costs: each with processors of its own, or all, the bench and the server on shared ones.
    #[must_use]
    pub fn costs(&self, nodes: u32, shared: Option<u32>) -> Costs {
        let bench_ns = if shared.is_some() { self.bench_ns.ns() } else { 0 };
        Costs {
            route: match self.route {
                RouteWord::Lock => Route::Lock,
                RouteWord::Owner => Route::Owner,
            },
            node_ns: self.node_ns.ns() + bench_ns,
            node_width: 1,
            server_ns: self.server_ns.ns(),
            server_width: self.server_width.value.max(1.0) as u32,
            one_way_ns: self.one_way_ns.ns(),
            background: self.background(nodes).min(1.0),
            shared,
        }
    }
}

impl Terms {
    /// None yet, of a machine.
    #[must_use]
    pub fn new(machine: String, processors: u32) -> Self {
        let (batches, contenders) = (Vec::new(), BTreeMap::new());
        Self { schema_version: VERSION, machine, processors, batches, contenders }
    }

    /// Those of a file.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!(
                "{}: no terms; `lockbench predict --fit DIR` writes them from a measured batch",
                path.display()
            )
        })?;
        let terms: Self = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        ensure!(terms.schema_version == VERSION, "{}: of another version", path.display());
        let sound = |term: &Term| term.value.is_finite() && (0.0..1e15).contains(&term.value);
        for (name, of) in &terms.contenders {
            let wrong = of.all().into_iter().find(|(_, term)| !sound(term));
            ensure!(wrong.is_none(), "{}: {name}: {wrong:?}", path.display());
        }
        Ok(terms)
    }

    /// Writes them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
