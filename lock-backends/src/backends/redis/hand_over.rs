//! Locks that a release hands to the next in line, inside the script.

mod inbox;
mod line;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::inbox::{HandedOver, Inbox};
use self::line::{AskRet, Line};
use super::asked::Asked;
use super::{Node, Tries, fault, jitter};
use crate::backends::common::Tasks;
use crate::session::{
    BoxFuture, Endpoint, Grant, LockBackend, LockError, LockSession, ReleaseRet, Renewal, Request,
    SessionOptions, Validity, valid_until,
};

/// Hand-overs that met nobody and wait to be given back; what does not fit ends with its claim.
const ORPHANS_MAX: usize = 1024;

/// The backend of the variants of this kind.
#[derive(Debug)]
pub(in crate::backends) struct HandOver(pub(in crate::backends) Endpoint);

#[derive(Debug)]
struct QueueSession {
    node: Node,
    line: Line,
    inbox: Arc<Inbox>,
    tasks: Tasks,
}

impl LockBackend for HandOver {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            // Not the node's name alone: a message to an earlier session of it is not for this one.
            let channel = format!("lockbench:node:{:016x}", RandomState::new().hash_one(&options.node));
            let (orphans, unclaimed) = mpsc::channel(ORPHANS_MAX);
            let inbox = Arc::new(Inbox::new(orphans));
            let pushes = Arc::clone(&inbox);
            let node = Node::connect(&self.0, options, move |push| pushes.push(&push)).await?;
            let line = Line::new(channel, node.ttl);
            line.load(&mut node.connection.clone()).await.map_err(|error| fault(&error))?;
            node.connection.clone().subscribe(line.channel()).await.map_err(|error| fault(&error))?;
            let session = Arc::new(QueueSession { node, line, inbox, tasks: Tasks::default() });
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
            match self.ask(key, request, line::IfHeld::GoAway).await {
                Ok(asked) => Ok(asked.granted()),
                // Idempotent: the second answer tells what came of the first.
                Err(LockError::Unknown(_)) => {
                    Ok(self.ask(key, request, line::IfHeld::GoAway).await?.granted())
                }
                Err(error) => Err(error),
            }
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(self.wait(request))
    }

    /// Also without grants, when somebody waits: the server's time in the answer dates what is handed over.
    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let clock = |sent_ns, server_us| self.inbox.set_clock(sent_ns, server_us);
            let renewed = self.node.renew(self.line.renewal(), grants, clock).await;
            if grants.is_empty() && self.inbox.anybody_waits() {
                self.node.renew_chunk(self.line.renewal(), &[], clock).await?;
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

    fn operations(&self) -> &AtomicU64 {
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
    /// Runs the acquire script once.
    async fn ask(&self, key: &str, request: &Request, held: line::IfHeld) -> Result<Asked, LockError> {
        let node = &self.node;
        let sent_ns = node.now.now_ns();
        let answer = self.line.ask(&mut node.send(), key, request, held).await;
        match answer.map_err(|error| fault(&error))? {
            AskRet::Granted(slot, token) => {
                Ok(Asked::Granted(node.grant(request, slot, token, valid_until(sent_ns, node.ttl))))
            }
            AskRet::Held { left, server_us } => {
                self.inbox.set_clock(sent_ns, server_us);
                Ok(Asked::Held(left))
            }
        }
    }

    /// Stands in line until the lock is handed over. Asks again when a message may have been missed, and when the
    /// holder's lease should have ended: that run of the script hands a free lock on, to whoever is first.
    async fn wait(&self, request: &Request) -> Result<Grant, LockError> {
        let key = self.node.admit(request)?;
        let mut tries = Tries::default();
        // Before the first message can come.
        let mut place = self.inbox.join(key, &request.owner, self.node.now.now_ns());
        loop {
            let connection = self.inbox.connection();
            place.mark_seen();
            let pause = match self.ask(key, request, line::IfHeld::Wait).await {
                Ok(Asked::Granted(grant)) => {
                    place.granted();
                    return Ok(grant);
                }
                Ok(Asked::Held(left)) => {
                    place.queued();
                    tries.refused(connection);
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
                    let valid = valid_until(at_ns, self.line.claim());
                    if matches!(valid, Validity::Until(stamp) if stamp <= self.node.now.now_ns()) {
                        // The message was so late that somebody else may hold it: back into the line.
                        drop(place);
                        place = self.inbox.join(key, &request.owner, self.node.now.now_ns());
                        continue;
                    }
                    return Ok(self.node.grant(request, slot, Some(token), valid));
                }
                () = request.over(&*self.node.now) => return Err(self.give_up(request, connection).await),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// The wait is over: leaves the line, and passes on what was handed over meanwhile.
    async fn give_up(&self, request: &Request, connection: u64) -> LockError {
        match self.withdraw(&request.unproven_grant()).await {
            Ok(_) if self.inbox.connection() == connection => LockError::TimedOut,
            Ok(_) => LockError::Unknown("withdrawn on another connection than asked".into()),
            Err(error) => LockError::Unknown(error.to_string()),
        }
    }

    /// Gives keys back by owner, or leaves the line.
    async fn withdraw(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        let was_held = self.line.release(&mut self.node.send(), grant).await;
        match was_held.map_err(|error| fault(&error))? {
            true => Ok(ReleaseRet::Released),
            false => Ok(ReleaseRet::AlreadyLost),
        }
    }
}
