//! One run: its server, the links between, the faults, and the nodes at work.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use harness::engine::{AgentOptions, Clock, Link, Links, Progress, WhenBusy};
use harness::model::splitmix;
use harness::placement::process::{self, Ground, NodeCommand};
use harness::placement::single;
use harness::placement::{Run, RunOptions};
use harness::record::RunRecord;
use harness::secret::{Sealed, Secret};
use harness::servers::Server;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::asked::Asked;
use super::assemble::record;
use super::bystanders::{Bystander, beside, eased};
use super::drawing::{Drawing, plan_for};
use super::hopeless::hopeless;
use super::place::Place;
use super::servers::facts;
use super::show::{Begins, Show, Wrong};
use super::wanted::Batch;
use crate::contenders::{Contender, Here, LinksBetween, Proof, Setting};
use crate::spec::Placement;
use crate::workload;

/// The folder in a batch's directory where programs that speak over the port write their logs.
const LOGS: &str = "logs";

/// A run that is over.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) run: Run,
    pub(super) record: RunRecord,
    /// Its server, which still runs.
    pub(super) server: Option<Server>,
}

impl Batch {
    /// Runs a contender on the plan of a block, with a server of its own (a fresh one where none is given), until `stop` fires at the
    /// latest. A long history is in the directory meanwhile.
    #[expect(clippy::too_many_arguments, reason = "each is of another kind, and all are needed")]
    pub(super) async fn one(
        &self,
        contender: &Contender,
        place: Place,
        asked: &Asked,
        server: Option<Server>,
        directory: &Path,
        show: &dyn Show,
        stop: CancellationToken,
    ) -> anyhow::Result<Done> {
        let spec = &asked.scenario.spec;
        let plan = plan_for(contender, &asked.plan);
        let progress = Arc::new(Progress::of(Arc::clone(&plan)));
        let title = match asked.probe {
            Some((rate, _)) => format!("{place}/{} {} {rate:.0}/s", spec.blocks, contender.name),
            None => format!("{place}/{} {}", spec.blocks, contender.name),
        };
        show.begin(Begins {
            title,
            tasks: plan.tasks.len() as u64,
            window_s: plan.settings.window_ns as f64 / 1e9,
            then_s: asked.then_s,
            wrong: if contender.proves().is_some() { Wrong::OfAControl } else { Wrong::Violations },
            progress: Arc::clone(&progress),
        });

        let fresh = contender.server.filter(|_| server.is_none());
        let server = match (server, contender.server) {
            (Some(server), _) => Some(server),
            (None, Some(kind)) => Some(self.server(kind).await?),
            (None, None) => None,
        };
        let server = server.map(|server| Arc::new(Mutex::new(server)));
        let clock = Clock::real()?;
        if asked.probe.is_some() {
            // At every rate alike: how precisely tasks begin must not depend on how many they are.
            clock.expect(f64::INFINITY);
        }
        let mut setting = Setting {
            plan: Arc::clone(&plan),
            clock,
            endpoint: match &server {
                Some(server) => Some(server.lock().await.endpoint().to_owned().into()),
                None => None,
            },
            detect: Duration::from_secs_f64(spec.detect_ms / 1e3),
            // A probe of the control finds what the bench carries, not what a delay leaves of it.
            noop_delay: match asked.probe {
                Some(_) => Duration::ZERO,
                None => Duration::from_secs_f64(spec.noop_delay_ms / 1e3),
            },
            run_seed: splitmix(plan.settings.seed ^ u64::from(place.order) << 32),
            ring_secret: Secret::fresh(),
            logs: Some(directory.join(LOGS)),
            here: Here::all(&plan),
        };
        let fencing = contender.fencing(spec.fencing);
        // The control must show that the checks can see, so its agents hide nothing.
        let when_busy =
            if contender.proves() == Some(Proof::Checks) { WhenBusy::Admit } else { spec.when_busy };
        let agent = AgentOptions { fencing, when_busy };
        let links = self.links(server.as_deref(), &mut setting).await?;
        let agent_links = self.scenario.agent_links();
        let spill = Some(directory.to_owned());
        let options = RunOptions {
            agent,
            progress: Arc::clone(&progress),
            stop: stop.clone(),
            server: server.clone(),
            links,
            agent_links,
            spill,
            ..RunOptions::default()
        };
        let bystander = self.bystander(contender).await?;
        let bystander = bystander.as_ref();
        let is_first = (place.order as usize) < self.contenders.len();
        let first = bystander.filter(|_| is_first).map(|_| eased(&asked.scenario));
        for scenario in first.into_iter().chain([asked.warming(fresh)]) {
            if let Some(warm_up) = workload::draw_warm_up(&scenario, plan.settings.seed)? {
                let setting = Setting { plan: Arc::new(warm_up), ..setting.clone() };
                let quiet = RunOptions { progress: Arc::default(), ..options.clone() };
                let drawing = Drawing::of(&scenario, plan.settings.seed, contender, true);
                beside(bystander, &stop, self.placed(contender, &setting, &drawing, quiet)).await?;
            }
        }
        setting.run_seed = splitmix(setting.run_seed);
        let cpu_before = cpu_ns(server.as_deref()).await;
        let (mut run, hopeless) = {
            let drawing = Drawing::of(&asked.scenario, plan.settings.seed, contender, false);
            let placed = self.placed(contender, &setting, &drawing, options);
            let mut running = std::pin::pin!(beside(bystander, &stop, placed));
            let looking = async {
                match &asked.probe {
                    Some((_, level)) => hopeless(&plan, level, &setting.clock, &progress).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                run = &mut running => (run?, false),
                () = looking => {
                    stop.cancel();
                    (running.await?, true)
                }
            }
        };
        run.facts.audit = contender.design.audit(&setting).await?;
        run.facts.limit_ns = asked.probe.map(|(_, level)| level.excess_ns);
        let server = server.map(|server| Arc::into_inner(server).expect("the run is over").into_inner());
        let cpu_after = server.as_ref().and_then(Server::cpu_ns);

        let on = server.as_ref().map(|server| facts(server, &self.members));
        let record = RunRecord {
            server_cpu_ns: cpu_after.zip(cpu_before).and_then(|(after, before)| after.checked_sub(before)),
            ..record(asked, contender, place, &run, on, hopeless)?
        };
        Ok(Done { run, record, server })
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
        let members = server.doors();
        anyhow::ensure!(
            !members.is_empty(),
            "links (rtt_ms, cut, slow, reset, promote) need a private {}, not one that already runs",
            server.kind()
        );
        let links = Links::open(nodes, &members, usual, &setting.clock).await?;
        let over =
            |links: &[Link]| server.endpoint_over(&links.iter().map(Link::address).collect::<Vec<_>>());
        between.endpoints = links.iter().map(|links| over(links).into()).collect();
        Ok(Some(Arc::new(links)))
    }

    /// Who watches a server of others while it is loaded.
    async fn bystander(&self, contender: &Contender) -> anyhow::Result<Option<Bystander>> {
        let server = contender.server.and_then(|kind| Some((kind, self.attached.get(&kind)?)));
        match (server, self.bystander_bound) {
            (Some((kind, url)), Some(bound)) => Bystander::connect(kind, url, bound).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Runs the setting's plan, which others can draw so, with the nodes where the scenario wants them.
    async fn placed(
        &self,
        contender: &Contender,
        setting: &Setting,
        drawing: &Drawing,
        options: RunOptions,
    ) -> anyhow::Result<Run> {
        let (plan, clock) = (Arc::clone(&setting.plan), setting.clock.clone());
        match self.scenario.spec.placement {
            Placement::Single => Ok(single::run(plan, contender.build(setting).await?, clock, options).await),
            Placement::Process => {
                let here = Ground::Here(NodeCommand {
                    program: self.program.clone(),
                    args: vec!["node".into()],
                    processors: self.pinning.as_ref().map(|each| each.nodes.clone()).unwrap_or_default(),
                });
                let recipe = Sealed(serde_json::to_value(contender.recipe(setting))?);
                Ok(process::run(plan, here, recipe, clock, options).await?)
            }
            Placement::Remote => {
                let hosts = self.remote.as_ref().and_then(|remote| remote.hosts());
                let hosts = Arc::clone(hosts.context("no hosts of nodes have been waited for")?);
                let there = Ground::There { hosts, drawing: Sealed(serde_json::to_value(drawing)?) };
                let recipe = Sealed(serde_json::to_value(contender.recipe(setting))?);
                Ok(process::run(plan, there, recipe, clock, options).await?)
            }
        }
    }
}

async fn cpu_ns(server: Option<&Mutex<Server>>) -> Option<u64> {
    server?.lock().await.cpu_ns()
}
