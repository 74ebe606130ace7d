//! Locks that whoever comes first takes: a release frees the key, and the waiters race for it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::batches::Batches;
use super::channels::{Channels, Listener};
use super::node::{Asked, Node, released};
use super::requests::{Announce, Channel, Redis, Tokens};
use super::tries::{RETRY_MAX, Tries, asked_twice, jitter};
use crate::backends::common::Tasks;
use crate::session::{
    BoxFuture, Grant, LockBackend, LockError, LockSession, Operations, ReleaseRet, Renewal, Request,
    SessionOptions,
};

/// Longest pause between two tries of a waiter that nobody wakes.
const POLL_MAX: Duration = Duration::from_millis(128);

/// How a waiter learns of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wake {
    /// It does not: it asks again and again.
    Poll,
    /// By a message on the lock's channel.
    Message,
}

/// The backend of all variants of this kind.
#[derive(Debug)]
pub(super) struct Race {
    pub(super) server: Box<dyn Redis>,
    pub(super) wake: Wake,
    pub(super) tokens: Tokens,
}

#[derive(Debug)]
struct RaceSession {
    node: Node,
    channels: Arc<Channels>,
    wake: Wake,
    batches: Arc<Batches>,
    /// Of the batches.
    _tasks: Tasks,
}

impl LockBackend for Race {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let channels = Arc::new(Channels::default());
            let node = Node::connect(&*self.server, options, Arc::clone(&channels) as _).await?;
            let (wake, tasks) = (self.wake, Tasks::default());
            let announce = if wake == Wake::Message { Announce::Yes } else { Announce::No };
            let batches = node.batches(self.tokens, announce, &tasks);
            Ok(Arc::new(RaceSession { node, channels, wake, batches, _tasks: tasks }) as Arc<dyn LockSession>)
        })
    }
}

impl LockSession for RaceSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            let key = self.node.admit(request)?;
            asked_twice(|| self.channels.connection(), || self.ask(key, request)).await
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move { Wait::new(self, request)?.run().await })
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let renewed = self.node.renew(grants, |_, _| ()).await;
            self.drop_idle_channels().await;
            renewed
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            self.node.alive()?;
            self.withdraw(grant).await
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
        self.node.lost.cancel();
        Box::pin(std::future::ready(()))
    }
}

impl RaceSession {
    /// Asks once.
    async fn ask(&self, key: &str, request: &Request) -> Result<Asked, LockError> {
        let node = &self.node;
        let sent_ns = node.now.now_ns();
        let answer = self.batches.acquire(node.wanted(key, request)).await?;
        Ok(node.asked(request, sent_ns, answer))
    }

    /// Gives keys back by owner.
    async fn withdraw(&self, grant: &Grant) -> Result<ReleaseRet, LockError> {
        self.batches.release(&grant.keys, &grant.owner).await.map(released)
    }

    /// Unsubscribes where nobody waited since the last renewal. A failure costs a useless message, no more.
    async fn drop_idle_channels(&self) {
        let order = self.channels.order.lock().await;
        let idle = self.channels.take_idle();
        if !idle.is_empty()
            && let Err(error) = self.node.send().unsubscribe(&idle).await
        {
            tracing::debug!(%error, "unsubscribe failed");
        }
        drop(order);
    }

    /// Subscribes, or finds it done.
    async fn subscribe(&self, listener: &Listener) -> Result<(), LockError> {
        let subscribing = listener.subscribed().get_or_try_init(|| async {
            let _order = self.channels.order.lock().await;
            self.node.send().subscribe(Channel::Releases(listener.key())).await
        });
        subscribing.await.map(drop)
    }
}

/// A waiting acquire.
struct Wait<'a> {
    session: &'a RaceSession,
    request: &'a Request,
    key: &'a Arc<str>,
    /// Set from the start where this node is subscribed already; an uncontended lock needs none.
    listener: Option<Listener>,
    tries: Tries,
    asked: u32,
}

impl<'a> Wait<'a> {
    fn new(session: &'a RaceSession, request: &'a Request) -> Result<Self, LockError> {
        let key = session.node.admit(request)?;
        let listener = match session.wake {
            Wake::Poll => None,
            Wake::Message => session.channels.join(key),
        };
        Ok(Self { session, request, key, listener, tries: Tries::default(), asked: 0 })
    }

    async fn run(mut self) -> Result<Grant, LockError> {
        let node = &self.session.node;
        loop {
            // Before the try: what is published from here on wakes this waiter.
            let subscribed = self.listener.as_mut().is_some_and(|listener| {
                listener.mark_seen();
                listener.subscribed().initialized()
            });
            let connection = self.session.channels.connection();
            let pause = match self.session.ask(self.key, self.request).await {
                Ok(Asked::Granted(grant)) => return Ok(grant),
                Ok(Asked::Held(left)) => {
                    self.tries.refused(self.session.channels.connection());
                    if self.session.wake == Wake::Poll {
                        self.poll_pause()
                    } else if subscribed {
                        self.tries.hurry();
                        left + jitter(&self.request.owner, left)
                    // In a box, as what is rare: a future too large for the allocator's fast path costs every acquire.
                    } else if Box::pin(self.subscribe()).await.is_ok() {
                        continue;
                    } else {
                        self.tries.back_off(RETRY_MAX)
                    }
                }
                Err(error) => self.tries.failed(error, connection)?,
            };
            tokio::select! {
                biased;
                () = node.lost.cancelled() => return Err(LockError::SessionLost("closed".into())),
                () = self.request.over(&*node.now) => return Err(Box::pin(self.give_up()).await),
                () = woken(&mut self.listener) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn subscribe(&mut self) -> Result<(), LockError> {
        let channels = &self.session.channels;
        let listener = self.listener.get_or_insert_with(|| channels.listen(self.key));
        self.session.subscribe(listener).await
    }

    /// Between a half and the whole of a pause that doubles.
    fn poll_pause(&mut self) -> Duration {
        self.asked += 1;
        let half = self.tries.back_off(POLL_MAX) / 2;
        half + self.request.owner.spread(self.asked, half)
    }

    /// The wait is over: withdraws what may stand.
    async fn give_up(&mut self) -> LockError {
        if !self.tries.in_doubt() {
            return self.tries.timed_out();
        }
        let withdrawn = self.session.withdraw(&self.request.unproven_grant()).await;
        self.tries.withdrawn(withdrawn, self.session.channels.connection())
    }
}

/// Waits for a message after the last mark; for ever where nobody listens.
async fn woken(listener: &mut Option<Listener>) {
    match listener {
        Some(listener) => listener.woken().await,
        None => std::future::pending().await,
    }
}
