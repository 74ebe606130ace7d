//! One run: its server, the links between, the faults, and the nodes at work.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use harness::engine::{AgentOptions, Clock, Link, Links, Progress, WhenBusy};
use harness::model::{Plan, splitmix};
use harness::placement::process::{self, NodeCommand};
use harness::placement::single;
use harness::placement::{Run, RunOptions};
use harness::record::RunRecord;
use harness::secret::{Sealed, Secret};
use harness::servers::{Member, Server};
use tokio::sync::Mutex;

use super::assemble::record;
use super::place::Place;
use super::servers::facts;
use super::show::Show;
use super::wanted::Batch;
use crate::contenders::{Contender, Here, LinksBetween, Proof, Setting};
use crate::spec::Placement;
use crate::workload;

impl Batch {
    /// Runs a contender on the plan of a block, with a server of its own. A long history is in the directory meanwhile.
    pub(super) async fn one(
        &self,
        contender: &Contender,
        place: Place,
        plan: &Arc<Plan>,
        directory: &Path,
        show: &dyn Show,
    ) -> anyhow::Result<(Run, RunRecord)> {
        let spec = &self.scenario.spec;
        let plan = plan_for(contender, plan);
        let progress = Arc::new(Progress::default());
        let title = format!("{place}/{} {}", spec.blocks, contender.name);
        show.begin(&title, plan.tasks.len() as u64, Arc::clone(&progress));

        let server = match contender.server {
            Some(kind) => Some(Arc::new(Mutex::new(self.server(kind).await?))),
            None => None,
        };
        let clock = Clock::real()?;
        let mut setting = Setting {
            plan: Arc::clone(&plan),
            clock,
            endpoint: match &server {
                Some(server) => Some(server.lock().await.endpoint().to_owned().into()),
                None => None,
            },
            detect: Duration::from_secs_f64(spec.detect_ms / 1e3),
            noop_delay: Duration::from_secs_f64(spec.noop_delay_ms / 1e3),
            run_seed: splitmix(plan.settings.seed ^ u64::from(place.order) << 32),
            ring_secret: Secret::fresh(),
            here: Here::all(&plan),
        };
        let fencing = contender.fencing(spec.fencing);
        // The control must show that the checks can see, so its agents hide nothing.
        let when_busy =
            if contender.proves() == Some(Proof::Checks) { WhenBusy::Admit } else { spec.when_busy };
        let agent = AgentOptions { fencing, when_busy };
        let links = self.links(server.as_deref(), &mut setting).await?;
        let stop = self.stop.clone();
        let agent_links = self.scenario.agent_links();
        let spill = Some(directory.to_owned());
        let options = RunOptions { agent, progress, stop, server: server.clone(), links, agent_links, spill };
        if let Some(warm_up) = workload::draw_warm_up(&self.scenario, plan.settings.seed)? {
            let setting = Setting { plan: Arc::new(warm_up), ..setting.clone() };
            let quiet = RunOptions { progress: Arc::default(), ..options.clone() };
            self.placed(contender, &setting, quiet).await?;
        }
        setting.run_seed = splitmix(setting.run_seed);
        let cpu_before = cpu_ns(server.as_deref()).await;
        let run = self.placed(contender, &setting, options).await?;
        let server = server.map(|server| Arc::into_inner(server).expect("the run is over").into_inner());
        let cpu_after = server.as_ref().and_then(Server::cpu_ns);

        let record = RunRecord {
            server: server.as_ref().map(facts),
            server_cpu_ns: cpu_after.zip(cpu_before).and_then(|(after, before)| after.checked_sub(before)),
            ..record(&self.scenario, contender, place, &run)?
        };
        if let Some(server) = server {
            server.stop().await?;
        }
        Ok((run, record))
    }

    /// Puts links between the nodes and the server, and between the ring's nodes, where the scenario wants any.
    async fn links(
        &self,
        server: Option<&Mutex<Server>>,
        setting: &mut Setting,
    ) -> anyhow::Result<Option<Arc<Links>>> {
        let Some(usual) = self.scenario.links() else { return Ok(None) };
        let between = setting.here.between.insert(LinksBetween::default());
        between.one_way = usual.to.delay;
        let Some(server) = server else { return Ok(None) };
        let server = server.lock().await;
        let nodes = setting.plan.settings.nodes;
        let members: Vec<_> = server.members().iter().map(Member::address).collect();
        anyhow::ensure!(
            !members.is_empty(),
            "links (rtt_ms, cut, slow, reset) need a private {}, not one that already runs",
            server.kind()
        );
        let links = Links::open(nodes, &members, usual, &setting.clock).await?;
        let over =
            |links: &[Link]| server.endpoint_over(&links.iter().map(Link::address).collect::<Vec<_>>());
        between.endpoints = links.iter().map(|links| over(links).into()).collect();
        Ok(Some(Arc::new(links)))
    }

    /// Runs the setting's plan, with the nodes where the scenario wants them.
    async fn placed(
        &self,
        contender: &Contender,
        setting: &Setting,
        options: RunOptions,
    ) -> anyhow::Result<Run> {
        let (plan, clock) = (Arc::clone(&setting.plan), setting.clock.clone());
        match self.scenario.spec.placement {
            Placement::Single => Ok(single::run(plan, contender.build(setting).await?, clock, options).await),
            Placement::Process => {
                let command = NodeCommand {
                    program: self.program.clone(),
                    args: vec!["node".into()],
                    mechanism: Sealed(serde_json::to_value(contender.recipe(setting))?),
                    processors: self.pinning.as_ref().map(|each| each.nodes.clone()).unwrap_or_default(),
                };
                Ok(process::run(plan, command, clock, options).await?)
            }
        }
    }
}

/// The plan as this contender has it: the control that must be caught has the keys folded until it can be, and nobody has
/// the faults that he is spared.
fn plan_for(contender: &Contender, plan: &Arc<Plan>) -> Arc<Plan> {
    let fold = if contender.proves() == Some(Proof::Checks) { workload::control_fold(plan) } else { 1 };
    let plan = if fold > 1 { Arc::new(plan.folded(fold)) } else { Arc::clone(plan) };
    if !plan.faults.iter().any(|fault| contender.is_spared(fault)) {
        return plan;
    }
    let faults = plan.faults.iter().filter(|fault| !contender.is_spared(fault)).copied().collect();
    Arc::new(Plan::clone(&plan).with_faults(faults))
}

async fn cpu_ns(server: Option<&Mutex<Server>>) -> Option<u64> {
    server?.lock().await.cpu_ns()
}
