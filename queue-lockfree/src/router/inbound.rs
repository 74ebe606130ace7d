//! Connections that other nodes have opened, and the requests that come over them.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::directory::{Drained, Errand};
use super::owner::{Accepted, Owner, Served};
use super::wire::{
    Frame, FrameReader, FrameWriter, Inbox, LinkError, Outbox, Outgoing, Refusal, Request, SMALL_BYTES,
    Surroundings, Unsent,
};
use crate::poison::lock;
use crate::ring::NodeId;
use crate::sync::{Mutex, MutexGuard};

/// Frames that are written together at most.
const BATCH: usize = 256;

/// How long the answers to requests that were read together wait for each other: handlers that take time without suspending
/// would make one wait for all.
const TOGETHER: Duration = Duration::from_micros(100);

/// Pause after an accept that failed, which happens when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// Accepts connections until the node closes.
pub(super) async fn listen(listener: TcpListener, owner: Arc<Owner>, around: Surroundings) {
    let connections = Arc::new(Semaphore::new(around.identity.limits.connections));
    let accepting = async {
        loop {
            let (stream, from) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(node = %owner.id, %error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
                tracing::warn!(node = %owner.id, %from, "a connection was refused: there are too many");
                continue;
            };
            let (owner, inside) = (Arc::clone(&owner), around.clone());
            let serving = async move {
                if let Err(error) = serve(stream, owner, inside).await {
                    tracing::warn!(%from, %error, "a connection from a node was closed");
                }
                drop(permit);
            };
            around.tasks.spawn_on(serving, &around.runtime);
        }
    };
    around.closing.run_until_cancelled(accepting).await;
}

/// Serves one connection until it ends or the node closes.
async fn serve(stream: TcpStream, owner: Arc<Owner>, around: Surroundings) -> Result<(), LinkError> {
    let opening = around.closing.run_until_cancelled(around.identity.welcome(stream));
    let Some(opened) = opening.await else { return Ok(()) };
    let (from, reader, writer) = opened?;
    let (outbox, inbox) = Outbox::new(&around.identity.limits);
    let gone = around.closing.child_token();
    let writer = Arc::new(tokio::sync::Mutex::new(writer));
    around.tasks.spawn_on(write(Arc::clone(&writer), inbox, gone.clone(), from), &around.runtime);
    let inbound = Arc::new(Inbound { owner, writer, outbox, open: Mutex::default() });
    let served = gone.run_until_cancelled(inbound.take_in(reader)).await;
    // Who asked over this connection cannot be answered any more: what has not started is taken back.
    inbound.lock().clear();
    gone.cancel();
    match served {
        None | Some(Err(LinkError::Closed)) => Ok(()),
        Some(ended) => ended,
    }
}

/// The reading side of one connection. It never waits for a handler.
struct Inbound {
    owner: Arc<Owner>,
    /// Nothing that was pushed is left in it when it is free.
    writer: Arc<tokio::sync::Mutex<FrameWriter>>,
    outbox: Outbox,
    /// Requests that have not been answered; dropping a sender cancels what has not started.
    open: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

impl Inbound {
    /// Answers wait for those that have come with them, so that they are written together, but not for long.
    async fn take_in(self: &Arc<Self>, mut reader: FrameReader) -> Result<(), LinkError> {
        let mut answers = BytesMut::new();
        loop {
            let mut next = Some(reader.next().await?);
            let begun = Instant::now();
            while let Some(frame) = next {
                self.take(frame, &mut answers).await?;
                if answers.len() > SMALL_BYTES || begun.elapsed() > TOGETHER {
                    self.flush(&mut answers).await?;
                }
                next = reader.ready()?;
            }
            self.flush(&mut answers).await?;
        }
    }

    async fn take(self: &Arc<Self>, frame: Frame, answers: &mut BytesMut) -> Result<(), LinkError> {
        match frame {
            Frame::Request(request) => self.request(request, answers).await,
            Frame::Cancel { correlation } => drop(self.forget(correlation)),
            Frame::Probe { correlation } => {
                let open = self.lock().contains_key(&correlation);
                if open {
                    self.reply(Frame::Alive { correlation }).await;
                }
            }
            Frame::Drain { correlation, epoch, key } => self.drain(correlation, epoch, key),
            frame => {
                tracing::warn!(node = %self.owner.id, ?frame, "a node sent what only an owner may send");
                return Err(LinkError::Stranger);
            }
        }
        Ok(())
    }

    /// Writes them itself, unless the task that writes is at it.
    async fn flush(&self, answers: &mut BytesMut) -> Result<(), LinkError> {
        if answers.is_empty() {
            return Ok(());
        }
        if let Ok(mut writer) = self.writer.try_lock() {
            writer.write(answers).await?;
            answers.clear();
        } else {
            self.send(Outgoing::Encoded(std::mem::take(answers))).await;
        }
        Ok(())
    }

    /// What ends at once and is small is put to the other `answers`.
    async fn request(self: &Arc<Self>, request: Request, answers: &mut BytesMut) {
        let Request { correlation, epoch, level, deadline_ns, key, payload } = request;
        let errand = Errand { key, level, payload, deadline_ns, epoch };
        let place = match self.owner.room_for(&errand) {
            Ok(place) => place,
            Err(refusal) => return Frame::Reply { correlation, answer: Err(refusal) }.encode(answers),
        };
        let (cancel, mut cancelled) = oneshot::channel();
        if self.owner.ownership.is_behind(epoch) {
            // It must not hold up those behind it, which may be for keys that are not concerned.
            self.lock().insert(correlation, cancel);
            let inbound = Arc::clone(self);
            let late = async move {
                tokio::select! {
                    biased;
                    // Who asked has taken it back, or is gone with the connection.
                    _ = &mut cancelled => return drop(inbound.forget(correlation)),
                    () = inbound.owner.ownership.catch_up(epoch, deadline_ns) => {}
                }
                match inbound.owner.accept(errand, place) {
                    Ok(accepted) => inbound.serve(correlation, accepted, cancelled).await,
                    Err(refusal) => inbound.conclude(correlation, Err(refusal)).await,
                }
            };
            self.owner.tasks.spawn_on(late, &self.owner.runtime);
            return;
        }
        let accepted = match self.owner.accept(errand, place) {
            Ok(accepted) => accepted,
            Err(refusal) => return Frame::Reply { correlation, answer: Err(refusal) }.encode(answers),
        };
        let inbound = Arc::clone(self);
        let mut serving = Box::pin(async move {
            let served = inbound.owner.serve(accepted, cancelled).await;
            (inbound, served)
        });
        // What neither waits for its turn nor suspends needs no task of its own, and nobody can ask after it.
        let at_once = serving.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready((inbound, served)) = at_once {
            let Some(Served { answer, place }) = served else { return };
            let reply = Frame::Reply { correlation, answer };
            if reply.payload_bytes() <= SMALL_BYTES {
                return reply.encode(answers);
            }
            if let Err(Unsent::Full(reply)) = self.outbox.try_send(reply) {
                let replying = async move {
                    inbound.send(reply).await;
                    drop(place);
                };
                self.owner.tasks.spawn_on(replying, &self.owner.runtime);
            }
            return;
        }
        self.lock().insert(correlation, cancel);
        let going_on = async move {
            let (inbound, served) = serving.await;
            inbound.end(correlation, served).await;
        };
        self.owner.tasks.spawn_on(going_on, &self.owner.runtime);
    }

    async fn serve(&self, correlation: u64, accepted: Accepted, cancelled: oneshot::Receiver<()>) {
        let served = self.owner.serve(accepted, cancelled).await;
        self.end(correlation, served).await;
    }

    async fn end(&self, correlation: u64, served: Option<Served>) {
        match served {
            Some(Served { answer, place }) => {
                self.conclude(correlation, answer).await;
                drop(place);
            }
            None => drop(self.forget(correlation)),
        }
    }

    async fn conclude(&self, correlation: u64, answer: Result<Bytes, Refusal>) {
        self.reply(Frame::Reply { correlation, answer }).await;
        // Only now: a probe in between must find the request or come after the reply.
        drop(self.forget(correlation));
    }

    fn drain(self: &Arc<Self>, correlation: u64, epoch: u64, key: String) {
        let inbound = Arc::clone(self);
        let asking = async move {
            let answer = match inbound.owner.ownership.drained(epoch, &key).await {
                Drained::Busy => &[0],
                Drained::Key => &[1],
                Drained::All => &[2],
            };
            inbound.reply(Frame::Reply { correlation, answer: Ok(Bytes::from_static(answer)) }).await;
        };
        self.owner.tasks.spawn_on(asking, &self.owner.runtime);
    }

    async fn reply(&self, frame: Frame) {
        self.send(frame.into()).await;
    }

    /// Waits while the connection is congested. That cannot deadlock: its other end only takes in replies.
    async fn send(&self, what: Outgoing) {
        if self.outbox.send(what).await.is_err() {
            tracing::debug!(node = %self.owner.id, "an answer found its connection closed");
        }
    }

    fn forget(&self, correlation: u64) -> Option<oneshot::Sender<()>> {
        self.lock().remove(&correlation)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        lock(&self.open)
    }
}

/// Writes answers, as many as there are at a time, until the connection is gone; then those that are left.
async fn write(
    writer: Arc<tokio::sync::Mutex<FrameWriter>>,
    mut inbox: Inbox,
    gone: CancellationToken,
    node: NodeId,
) {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        let received = gone.run_until_cancelled(inbox.recv_many(&mut batch, BATCH)).await;
        if received.is_none() {
            inbox.close();
            while let Ok(frame) = inbox.try_recv() {
                batch.push(frame);
            }
        }
        let written = {
            let mut writer = writer.lock().await;
            batch.iter().for_each(|waiting| writer.push(&waiting.what));
            writer.flush().await
        };
        batch.clear();
        if let Err(error) = written {
            tracing::debug!(%node, %error, "answers to a node were not sent");
            gone.cancel();
            return;
        }
        if matches!(received, None | Some(0)) {
            return;
        }
    }
}
