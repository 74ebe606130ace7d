//! Locks that a release hands to the next in line, inside the script.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::batches::Batches;
use super::inbox::{HandedOver, Inbox};
use super::node::{Asked, Node, grant, released};
use super::requests::{Announce, AskRet, Channel, IfHeld, Redis, Tokens};
use super::tries::{Tries, asked_twice, jitter};
use crate::backends::common::Tasks;
use crate::session::{
    BoxFuture, Grant, LockBackend, LockError, LockSession, Operations, ReleaseRet, Renewal, Request,
    SessionOptions, Validity, valid_until,
};

/// Hand-overs that met nobody and wait to be given back; what does not fit ends with its claim.
const ORPHANS_MAX: usize = 1024;

/// The backend of the variants of this kind.
#[derive(Debug)]
pub(super) struct HandOver(pub(super) Box<dyn Redis>);

#[derive(Debug)]
struct QueueSession {
    node: Node,
    /// Under which its waiters stand in line.
    name: String,
    inbox: Arc<Inbox>,
    batches: Arc<Batches>,
    tasks: Tasks,
}

impl LockBackend for HandOver {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            // Not the node's name alone: a message to an earlier session of it is not for this one.
            let name = format!("{:016x}", RandomState::new().hash_one(&options.node));
            let (orphans, unclaimed) = mpsc::channel(ORPHANS_MAX);
            let inbox = Arc::new(Inbox::new(orphans));
            let node = Node::connect(&*self.0, options, Arc::clone(&inbox) as _).await?;
            // Not counted, as all that belongs to the session's beginning.
            node.server().subscribe(Channel::Node(&name)).await?;
            let tasks = Tasks::default();
            let batches = node.batches(Tokens::Drawn, Announce::No, &tasks);
            let session = Arc::new(QueueSession { node, name, inbox, batches, tasks });
            let giving_back = give_back(Arc::downgrade(&session), unclaimed, session.node.lost.clone());
            session.tasks.spawn(giving_back);
            Ok(session as Arc<dyn LockSession>)
        })
    }
}

/// Passes on what was handed to an attempt that had left, until the session ends.
async fn give_back(
    session: std::sync::Weak<QueueSession>,
    mut unclaimed: mpsc::Receiver<Grant>,
    lost: CancellationToken,
) {
    while let Some(Some(grant)) = lost.run_until_cancelled(unclaimed.recv()).await {
        let Some(session) = session.upgrade() else { return };
        if let Err(error) = session.withdraw(&grant).await {
            tracing::debug!(%error, keys = ?grant.keys, "not passed on; its claim ends");
        }
    }
}

impl LockSession for QueueSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            let key = self.node.admit(request)?;
            asked_twice(|| self.inbox.connection(), || self.ask(key, request, IfHeld::GoAway)).await
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(self.wait(request))
    }

    /// Also without grants, when somebody waits: the server's time in the answer dates what is handed over.
    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let clock = |sent_ns, server_us| self.inbox.set_clock(sent_ns, server_us);
            let renewed = self.node.renew(grants, clock).await;
            if grants.is_empty() && self.inbox.anybody_waits() {
                self.node.renew_chunk(&[], clock).await?;
            }
            renewed
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            self.node.alive()?;
            let released = self.withdraw(grant).await?;
            self.inbox.forget(grant);
            Ok(released)
        })
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        Box::pin(self.node.holder(key))
    }

    fn lost(&self) -> CancellationToken {
        self.node.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.node.ttl)
    }

    fn operations(&self) -> &Operations {
        &self.node.operations
    }

    /// There is no session at the server: what is still held ends with its ttl.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.node.lost.cancel();
            self.tasks.ended().await;
        })
    }
}

impl QueueSession {
    /// Asks once.
    async fn ask(&self, key: &str, request: &Request, held: IfHeld<'_>) -> Result<Asked, LockError> {
        let node = &self.node;
        let sent_ns = node.now.now_ns();
        let answer = self.batches.ask(node.wanted(key, request), self.claim(), held).await?;
        if let AskRet::Held { server_us: Some(server_us), .. } = answer {
            self.inbox.set_clock(sent_ns, server_us);
        }
        Ok(node.asked(request, sent_ns, answer))
    }

    /// How long a lock that was handed over is held before its first renewal, which is due after a third of the ttl.
    fn claim(&self) -> Duration {
        self.node.ttl / 2
    }

    /// Stands in line until the lock is handed over. Asks again when a message may have been missed, and when the
    /// holder's lease should have ended: the server then hands a free lock on, to whoever is first.
    async fn wait(&self, request: &Request) -> Result<Grant, LockError> {
        let key = self.node.admit(request)?;
        let mut tries = Tries::default();
        // Before the first message can come.
        let mut place = self.inbox.join(key, &request.owner, self.node.now.now_ns());
        loop {
            let connection = self.inbox.connection();
            place.mark_seen();
            let pause = match self.ask(key, request, IfHeld::Wait(&self.name)).await {
                Ok(Asked::Granted(grant)) => {
                    place.granted();
                    return Ok(grant);
                }
                Ok(Asked::Held(left)) => {
                    place.queued();
                    tries.refused(self.inbox.connection());
                    left + jitter(&request.owner, left)
                }
                Err(error) => {
                    place.queued();
                    tries.failed(error, connection)?
                }
            };
            tokio::select! {
                biased;
                () = self.node.lost.cancelled() => return Err(LockError::SessionLost("closed".into())),
                news = place.news() => {
                    let Some(HandedOver { slot, token, server_us }) = news else { continue };
                    let at_ns = place.stamp_ns(server_us).min(self.node.now.now_ns());
                    let valid = valid_until(at_ns, self.claim());
                    if matches!(valid, Validity::Until(stamp) if stamp <= self.node.now.now_ns()) {
                        // The message was so late that somebody else may hold it: back into the line.
                        drop(place);
                        place = self.inbox.join(key, &request.owner, self.node.now.now_ns());
                        continue;
                    }
                    return Ok(Grant { token: Some(token), ..grant(request, slot, valid) });
                }
                () = request.over(&*self.node.now) => return Err(self.give_up(request, &tries).await),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The wait is over: leaves the line, and passes on what was handed over meanwhile.
    async fn give_up(&self, request: &Request, tries: &Tries) -> LockError {
        let withdrawn = self.withdraw(&request.unproven_grant()).await;
        tries.withdrawn(withdrawn, self.inbox.connection())
    }

    /// Gives keys back by owner, or leaves the line.
    async fn withdraw(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        self.batches.pass_on(&grant.keys, &grant.owner, &self.name, self.claim()).await.map(released)
    }
}
