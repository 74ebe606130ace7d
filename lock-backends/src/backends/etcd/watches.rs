//! All watches of a session on one stream, told apart by ids that this side gives out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use etcd_client::{EventType, WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::members::Members;
use crate::backends::common::{CONNECT_TIMEOUT, RELISTEN_DELAY, lock};

/// Requests that may wait for the stream; more wait in their callers.
const PENDING_MAX: usize = 1024;
/// Id of the watch on the session's own key, which opens the stream.
const FENCE_WATCH: i64 = 1;

/// The watches of a session, and the way to ask for more.
#[derive(Debug)]
pub(super) struct Watches {
    requests: mpsc::Sender<WatchOp>,
    /// Where to report deletions. Filled before the request is sent; emptied when the stream ends, which tells the
    /// waiters to look again.
    active: Mutex<HashMap<i64, watch::Sender<Seen>>>,
    next_id: AtomicI64,
    operations: Arc<AtomicU64>,
}

/// A request to the stream.
#[derive(Debug)]
pub(super) enum WatchOp {
    Watch { id: i64, key: String },
    Cancel { id: i64 },
}

/// One key under watch; dropping it cancels the watch.
#[derive(Debug)]
pub(in crate::backends) struct Watch {
    watches: Arc<Watches>,
    id: i64,
    seen: watch::Receiver<Seen>,
}

/// What a watch has seen so far.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The server watches.
    opened: bool,
    /// Revision of the last deletion, 0 before there was one.
    deleted: i64,
    /// Revision of the last put.
    put: i64,
}

impl Watch {
    /// Waits until the server watches: it tells of whatever is deleted from then on. False: the watch ended.
    pub(super) async fn opened(&mut self) -> bool {
        self.seen.wait_for(|seen| seen.opened).await.is_ok()
    }

    /// Waits for a deletion later than `revision`. False: the watch ended, and the key has to be looked at again.
    pub(super) async fn deleted_after(&mut self, revision: i64) -> bool {
        self.seen.wait_for(|seen| seen.deleted > revision).await.is_ok()
    }

    /// Revision of the put after the last deletion, if there was one by now.
    pub(in crate::backends) fn put_again(&self) -> Option<i64> {
        let Seen { deleted, put, .. } = *self.seen.borrow();
        (put > deleted).then_some(put)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let known = self.watches.active().remove(&self.id).is_some();
        // A request that does not fit is left out: the server drops the watch with the stream.
        if known && self.watches.requests.try_send(WatchOp::Cancel { id: self.id }).is_err() {
            tracing::debug!(id = self.id, "watch not cancelled");
        }
    }
}

impl Watches {
    pub(super) fn new(operations: Arc<AtomicU64>) -> (Arc<Self>, mpsc::Receiver<WatchOp>) {
        let (requests, inbox) = mpsc::channel(PENDING_MAX);
        let next_id = AtomicI64::new(FENCE_WATCH + 1);
        (Arc::new(Self { requests, active: Mutex::default(), next_id, operations }), inbox)
    }

    /// Watches `key` from when the server hears of it, see [`Watch::opened`]; not from a revision of the past,
    /// for which the server's sweep would be waited for, ten times a second. `None`: the session ended.
    pub(super) async fn watch(self: &Arc<Self>, key: &str) -> Option<Watch> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (news, seen) = watch::channel(Seen::default());
        self.active().insert(id, news);
        let watch = Watch { watches: self.clone(), id, seen };
        self.requests.send(WatchOp::Watch { id, key: key.to_owned() }).await.ok()?;
        Some(watch)
    }

    fn active(&self) -> MutexGuard<'_, HashMap<i64, watch::Sender<Seen>>> {
        lock(&self.active)
    }

    /// Keeps a stream open until the session is lost, which it also finds out: by the deletion of `fence_key`.
    pub(super) async fn run(
        self: Arc<Self>,
        members: Arc<Members>,
        mut inbox: mpsc::Receiver<WatchOp>,
        fence_key: String,
        mut fence_from: i64,
        lost: CancellationToken,
    ) {
        while !lost.is_cancelled() {
            let (place, client) = members.current();
            let mut client = client.watch_client();
            let opening =
                client.watch(fence_key.as_str(), Some(options(FENCE_WATCH).with_start_revision(fence_from)));
            self.operations.fetch_add(1, Ordering::Relaxed);
            let patience = CONNECT_TIMEOUT / members.count() as u32;
            match lost.run_until_cancelled(timeout(patience, opening)).await {
                Some(Ok(Ok(stream))) => {
                    let (sender, receiver) = stream.split();
                    // Two halves side by side: a full send buffer must not keep answers from being read.
                    let ended = tokio::select! {
                        biased;
                        () = lost.cancelled() => return,
                        ended = self.receive(receiver, &lost) => ended,
                        () = self.send(sender, &mut inbox) => Ended::Broken,
                        // It may have missed what it does not tell.
                        () = members.left(place) => Ended::Broken,
                    };
                    match ended {
                        Ended::Cancelled { compacted_to } => fence_from = fence_from.max(compacted_to),
                        Ended::Broken => members.leave(place),
                    }
                }
                Some(failed) => {
                    tracing::debug!(?failed, "cannot open a watch stream");
                    members.leave(place);
                    lost.run_until_cancelled(sleep(RELISTEN_DELAY)).await;
                }
                None => return,
            }
            self.active().clear();
        }
    }

    async fn send(&self, mut sender: WatchRequestSender, inbox: &mut mpsc::Receiver<WatchOp>) {
        while let Some(op) = inbox.recv().await {
            self.operations.fetch_add(1, Ordering::Relaxed);
            let sent = match op {
                WatchOp::Watch { id, key } => sender.watch(key, Some(options(id))).await,
                WatchOp::Cancel { id } => sender.cancel(id).await,
            };
            if sent.is_err() {
                return;
            }
        }
    }

    async fn receive(&self, mut receiver: WatchResponseStream, lost: &CancellationToken) -> Ended {
        while let Ok(Some(answer)) = receiver.message().await {
            let deleted = last(&answer, EventType::Delete);
            if answer.watch_id() == FENCE_WATCH {
                if deleted > 0 {
                    lost.cancel();
                }
                if answer.canceled() {
                    return Ended::Cancelled { compacted_to: answer.compact_revision() };
                }
            } else if answer.canceled() {
                // Compacted, or our own request. Whoever still waits looks again.
                self.active().remove(&answer.watch_id());
            } else if let Some(news) = self.active().get(&answer.watch_id()) {
                let put = last(&answer, EventType::Put);
                news.send_modify(|seen| {
                    let (deleted, put) = (deleted.max(seen.deleted), put.max(seen.put));
                    *seen = Seen { opened: true, deleted, put };
                });
            }
        }
        Ended::Broken
    }
}

/// How a stream ended.
enum Ended {
    /// By the server, which can tell of the session's own key from this revision on; 0: no news.
    Cancelled { compacted_to: i64 },
    /// Without a word.
    Broken,
}

fn options(id: i64) -> WatchOptions {
    WatchOptions::new().with_watch_id(id)
}

/// Revision of the last event of that kind, 0 without one.
fn last(answer: &WatchResponse, kind: EventType) -> i64 {
    let events = answer.events().iter().filter(|event| event.event_type() == kind);
    events.filter_map(|event| event.kv()).map(|kv| kv.mod_revision()).max().unwrap_or(0)
}
