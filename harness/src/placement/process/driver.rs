//! The driver's side of a run with nodes as processes.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::account::account;
use super::connection::Reception;
use super::departed::Departed;
use super::elsewhere::Elsewhere;
use super::frame::ToNode;
use super::outages::Outages;
use super::seat::{Phase, Seat, Seats};
use super::{NodeCommand, PlacementError, SECRET};
use crate::child::{Process, tied};
use crate::engine::{BoxFuture, Clock, Link, PartRet, Way};
use crate::faults::{Nodes, Views};
use crate::model::{FaultVerb, NodeId, Outage, Plan, Point, Standstill, View};
use crate::placement::stage::{Run, RunOptions, Stage, Told};
use crate::secret::Secret;

/// From the start of its process until a node stands at the barrier, its mechanism connected.
const READY: Duration = Duration::from_secs(30);

/// From the word that the run is over until a node has said goodbye; a mechanism takes a while to shut down.
const GOODBYE: Duration = Duration::from_secs(15);

/// Time from the barrier to the first arrival, so that no node is late for it.
const LEAD_IN_NS: u64 = 100_000_000;

/// How much later than its delay a link may pass something on.
const FORWARDED: Duration = Duration::from_millis(2);

/// For what a node has said that stands still or is gone to be heard; it is all there already.
const DRAIN: Duration = Duration::from_secs(1);

const POLL: Duration = Duration::from_millis(20);

/// Runs the plan with every node in a process of its own, and returns what happened, as [`crate::placement::single::run`] does.
///
/// Nodes that die on the way are [`Outage`]s of the run; their tasks are accounted for. All processes are gone when this
/// returns, and also when its future is dropped.
///
/// # Errors
/// When a node does not come to the start.
pub async fn run(
    plan: Arc<Plan>,
    command: NodeCommand,
    clock: Clock,
    options: RunOptions,
) -> Result<Run, PlacementError> {
    let stage = Stage::new(plan, clock, options);
    let mut driver = Driver::open(&stage, command).await?;
    driver.barrier().await?;
    driver.origin_ns = stage.clock.now_ns() + LEAD_IN_NS;
    driver.start().await;
    let returned = driver.reception.seats.all(Seat::has_returned);
    let (injected, watched) = stage.until_over(driver.origin_ns, &driver, returned).await;
    let end_ns = stage.clock.now_ns();
    let origin_ns = driver.origin_ns;
    let first = |seats: &[Seat]| (seats[0].detection.clone(), seats[0].promises);
    let (detection, promises) = driver.reception.seats.look(first);
    let reception = Arc::clone(&driver.reception);
    let (ret, outages) = driver.finish().await;
    account(&stage, &reception.elsewhere, origin_ns, &outages);
    Ok(stage.run(Told { origin_ns, end_ns, ret, watched, detection, promises, outages, injected }))
}

/// The nodes' processes, and whom they dial.
#[derive(Debug)]
struct Driver {
    reception: Arc<Reception>,
    address: SocketAddr,
    /// Before the agent, one a node; empty where nothing lies between.
    agent_links: Vec<Link>,
    command: NodeCommand,
    processes: Vec<tokio::sync::Mutex<Process>>,
    departed: Departed,
    outages: Outages,
    views: Arc<Views>,
    /// Stamp of the plan's time 0; known once the barrier is open.
    origin_ns: u64,
}

impl Driver {
    async fn open(stage: &Stage, command: NodeCommand) -> Result<Self, PlacementError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(PlacementError::Listen)?;
        let address = listener.local_addr().map_err(PlacementError::Listen)?;
        let reception = Arc::new(Reception {
            digest: stage.plan.digest(),
            plan: Arc::clone(&stage.plan),
            secret: Secret::fresh(),
            mechanism: command.mechanism.clone(),
            clock: stage.clock.clone(),
            opened_ns: stage.clock.now_ns(),
            agent: Arc::clone(&stage.agent),
            recorder: Arc::clone(&stage.recorder),
            seats: Seats::new(stage.plan.settings.nodes),
            elsewhere: Elsewhere::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        reception.tasks.spawn(Arc::clone(&reception).listen(listener));
        let (processes, outages, agent_links) = (Vec::new(), Outages::default(), Vec::new());
        let views = Arc::clone(&stage.views);
        let (departed, origin_ns) = (Departed::new(&stage.plan), 0);
        let mut driver =
            Self { reception, address, agent_links, command, processes, departed, outages, views, origin_ns };
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

    async fn spawn(&self, node: NodeId) -> Result<Process, PlacementError> {
        let failed = |source| PlacementError::Spawn { node, source };
        let mut command = tied(&self.command.program).ok_or(PlacementError::SetprivMissing)?;
        command.args(&self.command.args).args(["--driver", &self.address.to_string()]);
        let agent = self.agent_link(node).map_or(self.address, Link::address);
        command.args(["--agent", &agent.to_string()]);
        command.args(["--node", &node.0.to_string()]).env(SECRET, self.reception.secret.text());
        // What a node has to say that is not an event is for the user.
        let last_words = self.departed.paper(node).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(last_words).stderr(Stdio::inherit());
        let processors = self.command.processors.get(usize::from(node.0)).cloned();
        Process::spawn_on(command, processors).await.map_err(failed)
    }

    /// Waits until every node is ready, and fails with the first that cannot be.
    async fn barrier(&self) -> Result<(), PlacementError> {
        let nodes: Vec<NodeId> = (0..self.processes.len()).map(|node| NodeId(node as u16)).collect();
        self.ready(&nodes).await.map_err(|(node, reason)| PlacementError::Node { node, reason })
    }

    /// Waits until these nodes are ready; or which is not, and why.
    async fn ready(&self, nodes: &[NodeId]) -> Result<(), (NodeId, String)> {
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
                if let Some(status) = ended {
                    // What it may have told over its connection says more; it is on its way.
                    sleep(POLL).await;
                    return (*node, format!("its process ended ({status})"));
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

    async fn start_one(&self, node: NodeId, from_ns: u64, view: View) {
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
    async fn finish(mut self) -> (PartRet, Vec<Outage>) {
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
        let processes = std::mem::take(&mut self.processes);
        drop(tokio::task::spawn_blocking(move || drop(processes)).await);
        // What they said before is all there.
        drop(timeout(DRAIN, seats.all(|seat| seat.control.is_none())).await);
        for node in ended_badly {
            self.hear_last_words(node);
        }
        ret.merge(&self.departed.ret());
        self.close().await;
        let outages = self.outages.take();
        (ret, outages)
    }

    /// Notes a death that no fault has caused, with how the process ended where that says more.
    async fn died(&self, node: NodeId, from_ns: u64, how: String) {
        // Its connection may end a moment before it does, and how it ended says more.
        let mut process = self.processes[usize::from(node.0)].lock().await;
        let how = match timeout(DRAIN, process.wait()).await {
            Ok(Ok(status)) => format!("{how}; {status}"),
            _ => how,
        };
        drop(process);
        self.outages.died(node, from_ns, how);
    }

    /// Takes in what a node that is down had not told; where that is lost, nobody knows what it did last.
    fn hear_last_words(&self, node: NodeId) {
        if let Err(reason) = self.departed.hear(&self.reception, node) {
            self.outages.doubt(node, format!("its last words are lost: {reason}"));
        }
    }

    /// Has the agent hear all that the node has said.
    async fn drain(&self, node: NodeId) {
        if let Some(Way { delay, .. }) = self.agent_link(node).map(|link| link.usual().to)
            && !delay.is_zero()
        {
            // It said it before it stood still, and it is on its way.
            let clock = &self.reception.clock;
            clock.sleep_until(clock.now_ns() + (delay + FORWARDED).as_nanos() as u64).await;
        }
        let agent = self.reception.seats.look(|seats| seats[usize::from(node.0)].agent.clone());
        let (dry, drained) = oneshot::channel();
        // A connection that has ended is dry.
        if let Some(agent) = agent
            && timeout(DRAIN, agent.send(dry)).await.is_ok_and(|sent| sent.is_ok())
        {
            drop(timeout(DRAIN, drained).await);
        }
    }

    async fn pause_one(&self, node: NodeId) -> Result<(), String> {
        let from_ns = self.reception.clock.now_ns();
        let process = self.process(node)?.lock().await;
        process.pause().await.map_err(|error| error.to_string())?;
        self.outages.begin(node, from_ns, Standstill::Paused);
        drop(process);
        self.drain(node).await;
        Ok(())
    }

    async fn resume_one(&self, node: NodeId) -> Result<(), String> {
        self.process(node)?.lock().await.resume();
        self.outages.end(node, self.reception.clock.now_ns(), Standstill::Paused);
        Ok(())
    }

    async fn stall_one(&self, node: NodeId, for_ns: u64) -> Result<(), String> {
        self.outages.begin(node, self.reception.clock.now_ns(), Standstill::Paused);
        self.reception.tell_one(node, ToNode::Stall { for_ns }).await;
        // It cannot say that it stands still.
        sleep(POLL).await;
        self.drain(node).await;
        Ok(())
    }

    async fn kill_one(&self, node: NodeId) -> Result<(), String> {
        self.reception.seats.change(node, |seat| seat.comes_back = true);
        // It stands still and will never go on. Were its sections to end with its connection, the server's news of its
        // death might overtake the agent's, and let somebody in while it still seems to be inside.
        self.reception.agent.abandon(node);
        self.process(node)?.lock().await.kill().await.map_err(|error| error.to_string())?;
        let place = usize::from(node.0);
        let buried = self.reception.seats.until(|seats| match seats[place].phase {
            Phase::Dead { at_ns, .. } => seats[place].is_deserted().then_some(at_ns),
            _ => None,
        });
        let at_ns = timeout(GOODBYE, buried).await.map_err(|_| "its connections stay open".to_owned())?;
        self.outages.end(node, at_ns, Standstill::Paused);
        self.outages.begin(node, at_ns, Standstill::Down);
        self.hear_last_words(node);
        self.reception.send_elsewhere(node).await;
        Ok(())
    }

    async fn restart_one(&self, node: NodeId) -> Result<(), String> {
        let restarted = self.start_again(node).await;
        if let Err(how) = &restarted {
            self.reception.dead(node, how.clone());
        }
        restarted
    }

    async fn start_again(&self, node: NodeId) -> Result<(), String> {
        self.reception.seats.change(node, Seat::vacate);
        let process = self.spawn(node).await.map_err(|error| error.to_string())?;
        *self.process(node)?.lock().await = process;
        self.ready(&[node]).await.map_err(|(_, reason)| reason)?;
        self.reception.call_back(node).await?;
        let (from_ns, view) = (self.reception.clock.now_ns(), self.views.renew());
        self.start_one(node, from_ns, view.clone()).await;
        // The others too, or they would take it for one that is ahead of them.
        for other in
            (0..self.processes.len()).map(|other| NodeId(other as u16)).filter(|other| *other != node)
        {
            self.reception.tell_one(other, ToNode::View(view.clone())).await;
        }
        self.outages.end(node, from_ns, Standstill::Down);
        Ok(())
    }

    fn process(&self, node: NodeId) -> Result<&tokio::sync::Mutex<Process>, String> {
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

impl Nodes for Driver {
    fn tell<'a>(&'a self, node: NodeId, view: &'a View) -> BoxFuture<'a, ()> {
        Box::pin(self.reception.tell_one(node, ToNode::View(view.clone())))
    }

    fn disturb(&self, node: NodeId, verb: Option<FaultVerb>) -> BoxFuture<'_, ()> {
        Box::pin(self.reception.tell_one(node, ToNode::Disturb(verb)))
    }

    fn pause(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.pause_one(node))
    }

    fn resume(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.resume_one(node))
    }

    fn stall(&self, node: NodeId, for_ns: u64) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.stall_one(node, for_ns))
    }

    fn goes_on(&self, node: NodeId) {
        self.outages.end(node, self.reception.clock.now_ns(), Standstill::Paused);
    }

    fn kill(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.kill_one(node))
    }

    fn restart(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.restart_one(node))
    }

    fn halt_at(&self, point: Option<Point>, but: Option<NodeId>) -> BoxFuture<'_, ()> {
        Box::pin(self.reception.halt_all_at(point, but))
    }

    fn halted(&self) -> BoxFuture<'_, NodeId> {
        Box::pin(self.reception.halted())
    }

    fn agent_link(&self, node: NodeId) -> Option<&Link> {
        self.agent_links.get(usize::from(node.0))
    }

    fn hear_out(&self, node: NodeId) -> BoxFuture<'_, ()> {
        Box::pin(self.drain(node))
    }

    fn processes(&self) -> Vec<u32> {
        // One that is being killed, or started again, is left out.
        self.processes.iter().filter_map(|process| Some(process.try_lock().ok()?.id())).collect()
    }
}
