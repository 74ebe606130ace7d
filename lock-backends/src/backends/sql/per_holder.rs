//! Locks of a connection that wait in the server: each holder and each waiter has a connection of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::connections::{Connections, Permit, set_up};
use super::in_time::in_time;
use super::requests::{Answer, Backend, Failure, HoldServer, Holding};
use crate::backends::common::{answer_within, exclusive_key, lock, single_key};
use crate::session::{
    BoxFuture, Grant, LockBackend, LockError, LockSession, Mode, Now, Operations, OwnerId, ReleaseRet,
    Renewal, Request, SessionOptions, Token, Validity,
};

/// A session gives one statement the ttl asked for, at least this, before its connection counts as lost.
pub(in crate::backends) const PATIENCE_MIN: Duration = Duration::from_secs(1);

/// Connections of one node. More holders and waiters than this wait in the node for one that comes back.
const CONNECTIONS_MAX: usize = 64;
/// Those of them that stay open while nobody uses them.
const CONNECTIONS_KEPT: usize = 32;
/// When none of them came back for so long, whoever waits for one is told: the holders may be the ones who wait.
const STALL: Duration = Duration::from_secs(1);

/// The backend of the variants of this kind.
#[derive(Debug)]
pub(in crate::backends) struct PerHolder {
    pub(in crate::backends) server: Arc<dyn HoldServer>,
    /// Whether the server has shared mode.
    pub(in crate::backends) shared: bool,
}

#[derive(Debug)]
struct Session {
    server: Arc<dyn HoldServer>,
    options: SessionOptions,
    shared: bool,
    /// Each is one attempt's, from the try to the release.
    connections: Connections<Box<dyn Holding>>,
    held: Mutex<HashMap<Attempt, Arc<tokio::sync::Mutex<Option<Held>>>>>,
    /// Backends of attempts with an unknown outcome, to be terminated.
    doubtful: Mutex<HashMap<Attempt, Backend>>,
    lost: CancellationToken,
    operations: Operations,
    now: Arc<dyn Now>,
    /// Longest time for one statement.
    patience: Duration,
}

/// Whether an attempt waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    Try,
    Wait,
}

type Attempt = (Arc<str>, OwnerId);

#[derive(Debug)]
struct Held {
    line: Box<dyn Holding>,
    mode: Mode,
    /// Goes back after the connection did.
    permit: Permit,
}

impl LockBackend for PerHolder {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            self.server.lends_no_session(&options).await?;
            let session = Session {
                server: Arc::clone(&self.server),
                shared: self.shared,
                connections: Connections::new(CONNECTIONS_MAX, CONNECTIONS_KEPT),
                held: Mutex::default(),
                doubtful: Mutex::default(),
                lost: CancellationToken::new(),
                operations: Operations::default(),
                now: Arc::clone(&options.now),
                patience: options.ttl.max(PATIENCE_MIN),
                options,
            };
            let mut first = session.open().await?;
            set_up(&mut *first).await?;
            session.connections.put(first);
            Ok(Arc::new(session) as Arc<dyn LockSession>)
        })
    }
}

impl Session {
    async fn open(&self) -> Result<Box<dyn Holding>, LockError> {
        self.count(1);
        self.server.hold(&self.options).await
    }

    /// A connection for one attempt. The permit goes back when the connection does.
    async fn line(&self) -> Result<Box<dyn Holding>, LockError> {
        if self.lost.is_cancelled() {
            return Err(LockError::SessionLost("closed".to_owned()));
        }
        match self.connections.take() {
            Some(line) => Ok(line),
            None => self.open().await,
        }
    }

    /// Counts a request, and waits so long for its answer.
    async fn answered<T>(&self, limit: Duration, answer: Answer<'_, T>) -> Result<T, Failure> {
        self.count(1);
        in_time(limit, answer).await
    }

    /// Ends a server process and with it all that it holds or waits for; success is the proof.
    async fn terminate(&self, backend: Backend) -> Result<(), LockError> {
        let mut line = self.open().await?;
        let ended = self.answered(self.patience, line.terminate(backend, self.patience / 2)).await;
        if !matches!(ended, Err(Failure::Unanswered(_))) {
            self.connections.put(line);
        }
        match ended {
            Ok(true) => Ok(()),
            Ok(false) | Err(Failure::TimedOut) => {
                Err(LockError::Unknown("the server process did not end yet".to_owned()))
            }
            Err(Failure::Refused(why) | Failure::Unanswered(why)) => Err(LockError::Unknown(why)),
        }
    }

    /// Asks for the lock on a connection of its own, and waits in the server where it should. One deadline bounds the wait
    /// for a connection and the wait for the lock; a try waits for neither.
    async fn ask(&self, request: &Request, patience: Patience) -> Result<Option<Grant>, LockError> {
        let name = if self.shared { single_key(request)? } else { exclusive_key(request)? };
        let attempt = (name.clone(), request.owner.clone());
        let (permit, mut line) = match patience {
            Patience::Try => (self.connections.permit_at_once()?, self.line().await?),
            Patience::Wait => self.within_deadline(request).await?,
        };
        let backend = line.backend();
        let answer = {
            let asked = async {
                match patience {
                    Patience::Wait => {
                        let limit = answer_within(request, &*self.now, Duration::MAX);
                        let left = request.remaining(&*self.now);
                        let locked = line.lock(name, request.mode, left, &request.description);
                        self.answered(limit, locked).await.map(Some)
                    }
                    Patience::Try => self.answered(self.patience, line.try_lock(name, request.mode)).await,
                }
            };
            tokio::select! {
                biased;
                answer = asked => Some(answer),
                () = request.left.cancelled() => None,
            }
        };
        match answer {
            Some(Ok(Some(token))) => {
                let held = Held { line, mode: request.mode, permit };
                lock(&self.held).insert(attempt, Arc::new(tokio::sync::Mutex::new(Some(held))));
                Ok(Some(granted(request, token)))
            }
            Some(Ok(None)) => {
                let open = line.refusal_leaves_open();
                self.put_back(line, open).await;
                Ok(None)
            }
            Some(Err(Failure::TimedOut)) => {
                self.put_back(line, true).await;
                Err(LockError::TimedOut)
            }
            // What it took before it failed ends with the connection.
            Some(Err(Failure::Refused(why))) => {
                self.end(attempt, line).await.and(Err(LockError::Unavailable(why)))
            }
            Some(Err(Failure::Unanswered(why))) => {
                lock(&self.doubtful).insert(attempt, backend);
                Err(LockError::Unknown(why))
            }
            None => self.end(attempt, line).await.and(Err(LockError::TimedOut)),
        }
    }

    /// Keeps a connection that holds nothing for the next attempt, once what it has open is over.
    async fn put_back(&self, mut line: Box<dyn Holding>, open: bool) {
        if !open || self.answered(self.patience, line.roll_back()).await.is_ok() {
            self.connections.put(line);
        }
    }

    /// Ends a connection for good.
    async fn end(&self, attempt: Attempt, line: Box<dyn Holding>) -> Result<(), LockError> {
        let backend = line.backend();
        drop(line);
        if let Err(error) = self.terminate(backend).await {
            lock(&self.doubtful).insert(attempt, backend);
            return Err(LockError::Unknown(error.to_string()));
        }
        Ok(())
    }

    /// A connection to wait on, for as long as the caller waits; nothing was asked on it yet.
    async fn within_deadline(&self, request: &Request) -> Result<(Permit, Box<dyn Holding>), LockError> {
        let had = async {
            let permit = self.connections.permit_unless_stalled(STALL).await?;
            Ok((permit, self.line().await?))
        };
        tokio::select! {
            biased;
            () = self.lost.cancelled() => Err(LockError::SessionLost("closed".to_owned())),
            () = request.over(&*self.now) => Err(LockError::TimedOut),
            had = had => had,
        }
    }

    async fn give_back(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        let Some(name) = grant.keys.first() else { return Ok(ReleaseRet::AlreadyLost) };
        let attempt = (name.clone(), grant.owner.clone());
        let doubtful = lock(&self.doubtful).get(&attempt).copied();
        if let Some(backend) = doubtful {
            self.terminate(backend).await?;
            lock(&self.doubtful).remove(&attempt);
            return Ok(ReleaseRet::AlreadyLost);
        }
        let held = lock(&self.held).remove(&attempt);
        let Some(held) = held else { return Ok(ReleaseRet::AlreadyLost) };
        // A heartbeat may be under way.
        let Some(Held { mut line, mode, permit }) = held.lock().await.take() else {
            return Ok(ReleaseRet::AlreadyLost);
        };
        let released = match self.answered(self.patience, line.unlock(name, mode)).await {
            Ok(was_held) => {
                self.connections.put(line);
                Ok(if was_held { ReleaseRet::Released } else { ReleaseRet::AlreadyLost })
            }
            Err(failure) => {
                lock(&self.doubtful).insert(attempt, line.backend());
                Err(LockError::Unknown(why(failure)))
            }
        };
        drop(permit);
        released
    }

    /// One heartbeat on each holder's connection: an idle one tells nothing of its end.
    async fn heartbeat(&self, grant: &Grant) -> Validity {
        let Some(name) = grant.keys.first() else { return Validity::Lost };
        let held = lock(&self.held).get(&(name.clone(), grant.owner.clone())).cloned();
        let Some(held) = held else { return Validity::Lost };
        let mut held = held.lock().await;
        let Some(Held { line, .. }) = held.as_mut() else { return Validity::Lost };
        if self.answered(self.patience / 4, line.ping()).await.is_ok() {
            return Validity::NoLease;
        }
        // The end of the connection is the end of the lock, as soon as the server sees it.
        *held = None;
        Validity::Lost
    }

    fn count(&self, operations: u64) {
        self.operations.add(operations);
    }
}

impl LockSession for Session {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(self.ask(request, Patience::Try))
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move {
            let granted = self.ask(request, Patience::Wait).await?;
            granted.ok_or_else(|| LockError::Protocol("neither granted nor refused".to_owned()))
        })
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let grants = join_all(grants.iter().map(|grant| self.heartbeat(grant))).await;
            Ok(Renewal { session: Validity::NoLease, grants })
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(self.give_back(grant))
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(async move {
            let mut line = self.line().await?;
            let held_by = self.answered(self.patience, line.holder(key)).await;
            let held_by = held_by.map_err(|failure| LockError::Unavailable(why(failure)))?;
            self.connections.put(line);
            Ok(held_by)
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

    /// Ends every connection, and with them the locks.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.lost.cancel();
            let mut lines = self.connections.drain();
            let held = std::mem::take(&mut *lock(&self.held));
            for held in held.into_values() {
                lines.extend(held.lock().await.take().map(|held| held.line));
            }
            let goodbyes = lines.into_iter().map(|line| line.close());
            if timeout(self.patience, join_all(goodbyes)).await.is_err() {
                tracing::debug!("connections were dropped without a goodbye");
            }
        })
    }
}

/// The grant of a lock that belongs to a connection.
pub(in crate::backends) fn granted(request: &Request, token: Option<Token>) -> Grant {
    let (keys, owner) = (request.keys.clone(), request.owner.clone());
    Grant { keys, owner, token, validity: Validity::NoLease }
}

fn why(failure: Failure) -> String {
    match failure {
        Failure::TimedOut => "the server gave up waiting".to_owned(),
        Failure::Refused(why) | Failure::Unanswered(why) => why,
    }
}
