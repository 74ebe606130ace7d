//! What every placement needs of a run, and what it makes of what it is told.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::engine::{
    Agent, AgentOptions, Bystanders, Clock, History, Links, PartRet, Progress, Recorder, Ways, others, peak,
    steadiness::Steadiness,
};
use crate::faults::{Injector, Nodes, Surroundings, Views};
use crate::judge::{Figures, measure};
use crate::model::{Facts, Histogram, Injected, Outage, Plan, Promises};
use crate::record::{HostFacts, Operations, Others, Peak};
use crate::servers::Server;

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
    /// Whether bystanders probe.
    pub bystanders: Bystanders,
    /// Where a history goes while the run lasts that is too long to be held; `None`: where temporary files go.
    pub spill: Option<PathBuf>,
}

/// What happened in a run, in whatever placement.
#[derive(Debug, Clone)]
pub struct Run {
    /// What is known of it beside its events.
    pub facts: Facts,
    /// What happened, by time.
    pub history: History,
    /// Latency of the bystanders' probes that completed.
    pub bystander: Histogram,
    /// Probes that did not complete.
    pub bystander_failed: u64,
    /// CPU of all processes of the run but the server's, timer threads excluded.
    pub process_cpu_ns: u64,
    /// CPU of the timer threads.
    pub timer_cpu_ns: u64,
    /// Operations sent to the server in the run.
    pub operations: Option<Operations>,
    /// The most that it held at one time.
    pub peak: Peak,
    /// What the machine did for others meanwhile; `None` in virtual time.
    pub others: Option<Others>,
    /// What of the machine did not stay as it was, a sentence each.
    pub disturbed: Vec<String>,
    /// How the mechanism notices the loss of a node, with negotiated values.
    pub detection: String,
    /// The hosts that its nodes were at; none where they were on this machine.
    pub hosts: Vec<HostFacts>,
}

impl Run {
    /// The figures of this run.
    ///
    /// # Errors
    /// When the history could not be written, or cannot be read.
    pub fn measure(&self) -> io::Result<Figures> {
        let mut figures = measure(&self.facts, &self.history)?;
        figures.latency.bystander = self.bystander.clone();
        Ok(figures)
    }
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

/// What was seen of the machine while a run lasted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watched {
    pub(crate) peak: Peak,
    pub(crate) others: Option<Others>,
    pub(crate) disturbed: Vec<String>,
}

/// What is told when a run is over.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) origin_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) ret: PartRet,
    pub(crate) watched: Watched,
    pub(crate) detection: String,
    pub(crate) promises: Promises,
    pub(crate) outages: Vec<Outage>,
    pub(crate) injected: Vec<Injected>,
    pub(crate) hosts: Vec<HostFacts>,
}

impl Stage {
    pub(crate) fn new(plan: Arc<Plan>, clock: Clock, options: RunOptions) -> Self {
        let spill = options.spill.clone().unwrap_or_else(std::env::temp_dir);
        let recorder = Arc::new(Recorder::new(Arc::clone(&options.progress), spill));
        let agent = Agent::new(Arc::clone(&plan), clock.clone(), Arc::clone(&recorder), options.agent);
        let views = Arc::new(Views::new(&plan));
        Self { plan, clock, recorder, agent: Arc::new(agent), views, options }
    }

    /// Injects the plan's faults until every task has returned, could no longer, or the run is to stop early. No fault
    /// lasts when this returns. Also tells what was seen of the machine meanwhile.
    pub(crate) async fn until_over(
        &self,
        origin_ns: u64,
        nodes: &dyn Nodes,
        returned: impl Future<Output = ()>,
    ) -> (Vec<Injected>, Watched) {
        let plan = &self.plan;
        self.options.progress.origin_ns.store(origin_ns, Ordering::Relaxed);
        let longest_fault_ns = plan.faults.iter().map(|fault| fault.for_ns).max().unwrap_or(0);
        let give_up_ns = origin_ns + plan.last_deadline_ns() + plan.longest_hold_ns() + longest_fault_ns;
        let over = CancellationToken::new();
        let injector = Injector {
            plan,
            origin_ns,
            progress: &self.options.progress,
            around: Surroundings {
                clock: &self.clock,
                agent: &self.agent,
                nodes,
                node_count: plan.settings.nodes,
                views: &self.views,
                server: self.options.server.as_deref(),
                links: self.options.links.as_deref(),
                over: over.clone(),
            },
        };
        let ends = async {
            tokio::select! {
                biased;
                () = self.options.stop.cancelled() => self.recorder.end(self.clock.now_ns()),
                () = returned => {}
                () = self.clock.sleep_until(give_up_ns) => {}
            }
            over.cancel();
        };
        let ports = match &self.options.server {
            Some(server) => {
                server.lock().await.members().iter().map(|member| member.address().port()).collect()
            }
            None => Vec::new(),
        };
        let watched = async {
            if self.clock.is_virtual() {
                return Watched::default();
            }
            let (others, before) = (others::Watch::begin(), Steadiness::now());
            let peak =
                peak::watch(&ports, || nodes.processes(), || self.server_processes(), over.cancelled()).await;
            let disturbed = Steadiness::now().changed_since(&before);
            Watched { peak, others: Some(others.since()), disturbed }
        };
        let ((), injected, watched) = tokio::join!(ends, injector.run(), watched);
        (injected, watched)
    }

    /// Those of the contender's server; none while a fault has it, or it has none.
    fn server_processes(&self) -> Vec<u32> {
        let server = self.options.server.as_ref();
        server.and_then(|server| Some(server.try_lock().ok()?.pids())).unwrap_or_default()
    }

    /// Puts the run together; all events have been recorded.
    pub(crate) fn run(self, told: Told) -> Run {
        let Told { origin_ns, end_ns, ret, watched, detection, promises, outages, injected, hosts } = told;
        let history = self.recorder.finish();
        Run {
            facts: Facts {
                plan: self.plan,
                origin_ns,
                end_ns,
                promises,
                outages,
                injected,
                limit_ns: None,
                audit: None,
                earlier_ns: 2 * hosts.iter().filter_map(|host| host.clock_bound_ns).max().unwrap_or(0),
            },
            history,
            bystander: ret.bystander,
            bystander_failed: ret.bystander_failed,
            process_cpu_ns: ret.spent.process_cpu_ns,
            timer_cpu_ns: ret.spent.timer_cpu_ns,
            operations: ret.spent.operations,
            peak: watched.peak,
            others: watched.others,
            disturbed: watched.disturbed,
            detection,
            hosts,
        }
    }
}
