//! All nodes in this process, with the agent a call away.

use std::sync::Arc;

use super::stage::{Run, RunOptions, Stage, Told};
use crate::engine::{
    AgentLink, BoxFuture, Clock, Direct, EnterRet, LeaveRet, Link, Mechanism, Part, PartOptions,
};
use crate::faults::Nodes;
use crate::model::{FaultVerb, NodeId, Plan, Point, StepRef, Token, View};

/// Time from the set-up of a run to its first arrival, so that no node is late for it.
pub(crate) const LEAD_IN_NS: u64 = 20_000_000;

/// Runs the plan to its end: arrivals, then a drain until every task has returned or could no longer. The
/// mechanism is shut down afterwards.
///
/// All nodes live in this process (placement `single`); [`crate::placement::process::run`] has the other one. Must run inside a
/// tokio runtime; with a virtual clock that runtime is paused and single-threaded.
pub async fn run(plan: Arc<Plan>, mechanism: Arc<dyn Mechanism>, clock: Clock, options: RunOptions) -> Run {
    let stage = Stage::new(plan, clock, options);
    let (detection, promises) = (mechanism.detection(), mechanism.promises());
    let introductions = [mechanism.introduction()];
    mechanism.meet(&introductions).expect("a mechanism understands its own introduction");
    let (nodes, view) = ((0..stage.plan.settings.nodes).map(NodeId), stage.views.now());
    nodes.clone().for_each(|node| mechanism.view(node, &view));
    let origin_ns = stage.clock.now_ns() + LEAD_IN_NS;
    let direct = |node| {
        let link = Direct { agent: Arc::clone(&stage.agent), node };
        let link: Arc<dyn AgentLink> = match stage.clock.is_virtual() {
            true => Arc::new(Awake { clock: stage.clock.of(node), link }),
            false => Arc::new(link),
        };
        (node, link)
    };
    let part = PartOptions {
        plan: Arc::clone(&stage.plan),
        clock: stage.clock.clone(),
        mechanism: Arc::clone(&mechanism),
        recorder: Arc::clone(&stage.recorder),
        origin_ns,
        from_ns: origin_ns,
        from_task: None,
        bystanders: stage.options.bystanders,
    };
    let mut part = Part::start(&part, nodes.map(direct));
    let (injected, watched) = stage.until_over(origin_ns, &Together(&*mechanism), part.returned()).await;
    let end_ns = stage.clock.now_ns();
    let ret = part.finish().await;
    let outages = Vec::new();
    stage.run(Told {
        origin_ns,
        end_ns,
        ret,
        watched,
        detection,
        promises,
        outages,
        injected,
        hosts: Vec::new(),
    })
}

/// The way of a node that may stand still in virtual time: it neither comes nor goes meanwhile.
#[derive(Debug)]
struct Awake {
    clock: Clock,
    link: Direct,
}

impl AgentLink for Awake {
    fn enter(&self, step: StepRef, slot: Option<u32>, token: Option<Token>) -> BoxFuture<'_, EnterRet> {
        Box::pin(async move {
            self.clock.awake().await;
            self.link.enter(step, slot, token).await
        })
    }

    fn leave(&self, step: StepRef, slot: Option<u32>, write: Option<u64>) -> BoxFuture<'_, LeaveRet> {
        Box::pin(async move {
            self.clock.awake().await;
            self.link.leave(step, slot, write).await
        })
    }
}

/// All nodes in this process: there is a mechanism to tell, and nothing to stop.
struct Together<'a>(&'a dyn Mechanism);

impl Together<'_> {
    fn none_is_a_process(&self) -> BoxFuture<'_, Result<(), String>> {
        let refused = "nodes that are no processes cannot be paused, stalled or killed".to_owned();
        Box::pin(std::future::ready(Err(refused)))
    }
}

impl Nodes for Together<'_> {
    fn tell<'a>(&'a self, node: NodeId, view: &'a View) -> BoxFuture<'a, ()> {
        self.0.view(node, view);
        Box::pin(std::future::ready(()))
    }

    fn disturb(&self, node: NodeId, verb: Option<FaultVerb>) -> BoxFuture<'_, ()> {
        self.0.disturb(node, verb);
        Box::pin(std::future::ready(()))
    }

    fn pause(&self, _: NodeId) -> BoxFuture<'_, Result<(), String>> {
        self.none_is_a_process()
    }

    fn resume(&self, _: NodeId) -> BoxFuture<'_, Result<(), String>> {
        self.none_is_a_process()
    }

    fn stall(&self, _: NodeId, _: u64) -> BoxFuture<'_, Result<(), String>> {
        self.none_is_a_process()
    }

    fn goes_on(&self, _: NodeId) {}

    fn kill(&self, _: NodeId) -> BoxFuture<'_, Result<(), String>> {
        self.none_is_a_process()
    }

    fn restart(&self, _: NodeId) -> BoxFuture<'_, Result<(), String>> {
        self.none_is_a_process()
    }

    fn halt_at(&self, _: Option<Point>, _: Option<NodeId>) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn halted(&self) -> BoxFuture<'_, NodeId> {
        Box::pin(std::future::pending())
    }

    fn agent_link(&self, _: NodeId) -> Option<&Link> {
        None
    }

    fn hear_out(&self, _: NodeId) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id()]
    }
}
