//! `pg-lease`: a table of leases on the database's clock; any connection will do.
//!
//! **Protocol.** A row per name: owner, token, expiry. Acquire is one upsert that takes the row if its lease is over,
//! and answers the same token to the same owner. The row lock orders contenders; the token is drawn after it is had,
//! since rows are never deleted (an insert that met a deleted row would bring an older token). Refused: one statement
//! marks the row as awaited and reads when its lease ends. Release ends the lease if the owner still has it, and
//! announces the name if it is awaited; a listening connection wakes the waiters of the node, who race. Renewal is one
//! statement for all.
//!
//! **Round trips.** 1 to acquire, 1 to release, each a commit: on disk before it is acknowledged in the durable profile.
//! Refused: 1 more, and 1 per lost race.
//!
//! **Safety class F**: exclusive while clocks run at similar rates and pauses stay below the lease's margin, and fenced
//! by a token. The only variant here whose locks survive the server's restart, and work through a pooler.
//!
//! **Token.** `nextval` of the sequence `lockbench_fence` in the same statement.
//!
//! **Crash release.** ttl, plus up to 20 ms.
//!
//! Sources: PostgreSQL documentation, "INSERT" (ON CONFLICT), "NOTIFY"; cirello-io/pglock (a lease table, polled).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::SemaphorePermit;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::client;
use super::connections::{Connections, set_up};
use super::keys::hash;
use super::requests::{Failure, Leases, Postgres};
use super::wakeups::{self, Wakeups};
use crate::backends::common::{Tasks, answer_within, exclusive_key};
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockBackend, LockError, LockSession, Now, ReleaseRet,
    Renewal, Request, SafetyClass, SessionOptions, Survives, Validity, Variant, unavailable, valid_until,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "pg-lease",
    summary: "a table of leases on the database's clock; waiters woken by NOTIFY",
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
        server_kill: "kept, with synchronous_commit on",
        power_loss: "kept, with synchronous_commit and fsync on",
    },
    open: |endpoint| Ok(Box::new(over(client::at(endpoint)?))),
};

/// The variant over whatever answers its requests.
fn over(server: Arc<dyn Postgres>) -> PgLease {
    PgLease(server)
}

/// Statements of one node that run side by side.
const CONNECTIONS: usize = 8;
/// After the end of the lease that was waited for.
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct PgLease(Arc<dyn Postgres>);

#[derive(Debug)]
struct LeaseSession {
    server: Arc<dyn Postgres>,
    options: SessionOptions,
    /// Each runs one statement at a time.
    connections: Connections<Box<dyn Leases>>,
    wakeups: Arc<Wakeups>,
    ttl: Duration,
    now: Arc<dyn Now>,
    lost: CancellationToken,
    operations: AtomicU64,
    tasks: Tasks,
}

impl LockBackend for PgLease {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let ttl = options.ttl.max(Duration::from_millis(1));
            let mut first = self.0.lease(&options).await?;
            set_up(&mut *first).await?;
            let (wakeups, lost) = (Arc::new(Wakeups::default()), CancellationToken::new());
            let listening = self.0.listen(&options).await?;
            let tasks = Tasks::default();
            let server = Arc::clone(&self.0);
            tasks.spawn(wakeups::run(
                Arc::clone(&wakeups),
                listening,
                Arc::clone(&server),
                options.clone(),
                lost.clone(),
            ));
            let connections = Connections::new(CONNECTIONS);
            connections.put(first);
            let (now, operations) = (Arc::clone(&options.now), AtomicU64::new(0));
            let session =
                LeaseSession { server, options, connections, wakeups, ttl, now, lost, operations, tasks };
            Ok(Arc::new(session) as Arc<dyn LockSession>)
        })
    }
}

impl LeaseSession {
    /// Bounds a request. [`LockError::Unknown`]: it may have been applied.
    async fn within<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<T, LockError>>,
    ) -> Result<T, LockError> {
        if self.lost.is_cancelled() {
            return Err(LockError::SessionLost("closed".to_owned()));
        }
        self.operations.fetch_add(1, Ordering::Relaxed);
        let late = |_| Err(LockError::Unknown("no answer in time".to_owned()));
        timeout(limit, asked).await.unwrap_or_else(late)
    }

    /// A connection for one request, and the right to it.
    async fn line(&self) -> Result<(SemaphorePermit<'_>, Box<dyn Leases>), LockError> {
        let permit = self.connections.permit().await.map_err(unavailable)?;
        let line = match self.connections.take() {
            Some(line) => line,
            None => self.server.lease(&self.options).await?,
        };
        Ok((permit, line))
    }

    /// Keeps the connection, if it is still good.
    fn settle<T>(&self, line: Box<dyn Leases>, answer: Result<T, Failure>) -> Result<T, LockError> {
        match answer {
            Ok(answer) => {
                self.connections.put(line);
                Ok(answer)
            }
            Err(Failure::Refused(why)) => {
                self.connections.put(line);
                Err(LockError::Unavailable(why))
            }
            Err(Failure::TimedOut) => {
                self.connections.put(line);
                Err(LockError::Unavailable("the server gave up waiting".to_owned()))
            }
            Err(Failure::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }

    async fn ask(&self, name: &str, request: &Request, limit: Duration) -> Result<Option<Grant>, LockError> {
        let sent_ns = self.now.now_ns();
        let token = self.within(limit, async {
            let (_permit, mut line) = self.line().await?;
            let taken = line.take(name, &request.owner, &request.description, self.ttl).await;
            self.settle(line, taken)
        });
        let Some(token) = token.await? else { return Ok(None) };
        Ok(Some(Grant {
            keys: request.keys.clone(),
            owner: request.owner.clone(),
            token: Some(token),
            validity: valid_until(sent_ns, self.ttl),
        }))
    }

    async fn wait(&self, request: &Request) -> Result<Grant, LockError> {
        let name = exclusive_key(request)?;
        let waiter = self.wakeups.waiter(hash(name));
        loop {
            // Armed before the try, so that an announcement between the answer and the wait is not missed.
            let mut woken = std::pin::pin!(waiter.woken());
            woken.as_mut().enable();
            let limit = answer_within(request, &*self.now, self.ttl);
            if let Some(grant) = self.ask(name, request, limit).await? {
                return Ok(grant);
            }
            let marked = self.within(limit, async {
                let (_permit, mut line) = self.line().await?;
                let marked = line.mark_awaited(name).await;
                self.settle(line, marked)
            });
            // `None`: free by now, or the answer was lost; the mark does no harm.
            let pause = marked.await.ok().flatten().unwrap_or_default();
            tokio::select! {
                biased;
                () = self.lost.cancelled() => return Err(LockError::SessionLost("closed".to_owned())),
                // From the last answer on no request is under way.
                () = request.over(&*self.now) => return Err(LockError::TimedOut),
                () = woken => {}
                () = sleep(pause + PAUSE) => {}
            }
        }
    }

    async fn give_back(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        let Some(name) = grant.keys.first() else { return Ok(ReleaseRet::AlreadyLost) };
        let released = self.within(self.ttl / 2, async {
            let (_permit, mut line) = self.line().await?;
            let released = line.release(name, &grant.owner, hash(name)).await;
            self.settle(line, released)
        });
        Ok(if released.await? { ReleaseRet::Released } else { ReleaseRet::AlreadyLost })
    }
}

impl LockSession for LeaseSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move { self.ask(exclusive_key(request)?, request, self.ttl / 2).await })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(self.wait(request))
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            if grants.is_empty() {
                return Ok(Renewal { session: Validity::NoLease, grants: Vec::new() });
            }
            let sent_ns = self.now.now_ns();
            let renewed = self.within(self.ttl / 4, async {
                let (_permit, mut line) = self.line().await?;
                let renewed = line.renew(grants, self.ttl).await;
                self.settle(line, renewed)
            });
            let until = valid_until(sent_ns, self.ttl);
            let validity = |held: bool| if held { until } else { Validity::Lost };
            let grants = renewed.await?.into_iter().map(validity).collect();
            Ok(Renewal { session: Validity::NoLease, grants })
        })
    }

    /// Also what a lost request may have taken, by owner. The statement could still be on its way in a connection that
    /// was given up; the server would take the row for an owner who never comes, until its ttl.
    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(self.give_back(grant))
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(async move {
            let held_by = self.within(self.ttl / 2, async {
                let (_permit, mut line) = self.line().await?;
                let held_by = line.holder(key).await;
                self.settle(line, held_by)
            });
            held_by.await
        })
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.ttl)
    }

    fn operations(&self) -> &AtomicU64 {
        &self.operations
    }

    /// There is no session at the server: what is still held ends with its ttl.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.lost.cancel();
            self.tasks.ended().await;
            let goodbyes = self.connections.drain().into_iter().map(|line| line.close());
            if timeout(self.ttl, join_all(goodbyes)).await.is_err() {
                tracing::debug!("connections were dropped without a goodbye");
            }
        })
    }
}
