//! Leases in a table, on the database's clock: any connection will do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connections::{Connections, Permit, set_up};
use super::hash::hash;
use super::requests::{Failure, LeaseServer, Leases};
use super::wakeups::{self, Wakeups};
use crate::backends::common::{Tasks, answer_within, exclusive_key};
use crate::session::{
    BoxFuture, Grant, LockBackend, LockError, LockSession, Now, Operations, ReleaseRet, Renewal, Request,
    SessionOptions, Validity, valid_until,
};

/// Statements of one node that run side by side.
const CONNECTIONS: usize = 8;
/// After the end of the lease that was waited for.
const PAUSE: Duration = Duration::from_millis(5);

/// The backend of the variants of this kind.
#[derive(Debug)]
pub(in crate::backends) struct LeaseTable(pub(in crate::backends) Arc<dyn LeaseServer>);

#[derive(Debug)]
struct LeaseSession {
    server: Arc<dyn LeaseServer>,
    options: SessionOptions,
    /// Each runs one statement at a time.
    connections: Connections<Box<dyn Leases>>,
    /// One that renews and does nothing else: a renewal that waits behind other statements may come too late.
    renewals: Connections<Box<dyn Leases>>,
    wakeups: Arc<Wakeups>,
    ttl: Duration,
    now: Arc<dyn Now>,
    lost: CancellationToken,
    operations: Operations,
    tasks: Tasks,
}

impl LockBackend for LeaseTable {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let ttl = options.ttl.max(Duration::from_millis(1));
            let mut first = self.0.lease(&options).await?;
            set_up(&mut *first).await?;
            let second = self.0.lease(&options).await?;
            let (wakeups, lost) = (Arc::new(Wakeups::default()), CancellationToken::new());
            let (tasks, server) = (Tasks::default(), Arc::clone(&self.0));
            if let Some(listening) = server.listen(&options) {
                let (wakeups, lost, server) = (Arc::clone(&wakeups), lost.clone(), Arc::clone(&server));
                tasks.spawn(wakeups::run(wakeups, listening.await?, server, options.clone(), lost));
            }
            let connections = Connections::new(CONNECTIONS, CONNECTIONS);
            connections.put(first);
            let renewals = Connections::new(1, 1);
            renewals.put(second);
            let (now, operations) = (Arc::clone(&options.now), Operations::default());
            let session = LeaseSession {
                server,
                options,
                connections,
                renewals,
                wakeups,
                ttl,
                now,
                lost,
                operations,
                tasks,
            };
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
        self.operations.add(1);
        let late = |_| Err(LockError::Unknown("no answer in time".to_owned()));
        timeout(limit, asked).await.unwrap_or_else(late)
    }

    /// A connection for one request, and the right to it.
    async fn line(&self, of: &Connections<Box<dyn Leases>>) -> Result<(Permit, Box<dyn Leases>), LockError> {
        let permit = of.permit().await?;
        let line = match of.take() {
            Some(line) => line,
            None => self.server.lease(&self.options).await?,
        };
        Ok((permit, line))
    }

    async fn ask(&self, name: &str, request: &Request, limit: Duration) -> Result<Option<Grant>, LockError> {
        let sent_ns = self.now.now_ns();
        let token = self.within(limit, async {
            let (_permit, mut line) = self.line(&self.connections).await?;
            let taken = line.take(name, &request.owner, &request.description, self.ttl).await;
            settle(&self.connections, line, taken)
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
                let (_permit, mut line) = self.line(&self.connections).await?;
                let marked = line.mark_awaited(name).await;
                settle(&self.connections, line, marked)
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
            let (_permit, mut line) = self.line(&self.connections).await?;
            let released = line.release(name, &grant.owner, hash(name)).await;
            settle(&self.connections, line, released)
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
                let (_permit, mut line) = self.line(&self.renewals).await?;
                let renewed = line.renew(grants, self.ttl).await;
                settle(&self.renewals, line, renewed)
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
                let (_permit, mut line) = self.line(&self.connections).await?;
                let held_by = line.holder(key).await;
                settle(&self.connections, line, held_by)
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

    fn operations(&self) -> &Operations {
        &self.operations
    }

    /// There is no session at the server: what is still held ends with its ttl.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.lost.cancel();
            self.tasks.ended().await;
            let lines = self.connections.drain().into_iter().chain(self.renewals.drain());
            let goodbyes = lines.map(|line| line.close());
            if timeout(self.ttl, join_all(goodbyes)).await.is_err() {
                tracing::debug!("connections were dropped without a goodbye");
            }
        })
    }
}

/// Keeps the connection, if it is still good.
fn settle<T>(
    of: &Connections<Box<dyn Leases>>,
    line: Box<dyn Leases>,
    answer: Result<T, Failure>,
) -> Result<T, LockError> {
    match answer {
        Ok(answer) => {
            of.put(line);
            Ok(answer)
        }
        Err(Failure::Refused(why)) => {
            of.put(line);
            Err(LockError::Unavailable(why))
        }
        Err(Failure::TimedOut) => {
            of.put(line);
            Err(LockError::Unavailable("the server gave up waiting".to_owned()))
        }
        Err(Failure::Unanswered(why)) => Err(LockError::Unknown(why)),
    }
}
