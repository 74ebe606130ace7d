//! The part of a run that lives in one process: all nodes, or one of them. The same code in every placement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::agent::AgentLink;
use super::arrivals::{First, Until, Whose, arrivals};
use super::callers::callers;
use super::clock::Clock;
use super::mechanism::Mechanism;
use super::meter::Meter;
use super::node::Node;
use super::part_ret::PartRet;
use super::recorder::Recorder;
use crate::model::{Histogram, NodeId, Outcome, Plan, StepRef, TaskId};

/// Distance of two probes of a bystander.
const BYSTANDER_EVERY_NS: u64 = 50_000_000;

/// How long bystanders may take to end.
const BYSTANDER_PATIENCE: Duration = Duration::from_secs(1);

/// Whether nodes probe what those have to wait for who have nothing to do with the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bystanders {
    /// One on each node does.
    #[default]
    Probe,
    /// Nobody does: where only verdicts are wanted, they would be most of what is done.
    None,
}

/// What a part is made of.
#[derive(Debug)]
pub(crate) struct PartOptions {
    pub(crate) plan: Arc<Plan>,
    pub(crate) clock: Clock,
    pub(crate) mechanism: Arc<dyn Mechanism>,
    pub(crate) recorder: Arc<Recorder>,
    /// Stamp of the plan's time 0.
    pub(crate) origin_ns: u64,
    /// Arrivals before this stamp are none of its business: the node was down.
    pub(crate) from_ns: u64,
    /// Where others took them meanwhile: the first task that they left. Those from it on are this node's, however late.
    pub(crate) from_task: Option<TaskId>,
    pub(crate) bystanders: Bystanders,
}

/// Nodes at work.
#[derive(Debug)]
pub(crate) struct Part {
    clock: Clock,
    mechanism: Arc<dyn Mechanism>,
    arrivals: JoinSet<()>,
    bystanders: JoinSet<()>,
    probes: Vec<Arc<Mutex<Probes>>>,
    done: CancellationToken,
    meter: Arc<Meter>,
    /// By the node that is down.
    stand_ins: HashMap<NodeId, Until>,
    nodes: Vec<Arc<Node>>,
}

impl Part {
    /// Registers the nodes at the mechanism and sets them to work, each with its way to the agent.
    pub(crate) fn start(
        options: &PartOptions,
        nodes: impl IntoIterator<Item = (NodeId, Arc<dyn AgentLink>)>,
    ) -> Self {
        let PartOptions { plan, clock, mechanism, recorder, origin_ns, from_ns, from_task, bystanders } =
            options;
        let nodes: Vec<_> = nodes.into_iter().collect();
        if let Some(per_s) = plan.arrivals_per_s() {
            // Each node has about its share of them.
            clock.expect(per_s * nodes.len() as f64 / f64::from(plan.settings.nodes));
        }
        if plan.closed.is_some() {
            // How precisely they think must not depend on how soon they are answered.
            clock.expect(f64::INFINITY);
        }
        let mut part = Self {
            clock: clock.clone(),
            mechanism: Arc::clone(mechanism),
            arrivals: JoinSet::new(),
            bystanders: JoinSet::new(),
            probes: Vec::new(),
            done: CancellationToken::new(),
            meter: Arc::new(Meter::start(clock, mechanism)),
            nodes: Vec::new(),
            stand_ins: HashMap::new(),
        };
        for (id, agent) in nodes {
            let node = Arc::new(Node {
                id,
                plan: Arc::clone(plan),
                clock: clock.of(id),
                origin_ns: *origin_ns,
                agent,
                recorder: Arc::clone(recorder),
                mechanism: Arc::downgrade(mechanism),
            });
            mechanism.register(id, Arc::clone(&node) as _);
            let probes = Arc::<Mutex<Probes>>::default();
            part.probes.push(Arc::clone(&probes));
            let meter = || Arc::clone(&part.meter);
            if *bystanders == Bystanders::Probe {
                let bystander = bystand(Arc::clone(&node), *from_ns, part.done.clone(), probes, meter());
                part.bystanders.spawn(bystander);
            }
            part.nodes.push(Arc::clone(&node));
            match plan.closed {
                None => {
                    let from = from_task.map_or(First::Stamp(*from_ns), First::Task);
                    part.arrivals.spawn(arrivals(node, Whose { entry: id, from }, None, meter()))
                }
                Some(closed) => part.arrivals.spawn(callers(node, closed, meter())),
            };
        }
        part
    }

    /// Returns when all tasks of these nodes have returned. Cancel safe.
    pub(crate) async fn returned(&mut self) {
        while let Some(joined) = self.arrivals.join_next().await {
            joined.expect("a node's arrivals do not panic");
        }
    }

    /// Takes the users of a node that is down: those whose tasks come from that one on, and those who ask again.
    pub(crate) fn stand_in(&mut self, down: NodeId, from: TaskId, again: Vec<TaskId>) {
        let Some(node) = self.nodes.first() else { return };
        let until = Until::back(from);
        let whose = Whose { entry: down, from: First::Task(from) };
        let meter = || Arc::clone(&self.meter);
        self.arrivals.spawn(arrivals(Arc::clone(node), whose, Some(until.clone()), meter()));
        for task in again {
            let (node, meter) = (Arc::clone(node), meter());
            self.arrivals.spawn(async move {
                node.ask_again(StepRef { task, step: 0 }, node.deadline_ns(task)).await;
                meter.note(&node.recorder);
            });
        }
        self.stand_ins.insert(down, until);
    }

    /// Leaves the users of a node to it again; the first task that it gets. Those that were taken run to their ends here.
    pub(crate) fn stand_down(&mut self, back: NodeId) -> Option<TaskId> {
        Some(self.stand_ins.remove(&back)?.end())
    }

    /// Drops the tasks that are still open, ends the bystanders and shuts the mechanism down.
    pub(crate) async fn finish(mut self) -> PartRet {
        self.arrivals.shutdown().await;
        self.done.cancel();
        let (bystander, bystander_failed) = gather(self.bystanders, self.probes, &self.clock).await;
        let spent = self.meter.spent();
        self.mechanism.shutdown().await;
        PartRet { bystander, bystander_failed, spent }
    }
}

/// What a bystander saw, also of a probe that hangs when its patience ends.
#[derive(Debug, Default)]
struct Probes {
    latency: Histogram,
    failed: u64,
    /// When the probe that is under way was due.
    open_since_ns: Option<u64>,
}

impl Probes {
    /// One that took so long, or has lasted so long at least and did not complete.
    fn count(&mut self, ns: u64, completed: bool) {
        if completed {
            self.latency.record_ns(ns);
        } else {
            self.latency.censor_ns(ns);
            self.failed += 1;
        }
    }
}

/// The bystander of a node: one step on a private key, zero hold, on a schedule. It tells whether the system still answers
/// those who have nothing to do with the contention. Each probe counts from when it was due, so that one that hangs makes
/// those behind it late; what has no end counts too.
async fn bystand(
    node: Arc<Node>,
    from_ns: u64,
    done: CancellationToken,
    probes: Arc<Mutex<Probes>>,
    meter: Arc<Meter>,
) {
    let seen = || probes.lock().unwrap_or_else(PoisonError::into_inner);
    let deadline_ns = node.plan.settings.deadline_ns;
    for count in 0.. {
        let due_ns = node.origin_ns + u64::from(count) * BYSTANDER_EVERY_NS;
        if due_ns < from_ns {
            continue;
        }
        tokio::select! {
            biased;
            () = done.cancelled() => return,
            () = node.clock.sleep_until(due_ns) => {}
        }
        seen().open_since_ns = Some(due_ns);
        let step = StepRef { task: TaskId::bystander(node.id, count), step: 0 };
        let outcome = node.ask(step, node.clock.now_ns() + deadline_ns).await;
        let completed = outcome == Outcome::Completed;
        let ns = if completed { node.clock.now_ns().saturating_sub(due_ns) } else { deadline_ns };
        {
            let mut seen = seen();
            seen.open_since_ns = None;
            seen.count(ns, completed);
        }
        if let Some(words) = node.recorder.words() {
            words.probe(ns, completed);
            meter.note(&node.recorder);
        }
    }
}

/// Waits for the bystanders' last probes, for so long as patience lasts; what hangs then has lasted so long at least.
async fn gather(
    mut bystanders: JoinSet<()>,
    probes: Vec<Arc<Mutex<Probes>>>,
    clock: &Clock,
) -> (Histogram, u64) {
    let patience_ns = clock.now_ns() + BYSTANDER_PATIENCE.as_nanos() as u64;
    let ended = async { while bystanders.join_next().await.is_some() {} };
    tokio::select! {
        biased;
        () = ended => {}
        () = clock.sleep_until(patience_ns) => {}
    }
    let now_ns = clock.now_ns();
    bystanders.shutdown().await;
    let (mut latency, mut failed) = (Histogram::default(), 0);
    for probes in probes {
        let probes = probes.lock().unwrap_or_else(PoisonError::into_inner);
        latency.merge(&probes.latency);
        failed += probes.failed;
        if let Some(since_ns) = probes.open_since_ns {
            latency.censor_ns(now_ns.saturating_sub(since_ns));
            failed += 1;
        }
    }
    (latency, failed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::agent::{Agent, AgentOptions, Direct};
    use crate::engine::control::Open;
    use crate::engine::mechanism::{BoxFuture, StepRunner};
    use crate::model::{Arrival, Holder, Mode, PlanSettings, Resource, ResourceKind, StepTree, What};

    fn plan(nodes: u16, arrivals: &[(u64, u16)]) -> Plan {
        let settings = PlanSettings { seed: 1, nodes, window_ns: 1, deadline_ns: 1, holder: Holder::Checks };
        let arrivals = arrivals.iter().zip(0..).map(|((at_ms, entry), id)| Arrival {
            kind: 0,
            at_ns: at_ms * 1_000_000,
            entry: NodeId(entry % nodes),
            root: StepTree {
                resource: Resource { kind: ResourceKind::Vm, id, level: 1 },
                mode: Mode::Exclusive,
                hold_ns: 0,
                create_ns: None,
                children: Vec::new(),
            },
        });
        Plan::new(settings, vec!["vm".into()], arrivals).unwrap()
    }

    /// Runs the part of one node alone; which tasks it started, and when.
    async fn started(plan: Arc<Plan>, node: NodeId) -> Vec<(TaskId, NodeId, u64)> {
        let clock = Clock::virtual_time();
        let recorder = Arc::new(Recorder::default());
        let agent =
            Agent::new(Arc::clone(&plan), clock.clone(), Arc::clone(&recorder), AgentOptions::default());
        let options = PartOptions {
            mechanism: Arc::new(Open::new(Arc::clone(&plan), clock.clone(), Duration::ZERO)),
            plan,
            clock,
            recorder: Arc::clone(&recorder),
            origin_ns: 0,
            from_ns: 0,
            from_task: None,
            bystanders: Bystanders::Probe,
        };
        let link = Direct { agent: Arc::new(agent), node };
        let mut part = Part::start(&options, [(node, Arc::new(link) as Arc<dyn AgentLink>)]);
        part.returned().await;
        part.finish().await;
        let invoked = recorder.take().into_iter().filter(|event| event.what == What::Invoked);
        invoked.map(|event| (event.step.task, event.node.unwrap(), event.at_ns)).collect()
    }

    /// Lets nobody in for a while, then everybody.
    #[derive(Debug)]
    struct Hanging {
        open: Open,
        clock: Clock,
        until_ns: u64,
    }

    impl Mechanism for Hanging {
        fn register(&self, node: NodeId, runner: Arc<dyn StepRunner>) {
            self.open.register(node, runner);
        }

        fn run(&self, at: NodeId, step: StepRef, deadline_ns: u64) -> BoxFuture<'_, Outcome> {
            Box::pin(async move {
                self.clock.sleep_until(self.until_ns).await;
                self.open.run(at, step, deadline_ns).await
            })
        }

        fn shutdown(&self) -> BoxFuture<'_, ()> {
            self.open.shutdown()
        }

        fn detection(&self) -> String {
            self.open.detection()
        }
    }

    /// What the bystander saw where nothing is let in until then, and the run ends then.
    async fn bystander(until_ms: u64, end_ms: u64) -> Histogram {
        let clock = Clock::virtual_time();
        let plan = Arc::new(plan(1, &[(end_ms, 0)]));
        let recorder = Arc::new(Recorder::default());
        let agent =
            Agent::new(Arc::clone(&plan), clock.clone(), Arc::clone(&recorder), AgentOptions::default());
        let open = Open::new(Arc::clone(&plan), clock.clone(), Duration::ZERO);
        let mechanism = Arc::new(Hanging { open, clock: clock.clone(), until_ns: until_ms * 1_000_000 });
        let options = PartOptions {
            plan,
            clock: clock.clone(),
            mechanism,
            recorder,
            origin_ns: 0,
            from_ns: 0,
            from_task: None,
            bystanders: Bystanders::Probe,
        };
        let link = Direct { agent: Arc::new(agent), node: NodeId(0) };
        let part = Part::start(&options, [(NodeId(0), Arc::new(link) as Arc<dyn AgentLink>)]);
        clock.sleep_until(end_ms * 1_000_000).await;
        part.finish().await.bystander
    }

    #[tokio::test(start_paused = true)]
    async fn a_bystander_that_hangs_makes_those_behind_it_late() {
        let probes = bystander(1_000, 1_990).await;
        // 40 probes were due; those of the first second had to wait for its end.
        assert_eq!((probes.count(), probes.censored()), (40, 0));
        assert!(probes.quantile_ns(0.5).unwrap() <= 51_000_000);
        assert!(probes.quantile_ns(0.52).unwrap() >= 49_000_000, "{probes:?}");
        assert!(probes.max_ns().unwrap() >= 999_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bystander_that_never_returns_counts() {
        let probes = bystander(60_000, 500).await;
        assert_eq!((probes.count(), probes.censored()), (1, 1));
        assert!(probes.max_ns().unwrap() >= 1_490_000_000, "half a second, and its patience");
    }

    proptest! {
        #[test]
        fn the_union_of_the_nodes_arrivals_is_the_plan(
            nodes in 1_u16..6,
            arrivals in prop::collection::vec((0_u64..500, any::<u16>()), 0..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let plan = Arc::new(plan(nodes, &arrivals));
            let mut union = Vec::new();
            for node in (0..nodes).map(NodeId) {
                union.extend(runtime.block_on(started(Arc::clone(&plan), node)));
            }
            union.sort_unstable();
            let planned = (0..).zip(plan.tasks.iter());
            let planned = planned.map(|(number, task)| (TaskId(number), task.entry, task.arrival_ns));
            prop_assert_eq!(union, planned.collect::<Vec<_>>());
        }
    }
}
