//! All watches of a session on one stream, told apart by ids that this side gives out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use etcd_client::{WatchRequestSender, WatchResponseStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::members::Members;
use super::words;
use crate::backends::common::{CONNECT_TIMEOUT, RELISTEN_DELAY, lock};
use crate::backends::etcd::requests::{Followed, Follower, Following};
use crate::session::Operations;

/// Requests that may wait for the stream; more wait in their callers.
const PENDING_MAX: usize = 1024;

/// The watches of a session, and the way to ask for more.
#[derive(Debug)]
pub(super) struct Watches {
    requests: mpsc::Sender<WatchOp>,
    /// Whom to tell. Filled before the request is sent; emptied when the stream ends, which tells them to look again.
    active: Mutex<HashMap<i64, Box<dyn Follower>>>,
    next_id: AtomicI64,
    operations: Arc<Operations>,
}

/// A request to the stream.
#[derive(Debug)]
pub(super) enum WatchOp {
    Watch { id: i64, what: Followed },
    Cancel { id: i64 },
}

/// Cancels a watch when it is dropped.
struct Cancel {
    watches: Arc<Watches>,
    id: i64,
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let known = self.watches.active().remove(&self.id).is_some();
        // A request that does not fit is left out: the server drops the watch with the stream.
        if known && self.watches.requests.try_send(WatchOp::Cancel { id: self.id }).is_err() {
            tracing::debug!(id = self.id, "watch not cancelled");
        }
    }
}

impl Watches {
    pub(super) fn new(operations: Arc<Operations>) -> (Arc<Self>, mpsc::Receiver<WatchOp>) {
        let (requests, inbox) = mpsc::channel(PENDING_MAX);
        // The server gives an id of its own to a watch of id 0.
        let next_id = AtomicI64::new(1);
        (Arc::new(Self { requests, active: Mutex::default(), next_id, operations }), inbox)
    }

    /// As [`Requests::follow`](crate::backends::etcd::requests::Requests::follow).
    pub(super) async fn follow(
        self: &Arc<Self>,
        what: Followed,
        follower: Box<dyn Follower>,
    ) -> Option<Following> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.active().insert(id, follower);
        let cancel = Cancel { watches: self.clone(), id };
        self.requests.send(WatchOp::Watch { id, what }).await.ok()?;
        Some(Box::new(cancel))
    }

    fn active(&self) -> MutexGuard<'_, HashMap<i64, Box<dyn Follower>>> {
        lock(&self.active)
    }

    /// Opens a stream for the first watch that is asked for, again after each that broke, until the session is lost.
    pub(super) async fn run(
        self: Arc<Self>,
        members: Arc<Members>,
        mut inbox: mpsc::Receiver<WatchOp>,
        lost: CancellationToken,
    ) {
        let serving = async {
            while let Some(first) = inbox.recv().await {
                match first {
                    // Of an earlier stream, whose watches all ended with it, is nothing left to do.
                    WatchOp::Watch { id, what } if self.active().contains_key(&id) => {
                        self.serve(&members, id, what, &mut inbox).await;
                        self.active().clear();
                    }
                    WatchOp::Watch { .. } | WatchOp::Cancel { .. } => {}
                }
            }
        };
        lost.run_until_cancelled(serving).await;
        self.active().clear();
    }

    /// Opens a stream with that watch and serves it until it breaks.
    async fn serve(&self, members: &Members, id: i64, what: Followed, inbox: &mut mpsc::Receiver<WatchOp>) {
        let (place, client) = members.current();
        let mut client = client.watch_client();
        self.operations.add(1);
        let patience = CONNECT_TIMEOUT / members.count();
        let (key, options) = words::followed(what, id);
        match timeout(patience, client.watch(key, Some(options))).await {
            Ok(Ok(stream)) => {
                let (sender, receiver) = stream.split();
                // Two halves side by side: a full send buffer must not keep answers from being read.
                tokio::select! {
                    biased;
                    () = self.receive(receiver) => {}
                    () = self.send(sender, inbox) => {}
                    // It may have missed what it does not tell.
                    () = members.left(place) => {}
                }
                members.leave(place);
            }
            failed => {
                tracing::debug!(?failed, "cannot open a watch stream");
                members.leave(place);
                sleep(RELISTEN_DELAY).await;
            }
        }
    }

    async fn send(&self, mut sender: WatchRequestSender, inbox: &mut mpsc::Receiver<WatchOp>) {
        while let Some(op) = inbox.recv().await {
            self.operations.add(1);
            let sent = match op {
                WatchOp::Watch { id, what } => {
                    let (key, options) = words::followed(what, id);
                    sender.watch(key, Some(options)).await
                }
                WatchOp::Cancel { id } => sender.cancel(id).await,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn receive(&self, mut receiver: WatchResponseStream) {
        while let Ok(Some(answer)) = receiver.message().await {
            if answer.canceled() {
                // Compacted, or our own request. Whoever still waits looks again.
                self.active().remove(&answer.watch_id());
            } else if let Some(follower) = self.active().get_mut(&answer.watch_id()) {
                follower.hear(&words::changes(&answer));
            }
        }
    }
}
