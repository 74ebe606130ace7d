//! `etcd-v3lock`, **unsafe on purpose**: the server's own lock RPC, by a client that takes its word for it.
//!
//! **Protocol.** As the RPC is used where nobody thinks about leases: one is granted and kept alive, `v3lock.Lock(name, lease)` is
//! waited for however long it takes, and its answer is the lock. Nobody looks at a clock, at the key behind the answer, or at what
//! became of the lease; where that is gone, the next attempt has another one. Release deletes the key.
//!
//! **The defect on series 3.4** (never fixed there; 3.5 answers an error): the server does not look whether the waiter's key still
//! exists when its turn comes. Whoever waited for longer than its lease lived is told that it holds the lock, beside whoever is next.
//! The holder's own lease may end unnoticed as well, on every series. `etcd-v3lock-checked` looks, and heeds its clock.
//!
//! **Round trips.** 1 to acquire, also while waiting, on a stream of its own; 1 to release. No pings: they would end the connection
//! of a client that stands still, and the wait with it.
//!
//! **Safety class U**; it breaks the contracts that are named in [`VARIANT`].
//!
//! **Token.** The revision in the answer's header; whoever is answered wrongly has one, too.
//!
//! **Crash release.** As `etcd-cas`.
//!
//! Sources: Jepsen, "etcd 3.4.3", whose client this is; etcd issues 9921 and 11456.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::node::RETRY_DELAY;
use super::requests::{Compare, Failure, Lease, Op, Read, Reply, Requests, Txn};
use super::session::{SURVIVES, TTL_MIN_S};
use super::url::{Cluster, cluster};
use super::v3lock::{LATE, queue};
use super::wire;
use crate::backends::common::{CONNECT_TIMEOUT, Tasks, exclusive_key, lock};
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockBackend, LockError, LockSession, Now, Operations,
    OwnerId, ReleaseRet, Renewal, Request, SafetyClass, SessionOptions, Token, Validity, Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "etcd-v3lock",
    summary: "unsafe on purpose: the server's own lock RPC, whose word is taken; on 3.4 it grants locks to leases that ended",
    class: SafetyClass::Unsafe {
        breaks: &[
            "an_expired_waiter_is_never_granted",
            // Nobody tells the holder.
            "a_vanished_session_frees_its_keys_and_its_holder_is_told",
            "a_lease_outlasts_a_slow_disk_or_its_loss_is_told_before_another_has_the_key",
        ],
        by_chance: &[],
    },
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Required,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: true,
    },
    survives: SURVIVES,
    open: |endpoint| Ok(Box::new(V3lock(cluster(endpoint)?))),
};

/// Longer than anybody stands still: what is waited for is waited for.
const PATIENCE: Duration = Duration::from_secs(3600);

struct V3lock(Cluster);

impl fmt::Debug for V3lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("V3lock")
    }
}

impl LockBackend for V3lock {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let ttl_s = options.ttl.as_secs_f64().ceil().max(TTL_MIN_S as f64) as i64;
            let (lost, tasks) = (CancellationToken::new(), Tasks::default());
            let requests = wire::connect(&self.0, &options.node, PATIENCE, &lost, &tasks).await?;
            let granted = requests.grant_lease(ttl_s, CONNECT_TIMEOUT).await;
            let lease = granted.map_err(|failure| LockError::Unavailable(failure.to_string()))?;
            let session = Session {
                requests,
                ttl_s,
                lease: Mutex::new(lease),
                asked: Mutex::default(),
                lost,
                tasks,
                now: options.now,
            };
            Ok(Arc::new(session) as Arc<dyn LockSession>)
        })
    }
}

struct Session {
    requests: Arc<dyn Requests>,
    ttl_s: i64,
    /// That of the next attempt; another one once it was found gone.
    lease: Mutex<Lease>,
    /// The key of each attempt that waits or holds.
    asked: Mutex<HashMap<(Arc<str>, OwnerId), String>>,
    /// Fired by the session's end alone.
    lost: CancellationToken,
    tasks: Tasks,
    now: Arc<dyn Now>,
}

impl Session {
    fn lease(&self) -> Lease {
        *lock(&self.lease)
    }

    /// How long a request may take that is none for a lock.
    fn limit(&self) -> Duration {
        self.lease().ttl / 2
    }

    /// Asks again and again, on whatever lease there is, until it is answered or the wait is over.
    async fn ask(&self, name: &Arc<str>, request: &Request, within: Duration) -> Result<Grant, LockError> {
        let attempt = (Arc::clone(name), request.owner.clone());
        loop {
            let lease = self.lease();
            lock(&self.asked).insert(attempt.clone(), format!("{}/{:x}", queue(name), lease.id));
            let mut asked = self.requests.lock(queue(name), lease);
            let answer = tokio::select! {
                biased;
                () = self.lost.cancelled() => return Err(closed()),
                answer = &mut asked => answer,
                () = request.over(&*self.now) => return Err(self.give_up(&attempt, asked).await),
                () = sleep(within) => return Err(self.give_up(&attempt, asked).await),
            };
            match answer {
                Ok(revision) => {
                    let token = Token { generation: 0, sequence: revision.unsigned_abs() };
                    let (keys, owner) = (vec![Arc::clone(name)], request.owner.clone());
                    return Ok(Grant { keys, owner, token: Some(token), validity: Validity::NoLease });
                }
                // The lease may be the reason.
                Err(_) => self.keep_alive().await,
            }
            if request.remaining(&*self.now).is_zero() {
                return Err(LockError::Unknown("no answer by the deadline".to_owned()));
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Deletes the place in the queue; the request is left to end by itself.
    async fn give_up(&self, attempt: &(Arc<str>, OwnerId), asked: Reply<'static, i64>) -> LockError {
        let lost = self.lost.clone();
        self.tasks.spawn(async move { drop(lost.run_until_cancelled(asked).await) });
        match self.delete(attempt).await {
            Ok(ReleaseRet::Released) => LockError::TimedOut,
            Ok(ReleaseRet::AlreadyLost) => LockError::Unknown("the request has not arrived".to_owned()),
            Err(error) => error,
        }
    }

    /// Deletes the key of an attempt, and says whether it was there.
    async fn delete(&self, attempt: &(Arc<str>, OwnerId)) -> Result<ReleaseRet, LockError> {
        let Some(key) = lock(&self.asked).get(attempt).cloned() else { return Ok(ReleaseRet::AlreadyLost) };
        let when = vec![Compare::Exists { key: key.clone() }];
        let txn = Txn { when, then: vec![Op::Delete { key }], or_else: Vec::new() };
        match self.requests.txn(txn, self.limit()).await {
            Ok(answer) if answer.succeeded => {
                lock(&self.asked).remove(attempt);
                Ok(ReleaseRet::Released)
            }
            Ok(_) | Err(Failure::LeaseGone) => Ok(ReleaseRet::AlreadyLost),
            Err(Failure::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }

    /// Keeps the lease, or has another one granted for those who come next: whoever waits on the old one waits on.
    async fn keep_alive(&self) {
        if let Err(Failure::LeaseGone) = self.requests.keep_alive(self.lease(), self.limit()).await
            && let Ok(granted) = self.requests.grant_lease(self.ttl_s, self.limit()).await
        {
            *lock(&self.lease) = granted;
        }
    }
}

fn closed() -> LockError {
    LockError::SessionLost("closed".to_owned())
}

impl LockSession for Session {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            let name = exclusive_key(request)?;
            if self.holder(name).await?.is_some() {
                return Ok(None);
            }
            match self.ask(name, request, self.limit()).await {
                Ok(grant) => Ok(Some(grant)),
                // Somebody else was quicker, and the place is given up.
                Err(LockError::TimedOut) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move { self.ask(exclusive_key(request)?, request, PATIENCE).await })
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            self.keep_alive().await;
            let grants = vec![Validity::NoLease; grants.len()];
            Ok(Renewal { session: Validity::NoLease, grants })
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            let Some(name) = grant.keys.first() else { return Ok(ReleaseRet::AlreadyLost) };
            let attempt = (Arc::clone(name), grant.owner.clone());
            let deleted = self.delete(&attempt).await?;
            let unproven = grant.token.is_none() && deleted == ReleaseRet::AlreadyLost;
            let deleted = if unproven {
                // The request may still be on its way.
                sleep(LATE).await;
                self.delete(&attempt).await?
            } else {
                deleted
            };
            lock(&self.asked).remove(&attempt);
            Ok(deleted)
        })
    }

    /// The server writes no value: the lease of the first in the queue is all that it knows.
    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(async move {
            let oldest = self.requests.read(Read::oldest(format!("{}/", queue(key))), self.limit()).await;
            let oldest = oldest.map_err(|failure| LockError::Unavailable(failure.to_string()))?;
            Ok(oldest.first().map(|first| format!("lease {:x}", first.lease)))
        })
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.lease().ttl)
    }

    fn operations(&self) -> &Operations {
        self.requests.sent()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.lost.cancel();
            if self.requests.revoke(self.lease(), self.limit()).await.is_err() {
                tracing::debug!("lease not revoked; it expires");
            }
            if timeout(self.limit(), self.tasks.ended()).await.is_err() {
                tracing::debug!("requests that nobody waits for are dropped");
            }
        })
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("lease", &self.lease().id).finish_non_exhaustive()
    }
}
