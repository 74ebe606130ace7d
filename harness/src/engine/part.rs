//! The part of a run that lives in one process: all nodes, or one of them. The same code in every placement.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::agent::AgentLink;
use super::clock::{Clock, process_cpu_ns};
use super::mechanism::Mechanism;
use super::node::Node;
use super::recorder::Recorder;
use crate::model::{Histogram, NodeId, Outcome, Plan, StepRef, TaskId};

/// Pause between two probes of a bystander.
const BYSTANDER_PAUSE_NS: u64 = 50_000_000;

/// How long bystanders may take to end.
const BYSTANDER_PATIENCE: Duration = Duration::from_secs(1);

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
}

/// Nodes at work.
#[derive(Debug)]
pub(crate) struct Part {
    clock: Clock,
    mechanism: Arc<dyn Mechanism>,
    arrivals: JoinSet<()>,
    bystanders: JoinSet<(Histogram, u64)>,
    done: CancellationToken,
    cpu_before_ns: u64,
    timer_before_ns: u64,
    operations_before: Option<u64>,
}

/// What a part tells at its end, beside its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PartRet {
    /// Latency of the bystanders' probes that completed.
    pub(crate) bystander: Histogram,
    /// Probes that did not complete.
    pub(crate) bystander_failed: u64,
    /// CPU of the process, timer thread excluded.
    pub(crate) process_cpu_ns: u64,
    /// CPU of the timer thread.
    pub(crate) timer_cpu_ns: u64,
    /// Operations sent to the server.
    pub(crate) operations: Option<u64>,
}

impl PartRet {
    /// Adds what another part tells.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.bystander.merge(&other.bystander);
        self.bystander_failed += other.bystander_failed;
        self.process_cpu_ns += other.process_cpu_ns;
        self.timer_cpu_ns += other.timer_cpu_ns;
        self.operations = match (self.operations, other.operations) {
            (Some(ours), Some(theirs)) => Some(ours + theirs),
            (ours, theirs) => ours.or(theirs),
        };
    }
}

impl Part {
    /// Registers the nodes at the mechanism and sets them to work, each with its way to the agent.
    pub(crate) fn start(
        options: &PartOptions,
        nodes: impl IntoIterator<Item = (NodeId, Arc<dyn AgentLink>)>,
    ) -> Self {
        let PartOptions { plan, clock, mechanism, recorder, origin_ns, from_ns } = options;
        let mut part = Self {
            clock: clock.clone(),
            mechanism: Arc::clone(mechanism),
            arrivals: JoinSet::new(),
            bystanders: JoinSet::new(),
            done: CancellationToken::new(),
            cpu_before_ns: process_cpu_ns(),
            timer_before_ns: clock.timer_cpu_ns(),
            operations_before: mechanism.operations(),
        };
        for (id, agent) in nodes {
            let node = Arc::new(Node {
                id,
                plan: Arc::clone(plan),
                clock: clock.clone(),
                origin_ns: *origin_ns,
                agent,
                recorder: Arc::clone(recorder),
                mechanism: Arc::downgrade(mechanism),
            });
            mechanism.register(id, Arc::clone(&node) as _);
            part.bystanders.spawn(bystand(Arc::clone(&node), part.done.clone()));
            part.arrivals.spawn(arrivals(node, *from_ns));
        }
        part
    }

    /// Returns when all tasks of these nodes have returned. Cancel safe.
    pub(crate) async fn returned(&mut self) {
        while let Some(joined) = self.arrivals.join_next().await {
            joined.expect("a node's arrivals do not panic");
        }
    }

    /// Drops the tasks that are still open, ends the bystanders and shuts the mechanism down.
    pub(crate) async fn finish(mut self) -> PartRet {
        self.arrivals.shutdown().await;
        self.done.cancel();
        let (bystander, bystander_failed) = gather(self.bystanders, &self.clock).await;
        let after = self.mechanism.operations();
        let operations = after.zip(self.operations_before).map(|(after, before)| after - before);
        let timer_cpu_ns = self.clock.timer_cpu_ns().saturating_sub(self.timer_before_ns);
        let cpu_ns = process_cpu_ns().saturating_sub(self.cpu_before_ns);
        self.mechanism.shutdown().await;
        let process_cpu_ns = cpu_ns.saturating_sub(timer_cpu_ns);
        PartRet { bystander, bystander_failed, process_cpu_ns, timer_cpu_ns, operations }
    }
}

/// Starts a node's tasks when they are due, and waits for all of them.
async fn arrivals(node: Arc<Node>, from_ns: u64) {
    let mut open = JoinSet::new();
    for (number, task) in node.plan.tasks.iter().enumerate() {
        let intended_ns = node.origin_ns + task.arrival_ns;
        if task.entry != node.id || intended_ns < from_ns {
            continue;
        }
        node.clock.sleep_until(intended_ns).await;
        let node = Arc::clone(&node);
        open.spawn(async move {
            let task = TaskId(number as u32);
            node.ask(StepRef { task, step: 0 }, node.deadline_ns(task)).await;
        });
        while let Some(joined) = open.try_join_next() {
            joined.expect("a task does not panic");
        }
    }
    while let Some(joined) = open.join_next().await {
        joined.expect("a task does not panic");
    }
}

/// The bystander of a node: one step on a private key, zero hold, closed loop. It tells whether the system still
/// answers those who have nothing to do with the contention.
async fn bystand(node: Arc<Node>, done: CancellationToken) -> (Histogram, u64) {
    let (mut latency, mut failed) = (Histogram::default(), 0);
    node.clock.sleep_until(node.origin_ns).await;
    for count in 0.. {
        let start_ns = node.clock.now_ns();
        let step = StepRef { task: TaskId::bystander(node.id, count), step: 0 };
        match node.ask(step, start_ns + node.plan.settings.deadline_ns).await {
            Outcome::Completed => latency.record_ns(node.clock.now_ns() - start_ns),
            _ => failed += 1,
        }
        let next_ns = node.clock.now_ns() + BYSTANDER_PAUSE_NS;
        tokio::select! {
            biased;
            () = done.cancelled() => break,
            () = node.clock.sleep_until(next_ns) => {}
        }
    }
    (latency, failed)
}

async fn gather(mut bystanders: JoinSet<(Histogram, u64)>, clock: &Clock) -> (Histogram, u64) {
    let (mut latency, mut failed) = (Histogram::default(), 0);
    let patience_ns = clock.now_ns() + BYSTANDER_PATIENCE.as_nanos() as u64;
    loop {
        tokio::select! {
            biased;
            joined = bystanders.join_next() => match joined {
                Some(Ok((histogram, failures))) => {
                    latency.merge(&histogram);
                    failed += failures;
                }
                // Only an abort below ends a bystander otherwise.
                Some(Err(_)) => failed += 1,
                None => return (latency, failed),
            },
            () = clock.sleep_until(patience_ns) => bystanders.abort_all(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::agent::{Agent, AgentOptions, Direct};
    use crate::engine::control::Open;
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
        Plan::new(settings, vec!["vm".into()], arrivals.collect()).unwrap()
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
        };
        let link = Direct { agent: Arc::new(agent), node };
        let mut part = Part::start(&options, [(node, Arc::new(link) as Arc<dyn AgentLink>)]);
        part.returned().await;
        part.finish().await;
        let invoked = recorder.finish().into_iter().filter(|event| event.what == What::Invoked);
        invoked.map(|event| (event.step.task, event.node.unwrap(), event.at_ns)).collect()
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
            let planned = plan.tasks.iter().zip(0..);
            let planned = planned.map(|(task, number)| (TaskId(number), task.entry, task.arrival_ns));
            prop_assert_eq!(union, planned.collect::<Vec<_>>());
        }
    }
}
