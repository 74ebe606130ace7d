//! Where the nodes of one run are, beyond this machine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::line::Line;
use super::offset::Offset;
use super::words::{Done, Number, Start, What};
use crate::engine::PartRet;
use crate::model::{Event, NodeId};
use crate::record::HostFacts;
use crate::secret::Secret;

/// A host for each node of a run, and how far its clock was from ours before.
#[derive(Debug)]
pub(crate) struct Lodging {
    nodes: Vec<Arc<Line>>,
    before: BTreeMap<u32, Result<Offset, String>>,
    /// How far clocks may drift apart until the run is over.
    drift_ns: u64,
}

/// What clocks that are kept by NTP may drift apart, as a part of the time that passes. Those that are not drift by ten times as much, and
/// are found out.
const DRIFT: f64 = 5e-6;

/// What passes before the window and behind it, about, while nodes start and end.
const AROUND_NS: u64 = 60_000_000_000;

/// The process of a node at a host. When dropped, it is ended there.
#[derive(Debug)]
pub(crate) struct Guest {
    line: Arc<Line>,
    process: Number,
    ended: watch::Receiver<Option<String>>,
    /// Whether it was asked what it had done.
    heard: AtomicBool,
}

impl Lodging {
    /// For a run that may last so long.
    pub(super) async fn new(nodes: Vec<Arc<Line>>, lasts_ns: u64) -> Self {
        let before = offsets(&nodes).await;
        // What was before is no news of this run.
        nodes.iter().for_each(|line| drop(line.beats()));
        Self { nodes, before, drift_ns: ((lasts_ns + AROUND_NS) as f64 * DRIFT) as u64 }
    }

    /// How far the stamps of any node may be off the driver's clock: one bound for all, since they are held against each other.
    pub(crate) fn bound_ns(&self) -> u64 {
        self.before.keys().filter_map(|host| self.bound_of(*host)).max().unwrap_or(0)
    }

    /// As far as was found before, and twice: what is found after the run is no more exact.
    fn bound_of(&self, host: u32) -> Option<u64> {
        let offset = self.before[&host].as_ref().ok()?;
        Some(2 * offset.bound_ns + self.drift_ns)
    }

    /// Starts the process of a node at its host.
    ///
    /// # Errors
    /// In words, when it cannot be started, or its host is gone.
    pub(crate) async fn start(
        &self,
        node: NodeId,
        secret: &Secret,
        writes_last_words: bool,
    ) -> Result<Guest, String> {
        let line =
            self.nodes.get(usize::from(node.0)).ok_or_else(|| format!("there is no node {}", node.0))?;
        // The same all through the run: what a node tells must not jump.
        let offset = match &self.before[&line.number] {
            Ok(offset) => *offset,
            Err(reason) => return Err(reason.clone()),
        };
        let (process, ended) = line.next_process();
        let guest = Guest { line: Arc::clone(line), process, ended, heard: AtomicBool::new(false) };
        let start =
            Start { process, node, secret: secret.clone(), ahead_ns: offset.ahead_ns, writes_last_words };
        guest.line.order(What::Start(start)).await?;
        Ok(guest)
    }

    /// The hosts, which nodes they had, and how far their clocks may have been from where they were taken to be; and, a sentence
    /// each, whose were further than that.
    pub(crate) async fn facts(&self) -> (Vec<HostFacts>, Vec<String>) {
        let after = offsets(&self.nodes).await;
        let mut later: BTreeMap<u32, Vec<Offset>> = BTreeMap::new();
        for line in &self.nodes {
            later.entry(line.number).or_default().extend(line.beats());
        }
        let (mut facts, mut stepped) = (BTreeMap::new(), Vec::new());
        for (node, line) in self.nodes.iter().enumerate() {
            let of = facts.entry(line.number).or_insert_with(|| HostFacts {
                name: line.name.clone(),
                from: line.from.ip().to_string(),
                nodes: Vec::new(),
                one_way_ns: self.before[&line.number].as_ref().ok().map(|offset| offset.bound_ns),
                clock_bound_ns: self.bound_of(line.number),
            });
            of.nodes.push(node as u16);
        }
        for (host, of) in &facts {
            let (Ok(before), Some(bound_ns)) = (&self.before[host], self.bound_of(*host)) else { continue };
            // What is found by one exchange, as at a beat, is known less well than what is found by thirty.
            let (beats, after) = (&later[host], after[host].as_ref().ok());
            let certainly = beats.iter().map(|beat| before.differs_by(*beat)).max().unwrap_or(0);
            let moved_ns = certainly.max(after.map_or(0, |after| before.may_differ_by(*after)));
            if moved_ns > bound_ns {
                stepped.push(format!(
                    "the clock of host {} moved by {} µs against the driver's while the run lasted, where {} µs were allowed for: keep both by NTP",
                    of.name,
                    moved_ns / 1_000,
                    bound_ns / 1_000
                ));
            }
        }
        let mut facts: Vec<_> = facts.into_values().collect();
        facts.sort_by(|one, other| one.nodes.cmp(&other.nodes));
        (facts, stepped)
    }
}

async fn offsets(nodes: &[Arc<Line>]) -> BTreeMap<u32, Result<Offset, String>> {
    let lines: BTreeMap<_, _> = nodes.iter().map(|line| (line.number, line)).collect();
    let mut offsets = BTreeMap::new();
    for (number, line) in lines {
        offsets.insert(number, line.offset().await);
    }
    offsets
}

impl Guest {
    async fn done(&self, what: What) -> Result<(), String> {
        self.line.order(what).await.map(drop)
    }

    /// Stops it. How many bytes of what it said to the agent are on their way.
    pub(crate) async fn pause(&self) -> Result<u64, String> {
        match self.line.order(What::Pause(self.process)).await? {
            Done::Paused { said_to_agent } => Ok(said_to_agent),
            _ => Err("its host spoke out of turn".to_owned()),
        }
    }

    pub(crate) async fn resume(&self) -> Result<(), String> {
        self.done(What::Resume(self.process)).await
    }

    pub(crate) async fn kill(&self) -> Result<(), String> {
        self.done(What::Kill(self.process)).await
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits until it has ended, and tells how. Cancel safe.
    pub(crate) async fn wait(&mut self) -> String {
        match self.ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "nobody knows how it ended".to_owned(),
        }
    }

    /// What it had done and not told, behind so many events; nothing the second time.
    pub(crate) async fn last_words(&self, heard: usize) -> Result<(Vec<Event>, PartRet), String> {
        if self.heard.swap(true, Ordering::Relaxed) {
            return Ok(Default::default());
        }
        match self.line.order(What::LastWords { process: self.process, heard }).await? {
            Done::LastWords { events, ret } => Ok((events, *ret)),
            _ => Err("its host spoke out of turn".to_owned()),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.line.forget(self.process);
    }
}
