//! The driver's end of connections: strangers are turned away, control and agent connections of nodes are served.

use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::elsewhere::Elsewhere;
use super::frame::{
    AGENT_BYTES, AgentRet, Ask, AskWhat, CHUNK, Channel, Hello, Job, Planned, Reply, ToDriver, ToNode,
    Welcome,
};
use super::seat::{Drain, Phase, Seat, Seats};
use crate::engine::{Agent, BoxFuture, Clock, EnterRet, LeaveRet, Recorder};
use crate::model::{NodeId, Plan, Tasks};
use crate::placement::door::Door;
use crate::placement::frames::{CONTROL_BYTES, FrameError, Frames, PROTOCOL_VERSION, STRANGER_BYTES};
use crate::placement::remote::Incoming;
use crate::secret::{Sealed, Secret};

/// For the first frame of whoever connects.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Frames that wait for one node at most.
const OUTBOX: usize = 16;

/// How often it is looked whether all of it has come.
const LOOK: Duration = Duration::from_millis(1);

/// What the connections of one run share.
#[derive(Debug)]
pub(super) struct Reception {
    pub(super) plan: Arc<Plan>,
    pub(super) digest: String,
    pub(super) secret: Secret,
    pub(super) mechanism: Sealed,
    /// What nodes draw the plan from; those on this machine are told it.
    pub(super) drawing: Option<Sealed>,
    pub(super) clock: Clock,
    /// When this came to be: nothing of the run was before.
    pub(super) opened_ns: u64,
    pub(super) agent: Arc<Agent>,
    pub(super) recorder: Arc<Recorder>,
    pub(super) seats: Seats,
    /// Of users whose node is down.
    pub(super) elsewhere: Elsewhere,
    pub(super) tasks: TaskTracker,
    pub(super) closing: CancellationToken,
}

impl Reception {
    /// Accepts connections until the run closes.
    pub(super) async fn listen(self: Arc<Self>, listener: TcpListener) {
        let door = Door::of(listener);
        let accepting = async {
            loop {
                let (stream, from, permit) = door.next().await;
                let frames = Frames::new(stream, STRANGER_BYTES);
                let serving = Arc::clone(&self).serve(frames, from, Some(permit), CancellationToken::new());
                let closing = self.closing.clone();
                self.tasks.spawn(async move { closing.run_until_cancelled(serving).await });
            }
        };
        self.closing.run_until_cancelled(accepting).await;
    }

    /// Serves connections that hosts of nodes have carried here, each as long as its host is there.
    pub(super) async fn take_over(self: Arc<Self>, mut incoming: mpsc::Receiver<Incoming>) {
        let taking = async {
            while let Some(Incoming { frames, from, gone }) = incoming.recv().await {
                // Whoever carries it has shaken hands.
                let serving = Arc::clone(&self).serve(frames, from, None, gone);
                let closing = self.closing.clone();
                self.tasks.spawn(async move { closing.run_until_cancelled(serving).await });
            }
        };
        self.closing.run_until_cancelled(taking).await;
    }

    /// A connection, until it ends or whoever carries it is gone.
    async fn serve(
        self: Arc<Self>,
        mut frames: Frames,
        from: SocketAddr,
        permit: Option<OwnedSemaphorePermit>,
        gone: CancellationToken,
    ) {
        let hello = match timeout(HANDSHAKE, frames.next::<Hello>()).await {
            Ok(Ok(hello)) if self.secret.matches(hello.secret.text()) => hello,
            Ok(Ok(_)) => {
                tracing::warn!(%from, "a stranger was refused: wrong secret");
                let refused = Welcome::Refused("wrong secret: not a node of this run".to_owned());
                return drop(timeout(HANDSHAKE, frames.send(&refused)).await);
            }
            Ok(Err(error)) => return tracing::warn!(%from, %error, "a stranger was refused"),
            Err(_) => return tracing::warn!(%from, "a stranger was refused: it says nothing"),
        };
        drop(permit);
        let node = hello.node;
        if hello.version != PROTOCOL_VERSION {
            let reason = format!(
                "protocol version {} of the node, {PROTOCOL_VERSION} of the driver: both must be one build",
                hello.version
            );
            self.dead(node, reason.clone());
            return drop(timeout(HANDSHAKE, frames.send(&Welcome::Refused(reason))).await);
        }
        let served = match hello.channel {
            Channel::Control => self.control(frames, node, &gone).await,
            Channel::Agent => self.agent(frames, node, &gone).await,
        };
        if let Err(error) = served {
            tracing::debug!(node = node.0, channel = ?hello.channel, %error, "a connection ended");
        }
    }

    /// Notes that a node is gone, unless it has said goodbye.
    pub(super) fn dead(&self, node: NodeId, how: String) {
        let at_ns = self.clock.now_ns();
        self.seats.change(node, |seat| {
            if !matches!(seat.phase, Phase::Ended(_) | Phase::Dead { .. }) {
                seat.phase = Phase::Dead { at_ns, how };
            }
        });
    }

    async fn control(
        &self,
        mut frames: Frames,
        node: NodeId,
        gone: &CancellationToken,
    ) -> Result<(), FrameError> {
        let (outbox, mut outgoing) = mpsc::channel(OUTBOX);
        let job = self.seats.change(node, |seat| {
            let free = seat.phase == Phase::Starting && seat.control.is_none();
            free.then(|| {
                seat.control = Some(outbox);
                (seat.incarnation, seat.introduction.clone())
            })
        });
        let Some((incarnation, former)) = job.flatten() else {
            return frames.send(&Welcome::Refused("no such node is awaited".to_owned())).await;
        };
        let conversation = async {
            frames.send(&Welcome::Welcome).await?;
            frames.allow(CONTROL_BYTES);
            // To a node that was killed nothing more can be told; what it has said before is still to be heard.
            let mut told = self.hand_over_the_plan(&mut frames, incarnation, former).await;
            loop {
                tokio::select! {
                    biased;
                    frame = frames.next::<ToDriver>() => {
                        let frame = frame?;
                        let last = matches!(frame, ToDriver::Ended(_) | ToDriver::Failed(_));
                        if let Err(reason) = self.hear(node, frame) {
                            self.dead(node, reason.clone());
                            return frames.send(&ToNode::Refused(reason)).await;
                        }
                        if last {
                            return Ok(());
                        }
                    }
                    // The driver keeps the sender in the seat until this connection is over.
                    Some(frame) = outgoing.recv(), if told.is_ok() => told = frames.send(&frame).await,
                }
            }
        };
        let ended = gone.run_until_cancelled(conversation).await.unwrap_or(Err(FrameError::Closed));
        self.dead(node, ended.as_ref().map_or_else(FrameError::to_string, |()| "it left".to_owned()));
        self.seats.change(node, |seat| seat.control = None);
        ended
    }

    async fn hand_over_the_plan(
        &self,
        frames: &mut Frames,
        incarnation: u32,
        former: Option<String>,
    ) -> Result<(), FrameError> {
        let mechanism = self.mechanism.clone();
        if let Some(drawing) = &self.drawing {
            let job = Job { plan: Planned::Drawn(drawing.clone()), mechanism, incarnation, former };
            return frames.send(&ToNode::Job(Box::new(job))).await;
        }
        let Plan { settings, kinds, resources, tasks, faults, closed, entry } = &*self.plan;
        let (kinds, resources, faults) = (kinds.clone(), resources.clone(), faults.clone());
        let (settings, closed, entry) = (*settings, *closed, *entry);
        let rest = Plan { settings, kinds, resources, tasks: Tasks::default(), faults, closed, entry };
        let plan = Planned::Told { rest, tasks: tasks.len() as u32 };
        let job = Job { plan, mechanism, incarnation, former };
        frames.send(&ToNode::Job(Box::new(job))).await?;
        let mut tasks = tasks.iter().map(|task| task.to_task());
        while tasks.len() > 0 {
            frames.send(&ToNode::Tasks(tasks.by_ref().take(CHUNK).collect())).await?;
        }
        Ok(())
    }

    /// Takes in what a node says; the reason when it may not say that.
    pub(super) fn hear(&self, node: NodeId, frame: ToDriver) -> Result<(), String> {
        match frame {
            ToDriver::Ready { digest, .. } if digest != self.digest => Err(format!(
                "its plan has the digest {digest}, the driver's {}: both must be one build",
                self.digest
            )),
            ToDriver::Ready { introduction, detection, promises, .. } => {
                self.seats.change(node, |seat| {
                    seat.introduction = Some(introduction);
                    (seat.detection, seat.promises) = (detection, promises);
                });
                self.advance(node, &Phase::Starting, Phase::Ready)
            }
            ToDriver::Failed(reason) => {
                self.dead(node, reason);
                Ok(())
            }
            ToDriver::Events(events) => {
                self.at_work(node)?;
                let count = events.len();
                self.take_in(node, events)?;
                self.seats.change(node, |seat| seat.heard += count);
                Ok(())
            }
            ToDriver::Returned { errands } => {
                // What it was told meanwhile it has not heard of.
                let is_last = self.seats.change(node, |seat| seat.errands == errands).unwrap_or(true);
                if is_last {
                    self.advance(node, &Phase::Running, Phase::Returned)
                } else {
                    self.at_work(node)
                }
            }
            ToDriver::Halted => {
                self.at_work(node)?;
                self.seats.change(node, |seat| seat.halted = true);
                Ok(())
            }
            ToDriver::StoodDown { back, left } => {
                self.at_work(node)?;
                let took = self.elsewhere.stood_down(node, back, left);
                // Who waits for it looks again.
                self.seats.change(node, |_| ());
                if took { Ok(()) } else { Err("it spoke out of turn".to_owned()) }
            }
            ToDriver::Ended(ret) => {
                self.at_work(node)?;
                self.seats.change(node, |seat| seat.phase = Phase::Ended(ret));
                Ok(())
            }
        }
    }

    /// Whether the barrier is open for a node, which has not said goodbye.
    fn at_work(&self, node: NodeId) -> Result<(), String> {
        let phase = |seats: &[Seat]| {
            let seat = seats.get(usize::from(node.0));
            seat.is_some_and(|seat| seat.phase.is_at_work())
        };
        if self.seats.look(phase) { Ok(()) } else { Err("it spoke out of turn".to_owned()) }
    }

    fn advance(&self, node: NodeId, from: &Phase, to: Phase) -> Result<(), String> {
        let advance = |seat: &mut Seat| (seat.phase == *from).then(|| seat.phase = to);
        self.seats.change(node, advance).flatten().ok_or_else(|| "it spoke out of turn".to_owned())
    }

    /// Answers entries and leaves of one node, as they come. When the connection ends, so do the node's sections.
    async fn agent(
        &self,
        mut frames: Frames,
        node: NodeId,
        gone: &CancellationToken,
    ) -> Result<(), FrameError> {
        let (drain, mut drains) = mpsc::channel::<Drain>(1);
        let taken = self.seats.change(node, |seat| {
            (seat.control.is_some() && seat.agent.is_none()).then(|| seat.agent = Some(drain))
        });
        if taken.flatten().is_none() {
            return frames.send(&Welcome::Refused("no such node is awaited".to_owned())).await;
        }
        // Dropped with the connection, before its sections end: who waits gives up his place.
        let serving = async {
            let mut waiting = Waiting::new();
            frames.send(&Welcome::Welcome).await?;
            frames.allow(AGENT_BYTES);
            loop {
                let ask = tokio::select! {
                    biased;
                    Some(Drain { said, dry }) = drains.recv() => {
                        let is_to_come = |frames: &Frames| match said {
                            Some(said) => frames.arrived() < said,
                            None => is_readable(frames),
                        };
                        // Whoever asked does so no longer when it takes too long.
                        while is_to_come(&frames) && !dry.is_closed() {
                            match timeout(LOOK, frames.next::<Ask>()).await {
                                Ok(ask) => self.answer(&mut frames, &mut waiting, node, ask?).await?,
                                // The runtime has not been told yet, or it is on its way.
                                Err(_) => yield_now().await,
                            }
                        }
                        // What has come in whole frames is not all heard yet.
                        while let Some(ask) = frames.next::<Ask>().now_or_never() {
                            self.answer(&mut frames, &mut waiting, node, ask?).await?;
                        }
                        // Who asked may have given up meanwhile.
                        let _gone = dry.send(()).is_err();
                        continue;
                    }
                    Some(reply) = waiting.next() => {
                        frames.send(&reply).await?;
                        continue;
                    }
                    ask = frames.next::<Ask>() => ask?,
                };
                self.answer(&mut frames, &mut waiting, node, ask).await?;
            }
        };
        let ended = gone.run_until_cancelled(serving).await.unwrap_or(Err(FrameError::Closed));
        self.agent.abandon(node);
        self.seats.change(node, |seat| seat.agent = None);
        ended
    }

    /// Answers a question, and those that have come with it.
    async fn answer(
        &self,
        frames: &mut Frames,
        waiting: &mut Waiting,
        node: NodeId,
        ask: Ask,
    ) -> Result<(), FrameError> {
        let mut next = Some(Ok(ask));
        while let Some(ask) = next {
            let Ask { number, step, slot, what } = ask?;
            let ret = match what {
                _ if !self.plan.contains(step) => Some(AgentRet::unknown(what)),
                AskWhat::Enter { token } => {
                    let agent = Arc::clone(&self.agent);
                    let entering = async move { agent.enter_in_turn(node, step, slot, token).await };
                    let mut entering =
                        entering.map(move |ret| Reply { number, ret: AgentRet::Enter(ret) }).boxed();
                    let now = (&mut entering).now_or_never();
                    if now.is_none() {
                        // An agent that works one by one lets it wait; others go on meanwhile.
                        waiting.push(entering);
                    }
                    now.map(|reply| reply.ret)
                }
                AskWhat::Leave { write } => Some(AgentRet::Leave(self.agent.leave(node, step, slot, write))),
            };
            if let Some(ret) = ret {
                frames.feed(&Reply { number, ret }).await?;
            }
            next = frames.next::<Ask>().now_or_never();
        }
        frames.flush().await
    }
}

/// Entries that wait for their turn.
type Waiting = FuturesUnordered<BoxFuture<'static, Reply>>;

impl AgentRet {
    fn unknown(what: AskWhat) -> Self {
        let reason = "no such step".to_owned();
        match what {
            AskWhat::Enter { .. } => Self::Enter(EnterRet::Rejected(reason)),
            AskWhat::Leave { .. } => Self::Leave(LeaveRet::Rejected(reason)),
        }
    }
}

/// Whether the kernel holds bytes of this connection that were not read: asked directly, since the runtime only knows
/// what it was last told.
fn is_readable(frames: &Frames) -> bool {
    let socket = frames.socket().as_fd().try_clone_to_owned().map(std::net::TcpStream::from);
    socket.and_then(|socket| socket.peek(&mut [0])).is_ok_and(|bytes| bytes > 0)
}
