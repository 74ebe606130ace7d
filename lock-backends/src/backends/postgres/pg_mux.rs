//! `pg-mux`: all advisory locks of a node on one PostgreSQL connection, with every pending operation of the
//! node batched into one statement.
//!
//! **Protocol.** A task owns the lock connection ([`lock_connection`]). It takes everything that waits in its
//! channel and runs it as one statement over `unnest`: tries that draw a token only when the lock came, and
//! unlocks. The lock connection never waits in the server. A refused waiter shows itself at the server in the
//! same statement, and tries again there, so that no release can slip in between; an unlock that finds a
//! waiter shown announces the key with `pg_notify`, in the same round trip. A second connection listens and
//! wakes the waiters of this node ([`Wakeups`]), who then try again. A poll that backs off to [`POLL_MAX`]
//! covers what announces nothing, such as a crashed holder.
//!
//! ```text
//!  node A  holds k ············ unlock k, a waiter is shown: notify ──▶ commit
//!  node B  try k: refused, shown, wait ································└─▶ woken: try k, token
//! ```
//!
//! **Round trips.** 1 to acquire (one more where an operation that is alone in its batch is refused), 1 to release, without a flush to disk except when a batch passes a multiple
//! of 32 tokens: next to none with one caller, one per batch with hundreds, which then bounds the throughput
//! on a slow disk. An announcement is a commit record; it is flushed only together with tokens that are drawn
//! in the same batch.
//!
//! **Safety class F**: exclusive while the lock connection lives, and fenced by a token. The server frees the
//! keys the moment it sees the connection end, a few milliseconds before this node can know; a token check at
//! the resource closes that gap.
//!
//! **Token.** `nextval` of the sequence `lockbench_fence` in the same statement as the grant, behind a
//! `CASE`, so that it is drawn after the lock is held. No cycle, cache 1: values may skip, and never repeat
//! on the same primary.
//!
//! **Crash release.** A killed process frees its keys at once (the kernel closes the connection). There is no
//! lease: a paused process keeps its keys, a vanished host keeps them until the server's TCP keep-alive gives
//! up, which is set to about the ttl asked for.
//!
//! **Keys** are 64-bit FNV-1a hashes of the name. Two names with one hash exclude each other: a needless
//! wait, never a double grant, since the lock connection refuses a key that it holds already. The server
//! keeps all locks, and those of shown waiters, in a table of about `max_locks_per_transaction ×
//! max_connections`; a batch that does not fit is undone and refused as a whole.
//!
//! Sources: PostgreSQL documentation, "Advisory Locks", "NOTIFY", "Sequence Manipulation Functions",
//! "Asynchronous Commit".

mod lock_connection;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::lock_connection::{Asked, Heartbeat, IfRefused, LockConnection, LockOp, Tried};
use super::client;
use super::requests::Postgres;
use super::worth::ADVISORY_SURVIVES;
use crate::backends::common::{Tasks, answer_within, exclusive_key};
use crate::backends::sql::{self, PATIENCE_MIN, Waiter, Wakeups, granted, hash, set_up};
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockBackend, LockError, LockSession, Now, Operations,
    OwnerId, ReleaseRet, Renewal, Request, SafetyClass, SessionOptions, Validity, Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "pg-mux",
    summary: "advisory locks of a node on one connection, batched; waiters woken by NOTIFY",
    class: SafetyClass::Fenced,
    least: Least::RoundTrips,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Required,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: false,
        fair: false,
    },
    survives: ADVISORY_SURVIVES,
    open: |endpoint| Ok(Box::new(over(client::at(endpoint)?))),
};

/// The variant over whatever answers its requests.
fn over(server: Arc<dyn Postgres>) -> PgMux {
    PgMux(server)
}

/// Operations that may wait for the lock connection; more wait in their callers.
const PENDING_MAX: usize = 4096;
/// First delay of the safety-net poll.
const POLL_MIN: Duration = Duration::from_millis(50);
/// Longest delay of the safety-net poll: a crashed holder's key is found free within it.
const POLL_MAX: Duration = Duration::from_millis(500);
/// Pause when a key was met in the moment of its release.
const PASSING_DELAY: Duration = Duration::from_millis(1);

#[derive(Debug)]
struct PgMux(Arc<dyn Postgres>);

impl LockBackend for PgMux {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            self.0.lends_no_session(&options).await?;
            let patience = options.ttl.max(PATIENCE_MIN);
            let lost = CancellationToken::new();
            let operations = Arc::<Operations>::default();
            let wakeups = Arc::new(Wakeups::default());
            let listening = match self.0.listen(&options) {
                Some(listening) => Some(listening.await?),
                None => None,
            };
            let mut connection = self.0.multiplex(&options).await?;
            set_up(&mut *connection).await?;

            let (ops, inbox) = mpsc::channel(PENDING_MAX);
            let actor = LockConnection::new(connection, inbox, wakeups.clone(), operations.clone(), patience);
            let tasks = Tasks::default();
            tasks.spawn({
                let lost = lost.clone();
                async move {
                    // However the task ends, also by a panic, its locks are gone with the connection.
                    let ended = lost.clone().drop_guard();
                    let connection = actor.run(lost).await;
                    drop(ended);
                    connection.close().await;
                }
            });
            let now = Arc::clone(&options.now);
            if let Some(listening) = listening {
                tasks.spawn(sql::wake(wakeups.clone(), listening, self.0.clone(), options, lost.clone()));
            }
            let session = PgSession { ops, wakeups, lost, operations, now, patience, tasks };
            Ok(Arc::new(session) as Arc<dyn LockSession>)
        })
    }
}

/// A node's session: handles to its two connections.
#[derive(Debug)]
struct PgSession {
    /// Written by callers, read by the task of the lock connection; closed when that task ends.
    ops: mpsc::Sender<Asked>,
    /// Woken by the listening task.
    wakeups: Arc<Wakeups>,
    /// Fired when the task of the lock connection ends; fired by `close` to end it.
    lost: CancellationToken,
    operations: Arc<Operations>,
    now: Arc<dyn Now>,
    /// Longest time that one statement may take before the session counts as lost.
    patience: Duration,
    tasks: Tasks,
}

impl PgSession {
    /// Tries the key, waiting for the answer until `limit`. An answer that is not taken gives the lock back.
    async fn try_key(
        &self,
        request: &Request,
        refused: IfRefused,
        limit: Duration,
    ) -> Result<Tried, LockError> {
        let name = exclusive_key(request)?.clone();
        let (key, owner) = (hash(&name), request.owner.clone());
        let (reply, mut answer) = oneshot::channel();
        let answered = timeout(limit, async {
            self.ops
                .send(LockOp::Lock { key, name, owner, refused, reply }.into())
                .await
                .map_err(|_| self.gone())?;
            (&mut answer).await.map_err(|_| self.gone())?
        });
        if let Ok(answered) = answered.await {
            return answered;
        }
        // Closed before a last look: what comes later is given back, what came before is not dropped.
        answer.close();
        answer.try_recv().unwrap_or_else(|_| Err(LockError::Unknown("no answer in time".to_owned())))
    }

    fn gone(&self) -> LockError {
        LockError::SessionLost("the lock connection ended".to_owned())
    }

    fn remaining(&self, request: &Request) -> Duration {
        request.remaining(&*self.now)
    }

    async fn acquire_key(&self, request: &Request) -> Result<Grant, LockError> {
        let key = hash(exclusive_key(request)?);
        let waiter = self.wakeups.waiter(key);
        let outcome = self.wait_turn(request, &waiter).await;
        drop(waiter);
        if outcome.is_err() {
            // Harmless if it fails: the connection is gone then, and what it shows with it.
            self.ops.send(LockOp::Leave { key }.into()).await.ok();
        }
        outcome
    }

    async fn wait_turn(&self, request: &Request, waiter: &Waiter<'_>) -> Result<Grant, LockError> {
        let mut poll = POLL_MIN;
        loop {
            // Armed before trying, so that an announcement between the answer and the wait is not missed.
            let mut woken = std::pin::pin!(waiter.woken());
            woken.as_mut().enable();
            let tried = self
                .try_key(request, IfRefused::Wait, answer_within(request, &*self.now, Duration::MAX))
                .await?;
            if let Tried::Granted(token) = tried {
                return Ok(granted(request, Some(token)));
            }
            if self.remaining(request).is_zero() {
                return Err(LockError::TimedOut);
            }
            if tried == Tried::Passing {
                sleep(PASSING_DELAY).await;
                continue;
            }
            tokio::select! {
                biased;
                () = self.lost.cancelled() => return Err(self.gone()),
                () = woken => {}
                () = request.left.cancelled() => {}
                () = sleep(poll.min(self.remaining(request))) => poll = (poll * 2).min(POLL_MAX),
            }
        }
    }
}

impl LockSession for PgSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            match self.try_key(request, IfRefused::GoAway, self.patience).await? {
                Tried::Granted(token) => Ok(Some(granted(request, Some(token)))),
                Tried::Refused | Tried::Passing => Ok(None),
            }
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(self.acquire_key(request))
    }

    /// One heartbeat for all: the grants live as long as the connection does.
    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let grants = grants.iter().map(|grant| held_key(grant)).collect();
            let (reply, answer) = oneshot::channel();
            let heartbeat = async {
                self.ops
                    .send(LockOp::Heartbeat(Heartbeat { grants, reply }).into())
                    .await
                    .map_err(|_| self.gone())?;
                answer.await.map_err(|_| self.gone())
            };
            let held = timeout(self.patience / 4, heartbeat)
                .await
                .map_err(|_| LockError::Unavailable("heartbeat not answered".to_owned()))??;
            let grants = held.into_iter().map(|held| if held { Validity::NoLease } else { Validity::Lost });
            Ok(Renewal { session: Validity::NoLease, grants: grants.collect() })
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            let Some((key, owner)) = held_key(grant) else { return Ok(ReleaseRet::AlreadyLost) };
            let (reply, answer) = oneshot::channel();
            if self.ops.send(LockOp::Unlock { key, owner, reply }.into()).await.is_err() {
                return Ok(ReleaseRet::AlreadyLost);
            }
            answer
                .await
                .map_err(|_| LockError::Unknown("the lock connection ended during the release".to_owned()))
        })
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        None
    }

    fn operations(&self) -> &Operations {
        &self.operations
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.lost.cancel();
            self.tasks.ended().await;
        })
    }
}

fn held_key(grant: &Grant) -> Option<(i64, OwnerId)> {
    Some((hash(grant.keys.first()?), grant.owner.clone()))
}
