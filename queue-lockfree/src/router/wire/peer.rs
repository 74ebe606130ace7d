//! The way to another node: one connection, opened on demand, that carries all requests to it.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::calls::{Calls, Ending, News, OpenError, Phase, Said};
use super::frame::{Frame, Refusal};
use super::link::{FrameReader, FrameWriter, Identity, LinkError};
use super::outbox::{Inbox, Outbox, Outgoing, Unsent, Waiting};
use crate::now::Now;
use crate::ring::NodeId;
use crate::router::task::SubmitError;

/// Frames that are written together at most.
const BATCH: usize = 256;

/// What a peer's tasks run on, and what stops them.
#[derive(Clone)]
pub(in crate::router) struct Surroundings {
    pub(in crate::router) identity: Identity,
    pub(in crate::router) now: Arc<dyn Now>,
    pub(in crate::router) tasks: TaskTracker,
    pub(in crate::router) runtime: Handle,
    /// Cancelled when connections are to close.
    pub(in crate::router) closing: CancellationToken,
}

/// Another node, as seen from one that submits to it.
pub(in crate::router) struct Peer {
    node: NodeId,
    pub(in crate::router) address: SocketAddr,
    calls: Arc<Calls>,
    outbox: Outbox,
    around: Surroundings,
}

impl Peer {
    /// Starts the task that writes to `node`; it ends with the last handle, or when the node closes.
    pub(in crate::router) fn start(node: NodeId, address: SocketAddr, around: Surroundings) -> Self {
        let limits = around.identity.limits;
        let (outbox, inbox) = Outbox::new(&limits);
        let calls = Arc::new(Calls::new(limits.calls));
        let courier = Courier {
            node,
            address,
            calls: Arc::clone(&calls),
            around: around.clone(),
            link: None,
            links_opened: 0,
        };
        around.tasks.spawn_on(courier.run(inbox), &around.runtime);
        Self { node, address, calls, outbox, around }
    }

    /// Sends what `request` makes of its correlation number and waits for its end: the answer, at the longest until the deadline, or as long as the peer
    /// says that it runs.
    ///
    /// Cancel safe in this sense: dropping the future asks the peer to take the task back if it has not started.
    pub(in crate::router) async fn call(
        &self,
        deadline_ns: u64,
        request: impl FnOnce(u64) -> Frame,
    ) -> Result<Result<Bytes, Refusal>, SubmitError> {
        let correlation = self.calls.open(deadline_ns).map_err(|error| match error {
            OpenError::Full => SubmitError::QueueFull,
            OpenError::Closed => SubmitError::Shutdown,
        })?;
        let mut call = OpenCall { peer: self, correlation, ended: false };
        match self.outbox.try_send(request(correlation)) {
            Ok(()) => {}
            Err(Unsent::Closed) => return Err(SubmitError::Shutdown),
            Err(Unsent::Full(request)) => tokio::select! {
                biased;
                sent = self.outbox.send(request) => sent.map_err(|_| SubmitError::Shutdown)?,
                news = call.news() => return match news {
                    News::Due => Err(SubmitError::TimedOut),
                    News::Ended(ending) => self.conclude(ending),
                },
            },
        }
        if let News::Ended(ending) = call.news().await {
            return self.conclude(ending);
        }
        if self.calls.withdraw(correlation) {
            return Err(SubmitError::TimedOut);
        }
        // The owner may be running the task past its deadline, or be gone. It is asked once per grace period.
        let grace = self.around.identity.limits.grace;
        let mut asked = false;
        loop {
            if let Ok(News::Ended(ending)) = timeout(grace, call.news()).await {
                return self.conclude(ending);
            }
            let silent = asked && !self.calls.was_alive(correlation);
            if silent || self.outbox.try_send(Frame::Probe { correlation }).is_err() {
                return Err(SubmitError::Unknown(format!("node {} does not answer", self.node)));
            }
            asked = true;
        }
    }

    fn conclude(&self, ending: Ending) -> Result<Result<Bytes, Refusal>, SubmitError> {
        match ending {
            Ending::Answered(answer) => Ok(answer),
            Ending::Unreachable => Err(SubmitError::NodeUnavailable { node: self.node }),
            Ending::Broken => {
                Err(SubmitError::Unknown(format!("the connection to node {} broke", self.node)))
            }
            Ending::Stopped => Err(SubmitError::Shutdown),
        }
    }
}

/// An open call in the hands of its caller; dropped, it leaves nothing behind.
struct OpenCall<'a> {
    peer: &'a Peer,
    correlation: u64,
    ended: bool,
}

impl OpenCall<'_> {
    async fn news(&mut self) -> News {
        let news = poll_fn(|context| self.peer.calls.poll_news(self.correlation, context)).await;
        self.ended = matches!(news, News::Ended(_));
        news
    }
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        let correlation = self.correlation;
        if self.ended {
            return;
        }
        if let Some(Phase::Sent(_)) = self.peer.calls.abandon(correlation)
            && self.peer.outbox.try_send(Frame::Cancel { correlation }).is_err()
        {
            tracing::debug!(node = %self.peer.node, "no room to cancel a task; it will run unobserved");
        }
    }
}

/// The task that owns the connection to one peer and writes to it.
struct Courier {
    node: NodeId,
    address: SocketAddr,
    calls: Arc<Calls>,
    around: Surroundings,
    link: Option<Link>,
    links_opened: u64,
}

/// An open connection.
struct Link {
    number: u64,
    writer: FrameWriter,
    /// Cancelled by the reading task when it ends, and by the courier to end it.
    gone: CancellationToken,
}

impl Courier {
    async fn run(mut self, mut inbox: Inbox) {
        let (closing, calls, now) =
            (self.around.closing.clone(), Arc::clone(&self.calls), Arc::clone(&self.around.now));
        // A write that was cut off would ruin the connection, but then it is closing anyway.
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            () = self.deliver(&mut inbox) => {}
            () = calls.watch_deadlines(&*now) => {}
        }
        if let Some(link) = &self.link {
            link.gone.cancel();
        }
        inbox.close();
        self.calls.close();
    }

    async fn deliver(&mut self, inbox: &mut Inbox) {
        let mut batch = Vec::with_capacity(BATCH);
        while inbox.recv_many(&mut batch, BATCH).await > 0 {
            if self.calls.open_calls() > batch.len() {
                // Where others are at it too, some are about to ask: what goes together costs one write.
                yield_now().await;
                while batch.len() < BATCH
                    && let Ok(next) = inbox.try_recv()
                {
                    batch.push(next);
                }
            }
            let sent = self.send(&mut batch).await;
            batch.clear();
            if let Err(error) = sent {
                tracing::warn!(from = %self.around.identity.id, to = %self.node, %error, "the way to a node is broken");
            }
        }
    }

    /// Writes a batch over the present connection or a new one.
    async fn send(&mut self, batch: &mut Vec<Waiting>) -> Result<(), LinkError> {
        if self.link.as_ref().is_none_or(|link| link.gone.is_cancelled()) {
            self.link = None;
            match self.around.identity.dial(self.node, self.address).await {
                Ok((reader, writer)) => self.link = Some(self.open(reader, writer)),
                Err(error) => {
                    self.calls.unreachable();
                    return Err(error);
                }
            }
        }
        let link = self.link.as_mut().expect("was opened above");
        self.calls.sending(link.number, batch, |waiting| match &waiting.what {
            Outgoing::Frame(Frame::Request(request)) => Some(request.correlation),
            Outgoing::Frame(Frame::Drain { correlation, .. }) => Some(*correlation),
            _ => None,
        });
        batch.iter().for_each(|waiting| link.writer.push(&waiting.what));
        let written = link.writer.flush().await;
        if written.is_err() {
            link.gone.cancel();
        }
        if link.gone.is_cancelled() {
            // The reading task may have ended the calls before these were marked as sent.
            self.calls.broken(link.number);
        }
        written
    }

    fn open(&mut self, reader: FrameReader, writer: FrameWriter) -> Link {
        self.links_opened += 1;
        let (number, gone) = (self.links_opened, CancellationToken::new());
        let reading = read(reader, Arc::clone(&self.calls), number, gone.clone(), self.node);
        self.around.tasks.spawn_on(reading, &self.around.runtime);
        Link { number, writer, gone }
    }
}

/// Takes in answers until the connection ends, then ends the calls that it carried.
async fn read(mut reader: FrameReader, calls: Arc<Calls>, link: u64, gone: CancellationToken, node: NodeId) {
    let taking_in = async {
        let (mut said, mut callers) = (Vec::new(), Vec::new());
        loop {
            let last = hear(&mut reader, &mut said).await;
            calls.hear(&mut said, &mut callers);
            match last {
                Ok(None) => {}
                Ok(Some(frame)) => {
                    tracing::warn!(%node, ?frame, "a node sent what only a submitter may send");
                    return;
                }
                Err(LinkError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%node, %error, "the connection to a node is closed");
                    return;
                }
            }
        }
    };
    gone.run_until_cancelled(taking_in).await;
    // In this order: a courier that has seen a live connection marks its calls before it looks again.
    gone.cancel();
    calls.broken(link);
}

/// Takes in what has come, at least one frame. Also where it ends with an error or a frame that is none of an owner's, what
/// came before has been said.
async fn hear(reader: &mut FrameReader, said: &mut Vec<(u64, Said)>) -> Result<Option<Frame>, LinkError> {
    let mut next = Some(reader.next().await?);
    while let Some(frame) = next {
        said.push(match frame {
            Frame::Reply { correlation, answer } => (correlation, Said::Answer(answer)),
            Frame::Alive { correlation } => (correlation, Said::Alive),
            frame => return Ok(Some(frame)),
        });
        next = reader.ready()?;
    }
    Ok(None)
}
