//! A node's side of a run with nodes as processes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::frame::{
    AGENT_BYTES, AgentRet, Ask, AskWhat, CHUNK, Channel, Hello, Planned, Reply, ToDriver, ToNode, Welcome,
};
use crate::engine::{
    AgentLink, BoxFuture, Bystanders, Clock, EnterRet, LastWords, LeaveRet, Mechanism, Part, PartOptions,
    Recorder,
};
use crate::model::{NodeId, Plan, StepRef, Token};
use crate::placement::frames::{CONTROL_BYTES, FrameError, Frames, PROTOCOL_VERSION, STRANGER_BYTES};
use crate::secret::{Sealed, Secret};

/// For connecting and shaking hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long events wait to be sent together.
const BATCH: Duration = Duration::from_millis(20);

/// Pause before the agent is dialled again.
const REDIAL: Duration = Duration::from_millis(20);

/// Questions to the agent that may wait to be written.
const OUTBOX: usize = 1024;

/// Where a node is wanted.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// The driver's address.
    pub driver: SocketAddr,
    /// The agent's, which is the driver's, or that of a link before it.
    pub agent: SocketAddr,
    /// Which node this process is to be.
    pub node: NodeId,
    /// The run's secret.
    pub secret: Secret,
    /// Where other nodes can reach this one.
    pub address: IpAddr,
    /// How far the driver's clock is ahead of this machine's, in ns; 0 on the same one.
    pub clock_ahead_ns: i64,
}

/// What a node makes its mechanism of.
#[derive(Debug)]
pub struct Place {
    /// The run's plan.
    pub plan: Arc<Plan>,
    /// The run's clock.
    pub clock: Clock,
    /// Which node this is.
    pub node: NodeId,
    /// As the driver was given it, see [`super::run`].
    pub mechanism: Sealed,
    /// How often this node was started before in this run.
    pub incarnation: u32,
    /// What its mechanism introduced itself with then: others still know it by that.
    pub former: Option<String>,
    /// Where other nodes can reach this one.
    pub address: IpAddr,
}

/// Why a node's part was not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Nobody there.
    #[error("cannot reach the driver at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// What happened instead.
        reason: String,
    },
    /// The driver does not want this node, or no longer.
    #[error("the driver refuses this node: {0}")]
    Refused(String),
    /// The connection broke, or carried what is not this protocol.
    #[error("lost the driver: {0}")]
    Lost(String),
    /// The clock could not be made.
    #[error("no clock: {0}")]
    Clock(std::io::Error),
    /// There is nowhere to write what must not die with this process.
    #[error("no last words: {0}")]
    LastWords(std::io::Error),
    /// The mechanism could not be had; the driver was told.
    #[error("{0}")]
    Mechanism(String),
}

impl From<FrameError> for NodeError {
    fn from(error: FrameError) -> Self {
        Self::Lost(error.to_string())
    }
}

/// Is a node of a run: dials the driver, is told the plan or draws it, makes the mechanism, runs the node's part of the plan and tells what happened.
/// Returns when the driver has it all.
///
/// # Errors
/// When the driver refuses, goes away, or the mechanism cannot be had.
pub async fn serve<D, B, F>(invitation: Invitation, draw: D, build: B) -> Result<(), NodeError>
where
    D: FnOnce(Sealed) -> Result<Plan, String>,
    B: FnOnce(Place) -> F,
    F: Future<Output = Result<Arc<dyn Mechanism>, String>>,
{
    let clock = Clock::of_another_machine(invitation.clock_ahead_ns).map_err(NodeError::Clock)?;
    let mut control = dial(&invitation, Channel::Control).await?;
    let agent = dial(&invitation, Channel::Agent).await?;
    let job = match control.next().await {
        Ok(ToNode::Job(job)) => *job,
        other => return Err(refusal(other)),
    };
    let plan = match job.plan {
        Planned::Told { rest, tasks } => receive_tasks(&mut control, rest, tasks).await?,
        Planned::Drawn(from) => match draw(from) {
            Ok(plan) => Arc::new(plan),
            Err(reason) => {
                control.send(&ToDriver::Failed(format!("it cannot draw the plan: {reason}"))).await?;
                return Err(NodeError::Mechanism(reason));
            }
        },
    };
    let place = Place {
        plan: Arc::clone(&plan),
        clock: clock.clone(),
        node: invitation.node,
        mechanism: job.mechanism,
        incarnation: job.incarnation,
        former: job.former,
        address: invitation.address,
    };
    let built = tokio::select! {
        biased;
        built = build(place) => built,
        early = control.next::<ToNode>() => return Err(refusal(early)),
    };
    let mechanism = match built {
        Ok(mechanism) => mechanism,
        Err(reason) => {
            control.send(&ToDriver::Failed(reason.clone())).await?;
            return Err(NodeError::Mechanism(reason));
        }
    };
    let (digest, introduction) = (plan.digest(), mechanism.introduction());
    let (detection, promises) = (mechanism.detection(), mechanism.promises());
    control.send(&ToDriver::Ready { digest, introduction, detection, promises }).await?;
    let (origin_ns, from_ns, from_task, introductions, view) = match control.next().await {
        Ok(ToNode::Start { origin_ns, from_ns, from_task, introductions, view }) => {
            (origin_ns, from_ns, from_task, introductions, view)
        }
        other => return Err(refusal(other)),
    };
    if let Err(reason) = mechanism.meet(&introductions) {
        control.send(&ToDriver::Failed(reason.clone())).await?;
        return Err(NodeError::Mechanism(reason));
    }
    mechanism.view(invitation.node, &view);
    let words = plan.kills().then(LastWords::of_this_process).transpose();
    let recorder = Arc::new(Recorder::with_last_words(words.map_err(NodeError::LastWords)?));
    let (link, mut asking) = AgentConnection::open(agent, invitation.clone());
    let bystanders = Bystanders::Probe;
    let options = PartOptions { plan, clock, mechanism, recorder, origin_ns, from_ns, from_task, bystanders };
    // Kept to the end: the connection lives as long as its link.
    let link: Arc<dyn AgentLink> = Arc::new(link);
    let part = Part::start(&options, [(invitation.node, Arc::clone(&link))]);
    tokio::select! {
        biased;
        ended = work(&mut control, part, &options, invitation.node) => ended?,
        _ = asking.join_next() => return Err(NodeError::Lost("the agent's connection was closed".to_owned())),
    }
    // The driver closes when it has everything.
    drop(timeout(HANDSHAKE, control.next::<ToNode>()).await);
    Ok(())
}

/// From the start to the goodbye: runs the part, sends events as they come, hears of changes of the ring.
async fn work(
    control: &mut Frames,
    mut part: Part,
    options: &PartOptions,
    node: NodeId,
) -> Result<(), NodeError> {
    let recorder = &options.recorder;
    let mut batches = interval(BATCH);
    batches.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut returned, mut errands, mut closed) = (false, 0, false);
    let mut stalled = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            frame = control.next::<ToNode>() => match frame {
                Ok(ToNode::Finish) => break,
                Ok(ToNode::View(view)) => options.mechanism.view(node, &view),
                Ok(ToNode::Disturb(verb)) => options.mechanism.disturb(node, verb),
                Ok(ToNode::Stall { for_ns }) => stall(&mut stalled, &options.clock, for_ns),
                Ok(ToNode::StandIn { down, from, again }) => {
                    part.stand_in(down, from, again);
                    (returned, errands) = (false, errands + 1);
                }
                Ok(ToNode::HaltAt(point)) => {
                    if let Some(gate) = options.mechanism.gate() {
                        gate.close(point);
                    }
                    closed = point.is_some();
                }
                Ok(ToNode::StandDown(back)) => {
                    let left = part.stand_down(back);
                    let left = left.ok_or_else(|| NodeError::Lost("the driver spoke out of turn".to_owned()))?;
                    // What it has taken is told before.
                    send_events(control, recorder).await?;
                    control.send(&ToDriver::StoodDown { back, left }).await?;
                }
                other => return Err(refusal(other)),
            },
            () = stands(&*options.mechanism), if closed => {
                closed = false;
                send_events(control, recorder).await?;
                control.send(&ToDriver::Halted).await?;
            }
            () = part.returned(), if !returned => {
                returned = true;
                send_events(control, recorder).await?;
                control.send(&ToDriver::Returned { errands }).await?;
            }
            _ = batches.tick() => send_events(control, recorder).await?,
        }
    }
    let ret = part.finish().await;
    send_events(control, recorder).await?;
    Ok(control.send(&ToDriver::Ended(Box::new(ret))).await?)
}

/// Returns when a task stands at the step where it was to. Cancel safe.
async fn stands(mechanism: &dyn Mechanism) {
    match mechanism.gate() {
        Some(gate) => gate.stands().await,
        None => std::future::pending().await,
    }
}

/// Takes every worker of this runtime for so long: whatever is on its event loop waits, while the process and its timers go on. The
/// thread itself is parked, since it is what has to stand still.
fn stall(stalled: &mut JoinSet<()>, clock: &Clock, for_ns: u64) {
    let until_ns = clock.now_ns() + for_ns;
    for _ in 0..Handle::current().metrics().num_workers() {
        let clock = clock.clone();
        stalled.spawn(async move {
            while let Some(left_ns) = until_ns.checked_sub(clock.now_ns()).filter(|left_ns| *left_ns > 0) {
                std::thread::park_timeout(Duration::from_nanos(left_ns));
            }
        });
    }
}

async fn send_events(control: &mut Frames, recorder: &Recorder) -> Result<(), FrameError> {
    let mut events = recorder.take();
    while !events.is_empty() {
        let rest = events.split_off(events.len().min(CHUNK));
        control.feed(&ToDriver::Events(events)).await?;
        events = rest;
    }
    control.flush().await
}

async fn dial(invitation: &Invitation, channel: Channel) -> Result<Frames, NodeError> {
    let Invitation { driver, agent, node, secret, .. } = invitation;
    let (address, bytes) = match channel {
        Channel::Control => (driver, CONTROL_BYTES),
        Channel::Agent => (agent, AGENT_BYTES),
    };
    let unreachable = |reason: String| NodeError::Unreachable { address: *address, reason };
    let dialled = async {
        let stream = TcpStream::connect(address).await.map_err(|error| unreachable(error.to_string()))?;
        let mut frames = Frames::new(stream, STRANGER_BYTES);
        let hello = Hello { version: PROTOCOL_VERSION, secret: secret.clone(), node: *node, channel };
        frames.send(&hello).await?;
        match frames.next::<Welcome>().await? {
            Welcome::Welcome => {
                frames.allow(bytes);
                Ok(frames)
            }
            Welcome::Refused(reason) => Err(NodeError::Refused(reason)),
        }
    };
    let silent = || unreachable(format!("no answer within {} s", HANDSHAKE.as_secs()));
    timeout(HANDSHAKE, dialled).await.unwrap_or_else(|_| Err(silent()))
}

async fn receive_tasks(control: &mut Frames, mut plan: Plan, tasks: u32) -> Result<Arc<Plan>, NodeError> {
    while plan.tasks.len() < tasks as usize {
        match control.next().await {
            Ok(ToNode::Tasks(tasks)) if !tasks.is_empty() => plan.tasks.extend(tasks),
            other => return Err(refusal(other)),
        }
    }
    Ok(Arc::new(plan))
}

/// What a frame means that should not have come now.
fn refusal(frame: Result<ToNode, FrameError>) -> NodeError {
    match frame {
        Ok(ToNode::Refused(reason)) => NodeError::Refused(reason),
        Ok(ToNode::Finish) => NodeError::Refused("the run is over".to_owned()),
        Ok(_) => NodeError::Lost("the driver spoke out of turn".to_owned()),
        Err(error) => error.into(),
    }
}

/// The way to an agent in another process.
#[derive(Debug)]
struct AgentConnection {
    asks: mpsc::Sender<(Asked, oneshot::Sender<AgentRet>)>,
}

/// A question without its number.
#[derive(Debug, Clone, Copy)]
struct Asked {
    step: StepRef,
    slot: Option<u32>,
    what: AskWhat,
}

impl AgentConnection {
    /// The link, and the task that serves it; the task ends when the agent cannot be reached any more.
    fn open(mut frames: Frames, invitation: Invitation) -> (Self, JoinSet<()>) {
        let (asks, mut questions) = mpsc::channel(OUTBOX);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Err(error) = converse(frames, &mut questions).await {
                tracing::debug!(%error, "the agent's connection ended");
                match timeout(HANDSHAKE, redial(&invitation)).await {
                    Ok(again) => frames = again,
                    Err(_) => return,
                }
            }
        });
        (Self { asks }, tasks)
    }

    async fn ask(&self, step: StepRef, slot: Option<u32>, what: AskWhat) -> Option<AgentRet> {
        let (answer, answered) = oneshot::channel();
        self.asks.send((Asked { step, slot, what }, answer)).await.ok()?;
        answered.await.ok()
    }
}

/// Dials the agent until it answers: at first it may not have noticed that the last connection ended.
async fn redial(invitation: &Invitation) -> Frames {
    loop {
        match dial(invitation, Channel::Agent).await {
            Ok(frames) => return frames,
            Err(error) => tracing::debug!(%error, "the agent was dialled in vain"),
        }
        sleep(REDIAL).await;
    }
}

/// Whose question is lost with its connection was not let in, or is not inside any more; what became of a write, nobody
/// can say.
const OUT_OF_REACH: &str = "the agent is out of reach";

impl AgentLink for AgentConnection {
    fn enter(&self, step: StepRef, slot: Option<u32>, token: Option<Token>) -> BoxFuture<'_, EnterRet> {
        Box::pin(async move {
            match self.ask(step, slot, AskWhat::Enter { token }).await {
                Some(AgentRet::Enter(ret)) => ret,
                _ => EnterRet::Rejected(OUT_OF_REACH.to_owned()),
            }
        })
    }

    fn leave(&self, step: StepRef, slot: Option<u32>, write: Option<u64>) -> BoxFuture<'_, LeaveRet> {
        Box::pin(async move {
            match self.ask(step, slot, AskWhat::Leave { write }).await {
                Some(AgentRet::Leave(ret)) => ret,
                _ => LeaveRet::Unknown(OUT_OF_REACH.to_owned()),
            }
        })
    }
}

type Questions = mpsc::Receiver<(Asked, oneshot::Sender<AgentRet>)>;

/// Writes questions, as many as there are at a time, and hands out the answers.
async fn converse(mut frames: Frames, questions: &mut Questions) -> Result<(), FrameError> {
    let mut open: HashMap<u64, oneshot::Sender<AgentRet>> = HashMap::new();
    let mut number = 0;
    loop {
        tokio::select! {
            biased;
            reply = frames.next::<Reply>() => {
                let Reply { number, ret } = reply?;
                // Who asked may be gone with its task.
                drop(open.remove(&number).map(|answer| answer.send(ret)));
            }
            question = questions.recv() => {
                let mut next = question;
                if next.is_none() {
                    return Ok(());
                }
                while let Some((Asked { step, slot, what }, answer)) = next {
                    number += 1;
                    open.insert(number, answer);
                    frames.feed(&Ask { number, step, slot, what }).await?;
                    next = questions.try_recv().ok();
                }
                frames.flush().await?;
            }
        }
    }
}
