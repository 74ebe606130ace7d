//! `local-mutex`: a lock inside one process, the control that crosses nodes for free.
//!
//! Protocol: one table per opened backend, behind one mutex; a key has slots and a line of waiters, first
//! come first served over all sessions; a release hands the slot to the next waiter. No round trips. Token:
//! one counter per table, drawn in the same critical section as the grant. Safety class A inside its process,
//! nothing outside. Crash release: a session that is closed or dropped frees its keys at once; there is no
//! lease.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockBackend, LockError, LockSession, Now, Operations,
    OwnerId, ReleaseRet, Renewal, Request, SafetyClass, SessionOptions, Survives, Token, Validity, Variant,
    slot_key, split_slot,
};

pub(super) const VARIANT: Variant = Variant {
    name: "local-mutex",
    summary: "a table in one process, served first come first served; a control: what exclusion takes without network",
    class: SafetyClass::Atomic,
    least: Least::Nothing,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: true,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: false,
        fair: true,
    },
    survives: Survives {
        node_crash: "all nodes are one process",
        server_kill: "no server",
        power_loss: "nothing",
    },
    open: |endpoint| match endpoint.0.as_str() {
        "" | "memory:" => Ok(Box::new(LocalMutex::default())),
        _ => Err(LockError::BadUrl("memory:")),
    },
};

/// All sessions of one of these share its table.
#[derive(Debug, Default)]
struct LocalMutex {
    table: Arc<Mutex<Table>>,
    sessions: AtomicU64,
}

#[derive(Debug, Default)]
struct Table {
    by_key: HashMap<Arc<str>, Slots>,
    last_token: u64,
    last_waiter: u64,
}

/// A key in use. Invariant: nobody waits while the slot that he could take is free.
#[derive(Debug, Default)]
struct Slots {
    holders: Vec<Option<Holder>>,
    waiters: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Holder {
    owner: OwnerId,
    session: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    holder: Holder,
    level: usize,
    /// Sent the slot and token; a waiter that left is found out by its closed channel.
    granted: oneshot::Sender<(usize, Token)>,
}

#[derive(Debug)]
struct LocalSession {
    id: u64,
    table: Arc<Mutex<Table>>,
    now: Arc<dyn Now>,
    lost: CancellationToken,
    operations: Operations,
}

impl LockBackend for LocalMutex {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        let session = LocalSession {
            id: self.sessions.fetch_add(1, Ordering::Relaxed),
            table: Arc::clone(&self.table),
            now: options.now,
            lost: CancellationToken::new(),
            operations: Operations::default(),
        };
        Box::pin(async move { Ok(Arc::new(session) as Arc<dyn LockSession>) })
    }
}

impl LockSession for LocalSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            let key = self.admit(request)?;
            let taken = self.lock().take(key, self.holder(request), slots_of(request));
            Ok(taken.ok().map(|(slot, token)| grant(request, slot, token)))
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move {
            let key = self.admit(request)?;
            let (number, mut granted) = {
                let mut table = self.lock();
                match table.take(key, self.holder(request), slots_of(request)) {
                    Ok((slot, token)) => return Ok(grant(request, slot, token)),
                    Err(holder) => table.wait(key, holder, slots_of(request)),
                }
            };
            let ended = tokio::select! {
                biased;
                answer = &mut granted => match answer {
                    Ok((slot, token)) => return Ok(grant(request, slot, token)),
                    Err(_) => LockError::SessionLost("closed".into()),
                },
                () = self.lost.cancelled() => LockError::SessionLost("closed".into()),
                () = request.over(&*self.now) => LockError::TimedOut,
            };
            self.lock().leave(key, number);
            // Granted in the last moment: it stands, so it must be reported.
            granted.try_recv().map(|(slot, token)| grant(request, slot, token)).map_err(|_| ended)
        })
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let table = self.lock();
            let validity = |grant: &Arc<Grant>| match table.find(grant) {
                Some(_) => Validity::NoLease,
                None => Validity::Lost,
            };
            Ok(Renewal { session: Validity::NoLease, grants: grants.iter().map(validity).collect() })
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        self.operations.add(1);
        Box::pin(async move {
            let mut table = self.lock();
            Ok(match table.find(grant) {
                Some((key, slot)) => {
                    table.free(&key, slot);
                    ReleaseRet::Released
                }
                None => ReleaseRet::AlreadyLost,
            })
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
        self.end();
        Box::pin(std::future::ready(()))
    }
}

impl LocalSession {
    /// Counts the request and finds its one key.
    fn admit<'a>(&self, request: &'a Request) -> Result<&'a Arc<str>, LockError> {
        self.operations.add(1);
        if self.lost.is_cancelled() {
            return Err(LockError::SessionLost("closed".into()));
        }
        match &*request.keys {
            [key] => Ok(key),
            _ => Err(LockError::Unsupported("several keys at once")),
        }
    }

    fn holder(&self, request: &Request) -> Holder {
        Holder { owner: request.owner.clone(), session: self.id }
    }

    /// Frees all that the session holds.
    fn end(&self) {
        self.lost.cancel();
        let mut table = self.lock();
        let keys: Vec<_> = table.by_key.keys().cloned().collect();
        for key in &keys {
            if let Some(slots) = table.by_key.get_mut(key) {
                slots.waiters.retain(|waiter| waiter.holder.session != self.id);
                for holder in &mut slots.holders {
                    *holder = holder.take().filter(|holder| holder.session != self.id);
                }
            }
            table.serve(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nothing panics while the table is locked")
    }
}

impl Drop for LocalSession {
    fn drop(&mut self) {
        self.end();
    }
}

impl Table {
    /// A free slot, if nobody waits for it; the holder comes back when there is none.
    fn take(&mut self, key: &Arc<str>, holder: Holder, level: usize) -> Result<(usize, Token), Holder> {
        let slots = self.by_key.entry(Arc::clone(key)).or_default();
        match slots.free_below(level) {
            Some(slot) if slots.waiters.is_empty() => {
                self.last_token += 1;
                slots.holders[slot] = Some(holder);
                Ok((slot, Token { generation: 0, sequence: self.last_token }))
            }
            _ => Err(holder),
        }
    }

    fn wait(
        &mut self,
        key: &Arc<str>,
        holder: Holder,
        level: usize,
    ) -> (u64, oneshot::Receiver<(usize, Token)>) {
        let (granted, receiver) = oneshot::channel();
        self.last_waiter += 1;
        let waiter = Waiter { number: self.last_waiter, holder, level, granted };
        self.by_key.entry(Arc::clone(key)).or_default().waiters.push_back(waiter);
        (self.last_waiter, receiver)
    }

    /// A waiter gives up; whoever stood behind him may be next.
    fn leave(&mut self, key: &Arc<str>, number: u64) {
        if let Some(slots) = self.by_key.get_mut(key) {
            slots.waiters.retain(|waiter| waiter.number != number);
        }
        self.serve(key);
    }

    fn free(&mut self, key: &Arc<str>, slot: usize) {
        if let Some(slots) = self.by_key.get_mut(key) {
            slots.holders[slot] = None;
        }
        self.serve(key);
    }

    /// Hands free slots to the waiters in front; forgets an idle key.
    fn serve(&mut self, key: &Arc<str>) {
        let Some(slots) = self.by_key.get_mut(key) else { return };
        while let Some(front) = slots.waiters.front() {
            let level = front.level;
            let Some(slot) = slots.free_below(level) else { break };
            let Some(waiter) = slots.waiters.pop_front() else { break };
            let token = Token { generation: 0, sequence: self.last_token + 1 };
            if waiter.granted.send((slot, token)).is_ok() {
                self.last_token += 1;
                slots.holders[slot] = Some(waiter.holder);
            }
        }
        if slots.waiters.is_empty() && slots.holders.iter().all(Option::is_none) {
            self.by_key.remove(key);
        }
    }

    fn find(&self, grant: &Grant) -> Option<(Arc<str>, usize)> {
        let named = grant.keys.first()?;
        let holds = |slots: &Slots| {
            slots.holders.iter().position(|h| h.as_ref().is_some_and(|holder| holder.owner == grant.owner))
        };
        let (key, slots) = self.by_key.get_key_value(split_slot(named).0)?;
        Some((Arc::clone(key), holds(slots)?))
    }
}

impl Slots {
    fn free_below(&mut self, level: usize) -> Option<usize> {
        if self.holders.len() < level {
            self.holders.resize_with(level, || None);
        }
        self.holders.iter().take(level).position(Option::is_none)
    }
}

fn slots_of(request: &Request) -> usize {
    usize::try_from(request.level).unwrap_or(usize::MAX)
}

fn grant(request: &Request, slot: usize, token: Token) -> Grant {
    let keys = match (&*request.keys, request.level) {
        ([key], 2..) => vec![slot_key(key, u32::try_from(slot).unwrap_or(u32::MAX)).into()],
        (keys, _) => keys.to_vec(),
    };
    Grant { keys, owner: request.owner.clone(), token: Some(token), validity: Validity::NoLease }
}
