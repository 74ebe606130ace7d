//! Runs a plan against a mechanism and returns what happened.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, AgentLink, AgentOptions, Direct};
use crate::clock::Clock;
use crate::event::{Event, Progress, Recorder};
use crate::fault::{Injected, Injector, Nodes, Together};
use crate::link::{Links, Ways};
use crate::measure::Histogram;
use crate::mechanism::{Mechanism, Promises};
use crate::part::{Part, PartOptions, PartRet};
use crate::peak;
use crate::plan::{NodeId, Plan, Task};
use crate::record::Peak;
use crate::servers::Server;
use crate::view::Views;

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
    /// The contender's server, for faults.
    pub server: Option<Arc<Mutex<Server>>>,
    /// The links between the nodes and that server, where there are any.
    pub links: Option<Arc<Links>>,
    /// How links between the nodes and the agent usually are, where there are to be any; nodes must be processes.
    pub agent_links: Option<Ways>,
}

/// What happened in a run, in whatever placement.
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
    /// CPU of all processes of the run but the server's, timer threads excluded.
    pub process_cpu_ns: u64,
    /// CPU of the timer threads.
    pub timer_cpu_ns: u64,
    /// Operations sent to the server in the run.
    pub operations: Option<u64>,
    /// The most that it held at one time.
    pub peak: Peak,
    /// How the mechanism notices the loss of a node, with negotiated values.
    pub detection: String,
    /// Times at which nodes could not work as planned.
    pub outages: Vec<Outage>,
    /// What became of the plan's faults.
    pub injected: Vec<Injected>,
    /// What the mechanism promises.
    pub promises: Promises,
}

/// A time at which a node was paused or down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// Which.
    pub node: NodeId,
    /// Its beginning.
    pub from_ns: u64,
    /// Its end; `u64::MAX`: it did not come back.
    pub until_ns: u64,
    /// What.
    pub state: Standstill,
    /// Why, when nobody planned it.
    pub unplanned: Option<String>,
}

/// Why a node did not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    /// It stood still and went on.
    Paused,
    /// Its process was gone.
    Down,
}

impl Run {
    /// Whether the node where a task enters was paused or down when the task was due: then it is late for no fault of
    /// the driver's.
    #[must_use]
    pub fn was_out(&self, task: &Task) -> bool {
        let intended_ns = self.origin_ns + task.arrival_ns;
        let out = |outage: &Outage| {
            outage.node == task.entry && (outage.from_ns..outage.until_ns).contains(&intended_ns)
        };
        self.outages.iter().any(out)
    }
}

/// Runs the plan to its end: arrivals, then a drain until every task has returned or could no longer. The
/// mechanism is shut down afterwards.
///
/// All nodes live in this process (placement `single`); [`crate::placement::run`] has the other one. Must run inside a
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
        let link: Arc<dyn AgentLink> = Arc::new(Direct { agent: Arc::clone(&stage.agent), node });
        (node, link)
    };
    let part = PartOptions {
        plan: Arc::clone(&stage.plan),
        clock: stage.clock.clone(),
        mechanism: Arc::clone(&mechanism),
        recorder: Arc::clone(&stage.recorder),
        origin_ns,
        from_ns: origin_ns,
    };
    let mut part = Part::start(&part, nodes.map(direct));
    let (injected, peak) = stage.until_over(origin_ns, &Together(&*mechanism), part.returned()).await;
    let end_ns = stage.clock.now_ns();
    let ret = part.finish().await;
    let outages = Vec::new();
    stage.run(Told { origin_ns, end_ns, ret, peak, detection, promises, outages, injected })
}

/// What every placement needs of a run: the plan, the agent, and where events go.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) plan: Arc<Plan>,
    pub(crate) clock: Clock,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) agent: Arc<Agent>,
    /// Of the ring, where the mechanism is one that is told.
    pub(crate) views: Arc<Views>,
    pub(crate) options: RunOptions,
}

/// What is told when a run is over.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) origin_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) ret: PartRet,
    pub(crate) peak: Peak,
    pub(crate) detection: String,
    pub(crate) promises: Promises,
    pub(crate) outages: Vec<Outage>,
    pub(crate) injected: Vec<Injected>,
}

impl Stage {
    pub(crate) fn new(plan: Arc<Plan>, clock: Clock, options: RunOptions) -> Self {
        let recorder = Arc::new(Recorder::new(Arc::clone(&options.progress)));
        let agent = Agent::new(Arc::clone(&plan), clock.clone(), Arc::clone(&recorder), options.agent);
        let views = Arc::new(Views::new(&plan));
        Self { plan, clock, recorder, agent: Arc::new(agent), views, options }
    }

    /// Injects the plan's faults until every task has returned, could no longer, or the run is to stop early. No fault
    /// lasts when this returns. Also tells the most that the run held meanwhile.
    pub(crate) async fn until_over(
        &self,
        origin_ns: u64,
        nodes: &dyn Nodes,
        returned: impl Future<Output = ()>,
    ) -> (Vec<Injected>, Peak) {
        let plan = &self.plan;
        let last_arrival_ns = plan.tasks.last().map_or(0, |task| task.arrival_ns);
        let longest_fault_ns = plan.faults.iter().map(|fault| fault.for_ns).max().unwrap_or(0);
        let give_up_ns = origin_ns
            + last_arrival_ns
            + plan.settings.deadline_ns
            + plan.longest_hold_ns()
            + longest_fault_ns;
        let injector = Injector {
            plan,
            clock: &self.clock,
            agent: &self.agent,
            nodes,
            views: &self.views,
            server: self.options.server.clone(),
            links: self.options.links.clone(),
            origin_ns,
            over: CancellationToken::new(),
        };
        let over = async {
            tokio::select! {
                biased;
                () = self.options.stop.cancelled() => {}
                () = returned => {}
                () = self.clock.sleep_until(give_up_ns) => {}
            }
            injector.over.cancel();
        };
        let ports = match &self.options.server {
            Some(server) => {
                server.lock().await.members().iter().map(|member| member.address().port()).collect()
            }
            None => Vec::new(),
        };
        let peak = async {
            match self.clock.is_virtual() {
                true => Peak::default(),
                false => peak::watch(&ports, || nodes.processes(), injector.over.cancelled()).await,
            }
        };
        let ((), injected, peak) = tokio::join!(over, injector.run(), peak);
        (injected, peak)
    }

    /// Puts the run together; all events have been recorded.
    pub(crate) fn run(self, told: Told) -> Run {
        let Told { origin_ns, end_ns, ret, peak, detection, promises, outages, injected } = told;
        let events = self.recorder.finish();
        Run {
            plan: self.plan,
            origin_ns,
            end_ns,
            events,
            bystander: ret.bystander,
            bystander_failed: ret.bystander_failed,
            process_cpu_ns: ret.process_cpu_ns,
            timer_cpu_ns: ret.timer_cpu_ns,
            operations: ret.operations,
            peak,
            detection,
            outages,
            injected,
            promises,
        }
    }
}
