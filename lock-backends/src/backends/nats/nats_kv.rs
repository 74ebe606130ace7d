//! `nats-kv`: one entry per lock in a key-value bucket, written if nobody's stands there; an entry that is not
//! written again ends with the bucket's ttl.
//!
//! **Protocol.** Every write names the revision that it replaces, and the server refuses it when that is not the last one. Acquire
//! replaces the mark of the last release with an entry of the owner; where a key has none (it is new, or the mark ended) one
//! is written first. Renewal replaces the entry with itself, release replaces it with a mark. The stream publishes what it has
//! written once more, on a subject that waiters listen to: they hear the mark's revision and replace it
//! at once. The end of a ttl is not published: a waiter looks again when the entry that it has seen must have ended.
//!
//! ```text
//!  node A  mark replaces 7 ──▶ revision 8
//!  node B  listens ◀── 8, a mark ┘
//!          entry replaces 8 ──▶ revision 9 = token
//! ```
//!
//! **A lost answer** is read back, the owner being in the entry. An attempt is withdrawn by whatever is written instead: the
//! revision that it wants to replace never comes again.
//!
//! **Several members** compare the revision before they agree on a write, not after, so that of two writes that are under way
//! together both may be accepted (nats-server issue 4320; the compare that later versions keep of what is under way is the
//! leader's own). A message's id is compared after: the id of a write is the revision that it replaces, and a second one is a
//! duplicate.
//!
//! **Round trips.** 1 write to acquire, 1 to release; one write more where no mark is known, a read where that guess was
//! wrong. A renewal is a write for each lock, all at once.
//!
//! **Safety class F**: exclusive while clocks run at similar rates, pauses stay below the lease's margin and the
//! server keeps what it acknowledged, which it flushes every two minutes; and fenced by a token.
//!
//! **Token.** The revision of the grant: the stream's counter, which rises with every write of any key. Renewals
//! raise the revision, and leave the token.
//!
//! **Crash release.** After the ttl since the last renewal, by the server's wall clock, whether it runs or not meanwhile.
//!
//! **Buckets.** Servers of series 2.9 have one ttl for a bucket (those from 2.11 on one for each entry), so each ttl has a bucket,
//! and sessions exclude each other only under the same ttl.
//!
//! Sources: NATS ADR-8 (key-value stores), documentation of JetStream (expected last sequence, republish).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::node::{Attempt, Node, Way};
use super::requests::{Heard, Listening, Unanswered, What};
use super::url::{Servers, servers};
use super::wire;
use crate::backends::common::{CONNECT_TIMEOUT, answer_within, exclusive_key};
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockBackend, LockError, LockSession, Operations,
    ReleaseRet, Renewal, Request, SafetyClass, SessionOptions, Survives, Validity, Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "nats-kv",
    summary: "one entry per lock in a bucket with the ttl, which replaces the mark of the last release",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: Survives {
        node_crash: "free after the ttl",
        server_kill: "kept: written before it is acknowledged; the ttl runs on meanwhile",
        power_loss: "may be lost: flushed every 2 min",
    },
    open: |endpoint| Ok(Box::new(Nats(servers(endpoint)?))),
};

/// The shortest ttl of a bucket.
const TTL_MIN: Duration = Duration::from_millis(100);

/// Longer names would not fit into a line of the protocol, of which a server takes 4 KiB.
const KEY_MAX: usize = 1200;

/// Pause before asking again where the server did not answer.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Waiters look at different moments after an entry must have ended.
const SPREAD_MAX: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Nats(Servers);

#[derive(Debug)]
struct Session(Node);

impl LockBackend for Nats {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let ttl = Duration::from_millis(options.ttl.as_millis() as u64).max(TTL_MIN);
            let lost = CancellationToken::new();
            let connecting = wire::connect(&self.0, &options.node, ttl, &lost);
            let silent = |_| LockError::Unavailable("no answer from nats".to_owned());
            let requests = timeout(CONNECT_TIMEOUT, connecting).await.map_err(silent)??;
            Ok(Arc::new(Session(Node::new(requests, ttl, options, lost))) as Arc<dyn LockSession>)
        })
    }
}

impl LockSession for Session {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            match self.0.attempt(admitted(request)?, request, Way::Guess, self.limit(request)).await? {
                Attempt::Granted(grant) => Ok(Some(grant)),
                Attempt::Refused(_) => Ok(None),
            }
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(self.acquire(request))
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let answers = join_all(grants.iter().map(|grant| self.0.renew(grant))).await;
            let unanswered = answers.iter().filter_map(|answer| answer.as_ref().err()).next();
            if let Some(unanswered) = unanswered.filter(|_| answers.iter().all(Result::is_err)) {
                return Err(unanswered.clone().harmless());
            }
            // Without an answer, the last acknowledged validity stands.
            let renewed = answers.into_iter().zip(grants);
            let grants = renewed.map(|(answer, grant)| answer.unwrap_or(grant.validity)).collect();
            Ok(Renewal { session: Validity::NoLease, grants })
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            let mut released = ReleaseRet::Released;
            // Several where an attempt on any slot of a level is withdrawn.
            for key in &grant.keys {
                if self.0.release(&grant.owner, key).await? == ReleaseRet::AlreadyLost {
                    released = ReleaseRet::AlreadyLost;
                }
            }
            Ok(released)
        })
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(self.0.holder(key))
    }

    fn lost(&self) -> CancellationToken {
        self.0.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.0.ttl)
    }

    fn operations(&self) -> &Operations {
        self.0.requests.sent()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.0.lost.cancel();
            let unsettled = self.0.unsettled();
            for failed in join_all(unsettled.iter().map(|(owner, key)| self.0.release(owner, key))).await {
                if let Err(error) = failed {
                    tracing::debug!(%error, "an entry was not deleted; it ends with its ttl");
                }
            }
            self.0.requests.close().await;
        })
    }
}

impl Session {
    fn limit(&self, request: &Request) -> Duration {
        answer_within(request, &*self.0.now, self.0.ttl / 2)
    }

    async fn acquire(&self, request: &Request) -> Result<Grant, LockError> {
        let key = admitted(request)?;
        let mut waiting: Option<Waiting> = None;
        let mut way = Way::Guess;
        loop {
            let refused = match self.0.attempt(key, request, way, self.limit(request)).await {
                Ok(Attempt::Granted(grant)) => return Ok(grant),
                Ok(Attempt::Refused(revision)) => revision,
                Err(error @ (LockError::Unavailable(_) | LockError::Unknown(_))) => {
                    way = Way::Look;
                    self.recover(key, request, error).await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // From here to the next try no request is under way: giving up needs no withdrawal.
            way = match &mut waiting {
                Some(waiting) => {
                    tokio::select! {
                        biased;
                        () = self.0.lost.cancelled() => return Err(LockError::SessionLost("closed".to_owned())),
                        way = waiting.until_free(refused, request) => way,
                        () = request.over(&*self.0.now) => return Err(LockError::TimedOut),
                    }
                }
                None => {
                    let news = self.0.requests.listen(key).await.map_err(Unanswered::harmless)?;
                    waiting = Some(Waiting { news, ttl: self.0.ttl });
                    // What was written before it was listened to.
                    Way::Look
                }
            };
        }
    }

    /// After a request without an answer: withdraws what may come of it, and waits a little. The same error where
    /// the caller does not wait so long.
    async fn recover(&self, key: &Arc<str>, request: &Request, error: LockError) -> Result<(), LockError> {
        loop {
            tokio::select! {
                biased;
                () = self.0.lost.cancelled() => return Err(error),
                () = request.over(&*self.0.now) => return Err(error),
                () = sleep(RETRY_DELAY) => {}
            }
            match &error {
                LockError::Unknown(_) if self.0.release(&request.owner, key).await.is_err() => {}
                _ => return Ok(()),
            }
        }
    }
}

/// A waiter of one key.
struct Waiting {
    news: Box<dyn Listening>,
    ttl: Duration,
}

impl Waiting {
    /// Waits until the entry of that revision, or the last after it, was deleted or must have ended. Cancel safe.
    async fn until_free(&mut self, mut revision: u64, request: &Request) -> Way {
        let ends = || Instant::now() + self.ttl + request.owner.spread(0, SPREAD_MAX);
        let mut end = ends();
        loop {
            tokio::select! {
                biased;
                heard = self.news.next() => match heard {
                    Heard::Gap => return Way::Look,
                    Heard::Written { revision: heard, .. } if heard <= revision => {}
                    Heard::Written { revision: heard, what: What::Free } => return Way::Replace(heard),
                    Heard::Written { revision: heard, what: What::Held } => {
                        revision = heard;
                        end = ends();
                    }
                },
                () = sleep_until(end) => return Way::Look,
            }
        }
    }
}

/// The one key of a request.
fn admitted(request: &Request) -> Result<&Arc<str>, LockError> {
    let key = exclusive_key(request)?;
    if key.len() <= KEY_MAX { Ok(key) } else { Err(LockError::Unsupported("names above 1200 bytes")) }
}
