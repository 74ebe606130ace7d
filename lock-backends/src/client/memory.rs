//! A lease server in memory, in virtual time: ttl, tokens, latency, links that swallow everything, and cheats
//! that the tests of the shared layer must catch.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::session::{
    BoxFuture, Capabilities, Grant, LocalFifo, LockError, LockSession, Now, Operations, OwnerId, ReleaseRet,
    Renewal, Request, SinceStart, Token, Validity, sleep_until, valid_until,
};

/// What a backend may do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cheat {
    Honest,
    /// Promises twice the ttl.
    OverstatesValidity,
    /// Acknowledges renewals and forgets them.
    RenewsNothing,
    /// Acknowledges releases and forgets them.
    ReleasesNothing,
    /// Reports a deadline and takes the lock all the same.
    LeaksOnTimeout,
    /// Grants what is held.
    GrantsTwice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Up,
    /// Requests wait until it is up again.
    BlackHole,
}

#[derive(Debug)]
pub(super) struct MemoryServer {
    pub(super) now: Arc<dyn Now>,
    pub(super) ttl: Duration,
    pub(super) latency: Duration,
    cheat: Cheat,
    held: Mutex<HashMap<Arc<str>, (OwnerId, u64)>>,
    tokens: AtomicU64,
    released: Notify,
}

pub(super) const CAPABILITIES: Capabilities = Capabilities {
    local_fifo: LocalFifo::Optional,
    native_level: false,
    native_many: false,
    token: true,
    shared_mode: false,
    lease: true,
    fair: false,
};

impl MemoryServer {
    pub(super) fn new(cheat: Cheat) -> Arc<Self> {
        Arc::new(Self {
            now: Arc::new(SinceStart::default()),
            ttl: Duration::from_secs(3),
            latency: Duration::from_millis(4),
            cheat,
            held: Mutex::default(),
            tokens: AtomicU64::new(0),
            released: Notify::new(),
        })
    }

    pub(super) fn session(self: &Arc<Self>) -> Arc<MemorySession> {
        Arc::new(MemorySession {
            server: Arc::clone(self),
            link: watch::Sender::new(Link::Up),
            lost: CancellationToken::new(),
            news: Notify::new(),
            operations: Operations::default(),
        })
    }

    /// Who holds the key, as of now.
    pub(super) fn holder(&self, key: &str) -> Option<OwnerId> {
        let now_ns = self.now.now_ns();
        self.held
            .lock()
            .unwrap()
            .get(key)
            .filter(|(_, until)| *until > now_ns)
            .map(|(owner, _)| owner.clone())
    }

    /// As an operator would delete it.
    pub(super) fn delete(&self, key: &str) {
        self.held.lock().unwrap().remove(key);
        self.released.notify_waiters();
    }

    fn expiry_ns(&self) -> u64 {
        self.now.now_ns() + u64::try_from(self.ttl.as_nanos()).unwrap()
    }

    fn promise(&self, sent_ns: u64) -> Validity {
        valid_until(sent_ns, if self.cheat == Cheat::OverstatesValidity { self.ttl * 2 } else { self.ttl })
    }

    /// `Err`: held by another until then.
    fn take(&self, request: &Request, sent_ns: u64) -> Result<Grant, u64> {
        let key = &request.keys[0];
        let holder = self.holder(key);
        let mut held = self.held.lock().unwrap();
        if holder.is_some_and(|holder| holder != request.owner) && self.cheat != Cheat::GrantsTwice {
            return Err(held[key].1);
        }
        held.insert(Arc::clone(key), (request.owner.clone(), self.expiry_ns()));
        Ok(Grant {
            keys: request.keys.clone(),
            owner: request.owner.clone(),
            token: Some(Token { generation: 0, sequence: self.tokens.fetch_add(1, Ordering::Relaxed) }),
            validity: self.promise(sent_ns),
        })
    }
}

/// A node's session; its link can be cut and the session declared lost.
#[derive(Debug)]
pub(super) struct MemorySession {
    pub(super) server: Arc<MemoryServer>,
    pub(super) link: watch::Sender<Link>,
    pub(super) lost: CancellationToken,
    pub(super) news: Notify,
    operations: Operations,
}

impl MemorySession {
    /// One way: counted when it leaves, delayed (not all alike, so requests overtake each other), and stuck
    /// while the link is down.
    async fn cross(&self) {
        let number = self.operations.total();
        self.operations.add(1);
        let detour = Duration::from_millis(number * 7 % 3);
        tokio::time::sleep(self.server.latency / 2 + detour).await;
        self.link.subscribe().wait_for(|link| *link == Link::Up).await.unwrap();
    }

    async fn back(&self) {
        tokio::time::sleep(self.server.latency / 2).await;
        self.link.subscribe().wait_for(|link| *link == Link::Up).await.unwrap();
    }

    fn alive(&self) -> Result<(), LockError> {
        if self.lost.is_cancelled() { Err(LockError::SessionLost("test".into())) } else { Ok(()) }
    }
}

impl LockSession for MemorySession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            self.alive()?;
            let sent_ns = self.server.now.now_ns();
            self.cross().await;
            let taken = self.server.take(request, sent_ns);
            self.back().await;
            Ok(taken.ok())
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move {
            let server = &self.server;
            loop {
                self.alive()?;
                let released = server.released.notified();
                let sent_ns = server.now.now_ns();
                self.cross().await;
                let taken = server.take(request, sent_ns);
                self.back().await;
                let until = match taken {
                    Ok(grant) => return Ok(grant),
                    Err(until) => until,
                };
                let over = tokio::select! {
                    biased;
                    () = self.lost.cancelled() => false,
                    () = request.over(&*server.now) => true,
                    () = released => false,
                    () = sleep_until(&*server.now, until) => false,
                };
                if over {
                    if server.cheat == Cheat::LeaksOnTimeout {
                        server.held.lock().unwrap().insert(
                            Arc::clone(&request.keys[0]),
                            (request.owner.clone(), server.expiry_ns()),
                        );
                    }
                    return Err(LockError::TimedOut);
                }
            }
        })
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            self.alive()?;
            let server = &self.server;
            let sent_ns = server.now.now_ns();
            self.cross().await;
            let renew = |grant: &Arc<Grant>| {
                if server.cheat == Cheat::RenewsNothing {
                    return valid_until(sent_ns, server.ttl);
                }
                if server.holder(&grant.keys[0]).as_ref() != Some(&grant.owner) {
                    return Validity::Lost;
                }
                let entry = (grant.owner.clone(), server.expiry_ns());
                server.held.lock().unwrap().insert(Arc::clone(&grant.keys[0]), entry);
                server.promise(sent_ns)
            };
            let grants = grants.iter().map(renew).collect();
            self.back().await;
            Ok(Renewal { session: Validity::NoLease, grants })
        })
    }

    fn news(&self) -> Option<&Notify> {
        Some(&self.news)
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            self.alive()?;
            self.cross().await;
            let mine = self.server.holder(&grant.keys[0]).as_ref() == Some(&grant.owner);
            if mine && self.server.cheat != Cheat::ReleasesNothing {
                self.server.delete(&grant.keys[0]);
            }
            self.back().await;
            Ok(if mine { ReleaseRet::Released } else { ReleaseRet::AlreadyLost })
        })
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.server.ttl)
    }

    fn operations(&self) -> &Operations {
        &self.operations
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.lost.cancel();
        Box::pin(std::future::ready(()))
    }
}
