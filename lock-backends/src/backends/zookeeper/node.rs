//! A node's one session: how long it is certainly alive, what an answer proves, and how it ends.
//!
//! **Validity** counts from before the last answered request was sent. The client library says
//! `Expired` only at 7/5 of the timeout, far too late; here the session ends for good when its validity does.
//! (With several servers, a follower reports its clients to the leader every half tick; the leader rounds
//! expiry up to a tick, which covers that.)

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::names;
use super::requests::{Failure, Opened, Requests, Watch};
use crate::backends::common::{LeaseEnd, Tasks, answer_within, lock};
use crate::session::{
    BoxFuture, Grant, LockError, Now, Operations, OwnerId, Renewal, Request, Token, Validity, valid_until,
};

/// Pause before asking again on a connection that just failed.
const RETRY_DELAY: Duration = Duration::from_millis(20);

/// A node's session with ZooKeeper.
pub(super) struct Node {
    /// Empty once the session is lost or closed: a handle would keep it alive.
    requests: Arc<Mutex<Option<Arc<dyn Requests>>>>,
    pub(super) ttl: Duration,
    /// The session is alive until then at least, on the node's clock. Raised by every answered request.
    valid_until: LeaseEnd,
    /// Node of each attempt that waits or holds, as its full path, by key and owner.
    nodes: Mutex<HashMap<(Arc<str>, OwnerId), String>>,
    pub(super) lost: CancellationToken,
    pub(super) operations: Operations,
    now: Arc<dyn Now>,
    tasks: Tasks,
}

impl Node {
    /// On a session that was asked for at `sent_ns`.
    pub(super) fn new(opened: Opened, sent_ns: u64, now: Arc<dyn Now>) -> Self {
        let Opened { requests, timeout: ttl, ended } = opened;
        let (requests, lost) = (Arc::new(Mutex::new(Some(requests))), CancellationToken::new());
        let (tasks, operations) = (Tasks::default(), Operations::default());
        // The handshake of the session.
        operations.add(1);
        tasks.spawn(end_together(requests.clone(), ended, lost.clone()));
        Self {
            requests,
            ttl,
            valid_until: LeaseEnd::new(valid_until(sent_ns, ttl)),
            nodes: Mutex::default(),
            lost,
            operations,
            now,
            tasks,
        }
    }

    /// How long a request may take for a caller.
    pub(super) fn limit(&self, request: &Request) -> Duration {
        answer_within(request, &*self.now, self.patience())
    }

    /// How long a request may take that nobody waits for.
    pub(super) fn patience(&self) -> Duration {
        self.ttl / 2
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now.now_ns()
    }

    pub(super) fn remaining(&self, request: &Request) -> Duration {
        request.remaining(&*self.now)
    }

    pub(super) async fn wait_over(&self, request: &Request) {
        request.over(&*self.now).await;
    }

    /// Completes when the session is lost.
    pub(super) async fn ended(&self) {
        self.lost.cancelled().await;
    }

    /// Ends the session for good.
    pub(super) fn gone(&self) -> LockError {
        self.lost.cancel();
        drop(lock(&self.requests).take());
        LockError::SessionLost("the session ended".to_owned())
    }

    /// The way to ask, while the session is certainly alive.
    pub(super) fn requests(&self) -> Result<Arc<dyn Requests>, LockError> {
        let expired = self.valid_until.has_passed(&*self.now);
        let requests = lock(&self.requests).clone();
        match requests {
            Some(requests) if !expired && !self.lost.is_cancelled() => Ok(requests),
            _ => Err(self.gone()),
        }
    }

    /// Waits for the answer to a request sent at `sent_ns`; any answer proves that the session was alive then.
    pub(super) async fn answer<T>(
        &self,
        sent_ns: u64,
        limit: Duration,
        pending: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        self.count(1);
        let answer = match timeout(limit, pending).await {
            Err(_) => return Err(Failure::Unanswered("no answer in time".to_owned())),
            Ok(Err(failure @ (Failure::Unanswered(_) | Failure::SessionEnded))) => return Err(failure),
            Ok(answer) => answer,
        };
        self.valid_until.raise(valid_until(sent_ns, self.ttl));
        answer
    }

    /// Asks again and again while nobody answers and the caller waits.
    pub(super) async fn until_answered<T, F>(
        &self,
        request: &Request,
        ask: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        loop {
            match ask().await {
                Err(Failure::Unanswered(_)) if !self.remaining(request).is_zero() => sleep(RETRY_DELAY).await,
                answered => return answered,
            }
        }
    }

    /// Reads and watches a node. `None`: it is gone, or nobody answered.
    pub(super) async fn watch(&self, path: &str, request: &Request) -> Result<Option<Watch>, LockError> {
        let (requests, sent_ns) = (self.requests()?, self.now_ns());
        match self.answer(sent_ns, self.limit(request), requests.watch(path)).await {
            Ok(event) => Ok(Some(event)),
            Err(Failure::NoNode) => Ok(None),
            Err(Failure::Unanswered(_)) if self.remaining(request).is_zero() => Err(LockError::TimedOut),
            Err(Failure::Unanswered(_)) => {
                sleep(RETRY_DELAY.min(self.remaining(request))).await;
                Ok(None)
            }
            Err(failure) => Err(self.failed(failure)),
        }
    }

    /// Requests sent.
    pub(super) fn count(&self, operations: u64) {
        self.operations.add(operations);
    }

    /// What a failure means to whoever changes nothing.
    pub(super) fn failed(&self, failure: Failure) -> LockError {
        match failure {
            Failure::SessionEnded => self.gone(),
            Failure::Unanswered(why) => LockError::Unavailable(why),
            Failure::NoNode | Failure::NodeExists | Failure::Refused(_) => {
                LockError::Protocol(failure.to_string())
            }
        }
    }

    /// What it means to whoever may have changed something.
    pub(super) fn doubt(&self, failure: Failure) -> LockError {
        match failure {
            Failure::Unanswered(why) => LockError::Unknown(why),
            failure => self.failed(failure),
        }
    }

    /// The attempt has the node of that path.
    pub(super) fn joined(&self, name: &Arc<str>, owner: &OwnerId, path: String) {
        lock(&self.nodes).insert((name.clone(), owner.clone()), path);
    }

    /// It has none any more.
    pub(super) fn left(&self, name: &Arc<str>, owner: &OwnerId) {
        lock(&self.nodes).remove(&(name.clone(), owner.clone()));
    }

    /// The path of the attempt's node, as far as is known here.
    pub(super) fn path_of(&self, name: &Arc<str>, owner: &OwnerId) -> Option<String> {
        lock(&self.nodes).get(&(name.clone(), owner.clone())).cloned()
    }

    pub(super) fn grant(
        &self,
        name: &Arc<str>,
        request: &Request,
        token: Option<Token>,
    ) -> Result<Grant, LockError> {
        self.requests()?;
        Ok(Grant {
            keys: vec![name.clone()],
            owner: request.owner.clone(),
            token,
            validity: self.valid_until.validity(),
        })
    }

    /// Proves the session alive by one cheap read, pipelined with one for each grant: a node that somebody else
    /// deleted is a lock lost, also where another one has its path by now.
    pub(super) async fn renew(&self, grants: &[Arc<Grant>]) -> Result<Renewal, LockError> {
        let (requests, sent_ns, limit) = (self.requests()?, self.now_ns(), self.ttl / 4);
        let path_of = |grant: &Arc<Grant>| self.path_of(grant.keys.first()?, &grant.owner);
        let paths: Vec<_> = grants.iter().map(path_of).collect();
        let root = requests.exists(names::ROOT);
        let own = paths.iter().map(|path| async {
            let path = path.as_ref()?;
            Some(self.answer(sent_ns, limit, requests.exists(path)).await)
        });
        let (root, own) = tokio::join!(self.answer(sent_ns, limit, root), join_all(own));
        match root {
            Ok(_) | Err(Failure::NoNode) => {}
            Err(failure) => {
                self.requests()?;
                return Err(self.failed(failure));
            }
        }
        let session = self.valid_until.validity();
        let held = grants.iter().zip(own).map(|(grant, made)| match made {
            None | Some(Ok(None) | Err(Failure::NoNode)) => Validity::Lost,
            Some(Ok(Some(czxid))) if grant.token.is_some_and(|token| token != token_of(czxid)) => {
                Validity::Lost
            }
            Some(Ok(Some(_)) | Err(_)) => session,
        });
        Ok(Renewal { session, grants: held.collect() })
    }

    /// Ends the session, and waits until the server has confirmed that.
    pub(super) async fn close(&self) {
        drop(self.gone());
        if timeout(self.ttl, self.tasks.ended()).await.is_err() {
            tracing::debug!("session not closed in time; it expires");
        }
    }
}

/// The token of whoever's node was made by that transaction.
pub(super) fn token_of(czxid: i64) -> Token {
    Token { generation: 0, sequence: czxid.unsigned_abs() }
}

/// Fires `lost` when the session has ended, and has it closed when `lost` fires: it would keep the nodes of lost locks
/// alive. Ends when the session has.
async fn end_together(
    requests: Arc<Mutex<Option<Arc<dyn Requests>>>>,
    mut ended: BoxFuture<'static, ()>,
    lost: CancellationToken,
) {
    tokio::select! {
        biased;
        () = &mut ended => lost.cancel(),
        () = lost.cancelled() => {
            drop(lock(&requests).take());
            ended.await;
        }
    }
}
