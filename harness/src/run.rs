//! Runs a plan against a mechanism and returns what happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, AgentOptions};
use crate::clock::{Clock, process_cpu_ns};
use crate::event::{Event, Recorder};
use crate::measure::Histogram;
use crate::mechanism::{Mechanism, Outcome, Promises};
use crate::node::Node;
use crate::plan::{NodeId, Plan, StepRef, TaskId};

/// Pause between two probes of a bystander.
const BYSTANDER_PAUSE_NS: u64 = 50_000_000;

/// Time from the set-up of a run to its first arrival, so that no node is late for it.
const LEAD_IN_NS: u64 = 20_000_000;

/// What else a run needs.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// The agent's switches.
    pub agent: AgentOptions,
    /// Counts for a live view.
    pub progress: Arc<Progress>,
    /// Ends the run early: open tasks are dropped, later ones not offered.
    pub stop: CancellationToken,
}

/// Counts that move while a run goes on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Tasks started.
    pub started: AtomicU64,
    /// Tasks that returned, however they ended.
    pub returned: AtomicU64,
}

/// What happened in a run.
#[derive(Debug, Clone)]
pub struct Run {
    /// What was to happen.
    pub plan: Arc<Plan>,
    /// Stamp of the plan's time 0.
    pub origin_ns: u64,
    /// Stamp at which the drain was over.
    pub end_ns: u64,
    /// The history, by time.
    pub events: Vec<Event>,
    /// Latency of the bystanders' probes that completed.
    pub bystander: Histogram,
    /// Probes that did not complete.
    pub bystander_failed: u64,
    /// CPU of this process, timer thread excluded.
    pub process_cpu_ns: u64,
    /// CPU of the timer thread.
    pub timer_cpu_ns: u64,
    /// Operations sent to the server in the run.
    pub operations: Option<u64>,
    /// What was broken on purpose, by start.
    pub faults: Vec<InjectedFault>,
    /// What the mechanism promises.
    pub promises: Promises,
}

/// A fault as it was injected: what a check must know to tell a fault from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InjectedFault {
    /// The node that was hit; `None`: a server, or a link.
    pub node: Option<NodeId>,
    /// What was done.
    pub blow: Blow,
    /// Stamp of its start.
    pub from_ns: u64,
    /// Stamp of its end (resumed, restarted, restored); `None`: it outlasted the run.
    pub until_ns: Option<u64>,
}

/// What a fault does to whom it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// All that it knew is gone, and those who waited there wait no longer.
    Kill,
    /// It goes on afterwards, as if nothing had happened.
    Stall,
}

/// Runs the plan to its end: arrivals, then a drain until every task has returned or could no longer. The
/// mechanism is shut down afterwards.
///
/// All nodes live in this process (placement `single`). Must run inside a tokio runtime; with a virtual clock that
/// runtime is paused and single-threaded.
pub async fn run(plan: Arc<Plan>, mechanism: Arc<dyn Mechanism>, clock: Clock, options: RunOptions) -> Run {
    let recorder = Arc::new(Recorder::default());
    let agent = Arc::new(Agent::new(Arc::clone(&plan), clock.clone(), Arc::clone(&recorder), options.agent));
    let origin_ns = clock.now_ns() + LEAD_IN_NS;
    let (cpu_before, timer_before) = (process_cpu_ns(), clock.timer_cpu_ns());
    let operations_before = mechanism.operations();
    let promises = mechanism.promises();

    let done = CancellationToken::new();
    let mut nodes = JoinSet::new();
    let mut bystanders = JoinSet::new();
    for id in (0..plan.settings.nodes).map(NodeId) {
        let node = Arc::new(Node {
            id,
            plan: Arc::clone(&plan),
            clock: clock.clone(),
            origin_ns,
            agent: Arc::clone(&agent) as _,
            recorder: Arc::clone(&recorder),
            mechanism: Arc::downgrade(&mechanism),
        });
        mechanism.register(id, Arc::clone(&node) as _);
        bystanders.spawn(bystand(Arc::clone(&node), done.clone()));
        nodes.spawn(arrivals(node, options.clone()));
    }

    let last_arrival_ns = plan.tasks.last().map_or(0, |task| task.arrival_ns);
    let give_up_ns = origin_ns + last_arrival_ns + plan.settings.deadline_ns + plan.longest_hold_ns();
    let everything = async {
        while let Some(joined) = nodes.join_next().await {
            joined.expect("a node's arrivals do not panic");
        }
    };
    tokio::select! {
        biased;
        () = options.stop.cancelled() => {}
        () = everything => {}
        () = clock.sleep_until(give_up_ns) => {}
    }
    nodes.shutdown().await;
    let end_ns = clock.now_ns();
    done.cancel();
    let (bystander, bystander_failed) = gather(bystanders, &clock, end_ns).await;
    let operations = mechanism.operations().zip(operations_before).map(|(after, before)| after - before);
    let timer_cpu_ns = clock.timer_cpu_ns().saturating_sub(timer_before);
    let process_cpu_ns = process_cpu_ns().saturating_sub(cpu_before).saturating_sub(timer_cpu_ns);
    mechanism.shutdown().await;
    Run {
        plan,
        origin_ns,
        end_ns,
        events: recorder.finish(),
        bystander,
        bystander_failed,
        process_cpu_ns,
        timer_cpu_ns,
        operations,
        faults: Vec::new(),
        promises,
    }
}

/// Starts a node's tasks when they are due, and waits for all of them.
async fn arrivals(node: Arc<Node>, options: RunOptions) {
    let mut open = JoinSet::new();
    for (number, task) in node.plan.tasks.iter().enumerate() {
        if task.entry != node.id {
            continue;
        }
        node.clock.sleep_until(node.origin_ns + task.arrival_ns).await;
        options.progress.started.fetch_add(1, Ordering::Relaxed);
        let (node, progress) = (Arc::clone(&node), Arc::clone(&options.progress));
        open.spawn(async move {
            let task = TaskId(number as u32);
            node.ask(StepRef { task, step: 0 }, node.deadline_ns(task)).await;
            progress.returned.fetch_add(1, Ordering::Relaxed);
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

async fn gather(mut bystanders: JoinSet<(Histogram, u64)>, clock: &Clock, end_ns: u64) -> (Histogram, u64) {
    let (mut latency, mut failed) = (Histogram::default(), 0);
    let patience_ns = end_ns + Duration::from_secs(1).as_nanos() as u64;
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
