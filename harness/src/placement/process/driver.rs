//! The driver's side of a run with nodes as processes.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::account;
use super::body::Body;
use super::connection::Reception;
use super::departed::Departed;
use super::elsewhere::Elsewhere;
use super::frame::ToNode;
use super::outages::Outages;
use super::seat::{Phase, Seat, Seats};
use super::{Ground, NodeCommand, PlacementError};
use crate::child::{Process, tied};
use crate::engine::{Clock, Link, PartRet};
use crate::faults::{Nodes, Views};
use crate::model::{NodeId, Outage, Plan, View};
use crate::placement::remote::Lodging;
use crate::placement::stage::{Run, RunOptions, Stage, Told};
use crate::record::HostFacts;
use crate::secret::{SECRET, Sealed, Secret};

/// From the start of its process until a node stands at the barrier, its mechanism connected.
const READY: Duration = Duration::from_secs(30);

/// From the word that the run is over until a node has said goodbye; a mechanism takes a while to shut down.
pub(super) const GOODBYE: Duration = Duration::from_secs(15);

/// Time from the barrier to the first arrival, so that no node is late for it.
const LEAD_IN_NS: u64 = 100_000_000;

/// For what a node has said that stands still or is gone to be heard; it is all there already.
pub(super) const DRAIN: Duration = Duration::from_secs(1);

pub(super) const POLL: Duration = Duration::from_millis(20);

/// Runs the plan with every node in a process of its own, which makes its mechanism of what is handed on to it, and returns what
/// happened, as [`crate::placement::single::run`] does.
///
/// Nodes that die on the way are [`Outage`]s of the run; their tasks are accounted for. All processes are gone when this
/// returns, and also when its future is dropped.
///
/// # Errors
/// When a node does not come to the start.
pub async fn run(
    plan: Arc<Plan>,
    ground: Ground,
    mechanism: Sealed,
    clock: Clock,
    options: RunOptions,
) -> Result<Run, PlacementError> {
    let stage = Stage::new(plan, clock, options);
    let mut driver = Driver::open(&stage, ground, mechanism).await?;
    driver.barrier().await?;
    driver.origin_ns = stage.clock.now_ns() + LEAD_IN_NS;
    driver.start().await;
    let returned = driver.reception.seats.all(Seat::has_returned);
    let (injected, mut watched) = stage.until_over(driver.origin_ns, &driver, returned).await;
    let end_ns = stage.clock.now_ns();
    let origin_ns = driver.origin_ns;
    let first = |seats: &[Seat]| (seats[0].detection.clone(), seats[0].promises);
    let (detection, promises) = driver.reception.seats.look(first);
    let reception = Arc::clone(&driver.reception);
    let (ret, outages, hosts, stepped) = driver.finish().await;
    watched.disturbed.extend(stepped);
    account(&stage, &reception.elsewhere, origin_ns, &outages);
    Ok(stage.run(Told { origin_ns, end_ns, ret, watched, detection, promises, outages, injected, hosts }))
}

/// The nodes' processes, and whom they dial.
#[derive(Debug)]
pub(super) struct Driver {
    pub(super) reception: Arc<Reception>,
    address: SocketAddr,
    /// Before the agent, one a node; empty where nothing lies between.
    pub(super) agent_links: Vec<Link>,
    place: Place,
    pub(super) processes: Vec<tokio::sync::Mutex<Body>>,
    departed: Departed,
    pub(super) outages: Outages,
    pub(super) views: Arc<Views>,
    /// Stamp of the plan's time 0; known once the barrier is open.
    origin_ns: u64,
}

/// Where this run's processes are.
#[derive(Debug)]
enum Place {
    Here(NodeCommand),
    There(Lodging),
}

impl Driver {
    async fn open(stage: &Stage, ground: Ground, mechanism: Sealed) -> Result<Self, PlacementError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(PlacementError::Listen)?;
        let address = listener.local_addr().map_err(PlacementError::Listen)?;
        let (place, drawing, incoming) = match ground {
            Ground::Here(command) => (Place::Here(command), None, None),
            Ground::There { hosts, drawing } => {
                let (lodging, incoming) = tokio::select! {
                    biased;
                    () = stage.options.stop.cancelled() => return Err(PlacementError::Stopped),
                    lodged = hosts.lodge(&stage.plan) => lodged?,
                };
                (Place::There(lodging), Some(drawing), Some(incoming))
            }
        };
        let reception = Arc::new(Reception {
            digest: stage.plan.digest(),
            plan: Arc::clone(&stage.plan),
            secret: Secret::fresh(),
            mechanism,
            drawing,
            clock: stage.clock.clone(),
            opened_ns: stage.clock.now_ns(),
            agent: Arc::clone(&stage.agent),
            recorder: Arc::clone(&stage.recorder),
            seats: Seats::new(stage.plan.settings.nodes),
            elsewhere: Elsewhere::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        match incoming {
            None => drop(reception.tasks.spawn(Arc::clone(&reception).listen(listener))),
            Some(incoming) => drop(reception.tasks.spawn(Arc::clone(&reception).take_over(incoming))),
        }
        if let Place::There(lodging) = &place {
            for node in (0..stage.plan.settings.nodes).map(NodeId) {
                reception.seats.change(node, |seat| seat.clock_bound_ns = lodging.bound_ns());
            }
        }
        let (processes, outages, agent_links) = (Vec::new(), Outages::default(), Vec::new());
        let views = Arc::clone(&stage.views);
        let (departed, origin_ns) = (Departed::new(&stage.plan), 0);
        let mut driver =
            Self { reception, address, agent_links, place, processes, departed, outages, views, origin_ns };
        for node in (0..stage.plan.settings.nodes).map(NodeId) {
            if let Some(usual) = stage.options.agent_links {
                let link = Link::open((Ipv4Addr::LOCALHOST, 0).into(), address, usual, stage.clock.clone());
                driver.agent_links.push(link.await.map_err(PlacementError::Listen)?);
            }
            let process = driver.spawn(node).await?;
            driver.processes.push(tokio::sync::Mutex::new(process));
        }
        Ok(driver)
    }

    pub(super) async fn spawn(&self, node: NodeId) -> Result<Body, PlacementError> {
        let here = match &self.place {
            Place::Here(command) => command,
            Place::There(lodging) => {
                let (secret, written) = (&self.reception.secret, self.departed.written);
                let started = lodging.start(node, secret, written).await;
                return started.map(Body::There).map_err(|reason| PlacementError::Spawn { node, reason });
            }
        };
        let failed = |error: std::io::Error| PlacementError::Spawn { node, reason: error.to_string() };
        let mut command = tied(&here.program).ok_or(PlacementError::SetprivMissing)?;
        command.args(&here.args).args(["--driver", &self.address.to_string()]);
        let agent = self.agent_link(node).map_or(self.address, Link::address);
        command.args(["--agent", &agent.to_string()]);
        command.args(["--node", &node.0.to_string()]).env(SECRET, self.reception.secret.text());
        // What a node has to say that is not an event is for the user.
        let last_words = self.departed.paper(node).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(last_words).stderr(Stdio::inherit());
        let processors = here.processors.get(usize::from(node.0)).cloned();
        Process::spawn_on(command, processors).await.map(Body::Here).map_err(failed)
    }

    /// Waits until every node is ready, and fails with the first that cannot be.
    async fn barrier(&self) -> Result<(), PlacementError> {
        let nodes: Vec<NodeId> = (0..self.processes.len()).map(|node| NodeId(node as u16)).collect();
        self.ready(&nodes).await.map_err(|(node, reason)| PlacementError::Node { node, reason })
    }

    /// Waits until these nodes are ready; or which is not, and why.
    pub(super) async fn ready(&self, nodes: &[NodeId]) -> Result<(), (NodeId, String)> {
        let all_of = |seats: &[Seat]| {
            let mut all = Some(Ok(()));
            for node in nodes {
                match &seats[usize::from(node.0)].phase {
                    Phase::Dead { how, .. } => return Some(Err((*node, how.clone()))),
                    Phase::Starting => all = None,
                    _ => {}
                }
            }
            all
        };
        tokio::select! {
            biased;
            all = self.reception.seats.until(all_of) => all,
            ended = self.first_to_end(nodes) => Err(ended),
            () = sleep(READY) => {
                let late = |seats: &[Seat]| {
                    nodes.iter().copied().find(|node| seats[usize::from(node.0)].phase == Phase::Starting)
                };
                let node = self.reception.seats.look(late).unwrap_or(NodeId(0));
                Err((node, format!("it was not ready within {} s; is the machine overloaded?", READY.as_secs())))
            }
        }
    }

    /// The first process that ends; for a time at which none should.
    async fn first_to_end(&self, nodes: &[NodeId]) -> (NodeId, String) {
        loop {
            for node in nodes {
                let ended = self.processes[usize::from(node.0)].lock().await.ended();
                if let Some(how) = ended {
                    // What it may have told over its connection says more; it is on its way.
                    sleep(POLL).await;
                    return (*node, format!("its process ended ({how})"));
                }
            }
            sleep(POLL).await;
        }
    }

    /// Opens the barrier.
    async fn start(&self) {
        for node in 0..self.processes.len() {
            self.start_one(NodeId(node as u16), self.origin_ns, self.views.now()).await;
        }
    }

    pub(super) async fn start_one(&self, node: NodeId, from_ns: u64, view: View) {
        let introductions = self
            .reception
            .seats
            .look(|seats| seats.iter().map(|seat| seat.introduction.clone().unwrap_or_default()).collect());
        let to = self.reception.seats.change(node, |seat| {
            // A node that died at the barrier stays dead.
            if seat.phase == Phase::Ready {
                seat.phase = Phase::Running;
            }
            seat.control.clone()
        });
        let origin_ns = self.origin_ns;
        let from_task = self.reception.elsewhere.left_to(node);
        let start = ToNode::Start { origin_ns, from_ns, from_task, introductions, view };
        self.reception.tell(to.flatten(), start).await;
    }

    /// Ends the nodes' parts and gathers what they tell.
    async fn finish(mut self) -> (PartRet, Vec<Outage>, Vec<HostFacts>, Vec<String>) {
        let reception = Arc::clone(&self.reception);
        let seats = &reception.seats;
        for to in seats.look(|seats| seats.iter().map(|seat| seat.control.clone()).collect::<Vec<_>>()) {
            reception.tell(to, ToNode::Finish).await;
        }
        let gone = |seat: &Seat| matches!(seat.phase, Phase::Ended(_) | Phase::Dead { .. });
        let in_time = timeout(GOODBYE, seats.all(gone)).await.is_ok();
        let (mut ret, mut ended_badly) = (PartRet::default(), Vec::new());
        for node in (0..self.processes.len()).map(|node| NodeId(node as u16)) {
            let phase = seats.look(|seats| seats[usize::from(node.0)].phase.clone());
            if !matches!(phase, Phase::Ended(_)) {
                ended_badly.push(node);
            }
            match phase {
                Phase::Ended(part) => ret.merge(&part),
                Phase::Dead { at_ns, how } => self.died(node, at_ns, how).await,
                _ => {
                    let how = format!("it did not end within {} s", GOODBYE.as_secs());
                    self.died(node, reception.clock.now_ns(), how).await;
                }
            }
        }
        // A node that has said goodbye ends by itself, very soon; dropping kills the others.
        for process in &self.processes {
            if in_time {
                drop(timeout(GOODBYE, process.lock().await.wait()).await);
            }
        }
        for node in &ended_badly {
            // What has gone already is as gone.
            drop(self.processes[usize::from(node.0)].lock().await.kill().await);
        }
        // What they said before is all there.
        drop(timeout(DRAIN, seats.all(|seat| seat.control.is_none())).await);
        for node in ended_badly {
            self.hear_last_words(node).await;
        }
        let processes = std::mem::take(&mut self.processes);
        drop(tokio::task::spawn_blocking(move || drop(processes)).await);
        ret.merge(&self.departed.ret());
        let (hosts, stepped) = match &self.place {
            Place::Here(_) => Default::default(),
            Place::There(lodging) => lodging.facts().await,
        };
        self.close().await;
        let outages = self.outages.take();
        (ret, outages, hosts, stepped)
    }

    /// Notes a death that no fault has caused, with how the process ended where that says more.
    async fn died(&self, node: NodeId, from_ns: u64, how: String) {
        // Its connection may end a moment before it does, and how it ended says more.
        let mut process = self.processes[usize::from(node.0)].lock().await;
        let how = match timeout(DRAIN, process.wait()).await {
            Ok(ended) => format!("{how}; {ended}"),
            Err(_) => how,
        };
        drop(process);
        self.outages.died(node, from_ns, how);
    }

    /// Takes in what a node that is down had not told; where that is lost, nobody knows what it did last.
    pub(super) async fn hear_last_words(&self, node: NodeId) {
        let heard = match &*self.processes[usize::from(node.0)].lock().await {
            Body::Here(_) => self.departed.hear(&self.reception, node),
            Body::There(guest) if self.departed.written => {
                self.departed.hear_of(&self.reception, node, guest).await
            }
            Body::There(_) => Ok(()),
        };
        if let Err(reason) = heard {
            self.outages.doubt(node, format!("its last words are lost: {reason}"));
        }
    }

    pub(super) fn process(&self, node: NodeId) -> Result<&tokio::sync::Mutex<Body>, String> {
        let process = self.processes.get(usize::from(node.0));
        process.ok_or_else(|| format!("there is no node {}", node.0))
    }

    async fn close(&self) {
        self.reception.closing.cancel();
        self.reception.tasks.close();
        self.reception.tasks.wait().await;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.reception.closing.cancel();
    }
}
