//! One attempt, from the request to the grant: the turn in this node's line, then the server.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::counts::Counters;
use super::guard::Guard;
use super::hold::Hold;
use super::shared::{Patience, Shared};
use super::slots;
use crate::session::{LockError, Mode, Request, slot_key, split_slot};

/// Why there is no guard.
#[derive(Debug)]
enum Ended {
    /// A try met a holder.
    Refused,
    /// The caller's future was dropped.
    CallerLeft,
    Failed(LockError),
}

impl From<LockError> for Ended {
    fn from(error: LockError) -> Self {
        Self::Failed(error)
    }
}

/// The state of an attempt. It has to be run to its end.
#[derive(Debug)]
pub(super) struct Attempt {
    /// As the backends see it. Its `left` fires when the caller's future is dropped and when the client closes.
    request: Request,
    patience: Patience,
    /// The keys as they were asked for.
    names: Vec<Arc<str>>,
    /// What was taken so far.
    hold: Hold,
}

impl Attempt {
    /// Takes the first place in line at once, so that waiters are served in the order of their calls.
    pub(super) fn new(shared: &Arc<Shared>, mut request: Request, patience: Patience) -> Self {
        request.keys.sort_unstable();
        request.keys.dedup();
        let names = std::mem::take(&mut request.keys);
        request.keys = names.iter().map(slots::plain_key).collect();
        let mut attempt = Self { request, patience, names, hold: Hold::new(shared) };
        if patience == Patience::Wait && !attempt.as_slots() {
            let first = attempt.request.keys.first().map(|key| shared.queues.enter(key));
            attempt.hold.tickets.extend(first);
        }
        attempt
    }

    /// Runs to the guard, or to the proof that nothing is held. `Ok(None)`: a try was refused. `told`: the caller
    /// was told meanwhile that the outcome is unknown, so that nothing more is counted.
    pub(super) async fn run(mut self, told: Arc<AtomicBool>) -> Result<Option<Guard>, LockError> {
        let shared = Arc::clone(&self.hold.shared);
        match self.take_all_or_nothing().await {
            Ok(slot) => {
                let counted = !told.load(Relaxed);
                if counted {
                    shared.counters.grants.fetch_add(1, Relaxed);
                }
                self.hold.counted = counted;
                Ok(Some(Guard::new(self.names, slot, self.hold)))
            }
            Err(ended) => {
                self.hold.settle();
                if told.load(Relaxed) { Ok(None) } else { shared.counters.ended(ended) }
            }
        }
    }

    async fn take_all_or_nothing(&mut self) -> Result<u32, Ended> {
        // In a box: the rare case must not make the common one too large for the allocator's fast path.
        let mut taken =
            if self.as_slots() { Box::pin(self.take_slot()).await } else { self.take_keys().await };
        let shared = &self.hold.shared;
        if taken.is_ok() && (self.hold.lost.is_cancelled() || shared.closing.is_cancelled()) {
            let error = match (shared.closing.is_cancelled(), shared.session.lost().is_cancelled()) {
                (true, _) => closed(),
                (_, true) => LockError::SessionLost("while acquiring".into()),
                _ => LockError::Unavailable("a lease ended while acquiring".into()),
            };
            taken = Err(error.into());
        }
        if taken.is_err() && self.hold.give_back().await.is_err() {
            return Err(LockError::Unknown("a key taken on the way could not be given back".into()).into());
        }
        // A wait that ended because nobody waits any more.
        if matches!(taken, Err(Ended::Failed(LockError::TimedOut))) && self.request.left.is_cancelled() {
            return Err(self.left());
        }
        taken
    }

    /// Every key in sorted order, so that two requests cannot wait for each other; one by one unless the
    /// backend takes them all at once.
    async fn take_keys(&mut self) -> Result<u32, Ended> {
        let at_once = self.request.keys.len() == 1 || self.hold.shared.capabilities.native_many;
        for place in 0..self.request.keys.len() {
            let key = Arc::clone(&self.request.keys[place]);
            self.turn(place, &key).await?;
            if !at_once {
                let request = Request { keys: vec![key], ..self.request.clone() };
                self.call(Some(&request), self.patience).await?;
            }
        }
        if at_once {
            self.call(None, self.patience).await?;
        }
        if self.request.mode == Mode::Exclusive && self.request.level == 1 {
            return Ok(0);
        }
        // Who shares is the server's business: the next waiter of this node may ask while this one holds.
        self.hold.tickets.clear();
        if self.request.level == 1 {
            return Ok(0);
        }
        let granted = self.hold.leases.first().and_then(|lease| lease.grant.keys.first());
        let slot = granted.and_then(|key| split_slot(key).1);
        slot.ok_or_else(|| LockError::Protocol("the grant names no slot".into()).into())
    }

    /// One of the keys `key#0` … `key#(N-1)`: tries those that this node does not use, then waits for one.
    async fn take_slot(&mut self) -> Result<u32, Ended> {
        let base = self.request.keys.first().cloned().unwrap_or_else(|| "".into());
        let order = slots::order(self.request.level, self.request.slot_seed);
        let queues = Arc::clone(&self.hold.shared.queues);
        for &slot in &order {
            if self.request.left.is_cancelled() {
                return Err(self.left());
            }
            let request = slots::request(&self.request, &base, slot);
            let Some(ticket) = request.keys.first().and_then(|key| queues.enter_if_idle(key)) else {
                continue;
            };
            self.hold.tickets.push(ticket);
            match self.call(Some(&request), Patience::Try).await {
                Err(Ended::Refused) => self.hold.tickets.clear(),
                ended => return ended.map(|()| slot),
            }
        }
        if self.patience == Patience::Try {
            return Err(Ended::Refused);
        }
        let idle = order.iter().copied().find(|&slot| !queues.is_busy(&slot_key(&base, slot)));
        let slot = idle.or(order.first().copied()).unwrap_or(0);
        let request = slots::request(&self.request, &base, slot);
        if let Some(key) = request.keys.first() {
            self.turn(0, key).await?;
        }
        self.call(Some(&request), Patience::Wait).await.map(|()| slot)
    }

    /// Waits for the turn of a key in this node's line.
    async fn turn(&mut self, place: usize, key: &Arc<str>) -> Result<(), Ended> {
        let shared = Arc::clone(&self.hold.shared);
        if self.patience == Patience::Try {
            let idle = shared.queues.enter_if_idle(key).ok_or(Ended::Refused)?;
            self.hold.tickets.push(idle);
            return Ok(());
        }
        if self.hold.tickets.len() == place {
            self.hold.tickets.push(shared.queues.enter(key));
        }
        let Some(ticket) = self.hold.tickets.get_mut(place).filter(|ticket| !ticket.has_turn()) else {
            return Ok(());
        };
        let session_lost = shared.session.lost();
        tokio::select! {
            biased;
            () = session_lost.cancelled() => Err(LockError::SessionLost("while waiting".into()).into()),
            // A turn that comes together with the deadline is too late.
            () = self.request.over(&*shared.now) => Err(LockError::TimedOut.into()),
            () = ticket.turn() => Ok(()),
        }
    }

    /// Asks the backend, for the whole request unless for a part of it, and keeps what it grants.
    async fn call(&mut self, part: Option<&Request>, patience: Patience) -> Result<(), Ended> {
        let request = part.unwrap_or(&self.request);
        let session = &self.hold.shared.session;
        let granted = match patience {
            Patience::Wait => session.acquire(request).await.map(Some),
            Patience::Try => session.try_acquire(request).await,
        };
        if let Err(LockError::Unknown(_)) = granted {
            self.hold.doubtful.push(Arc::new(request.unproven_grant()));
        }
        let grant = granted?.ok_or(Ended::Refused)?;
        self.hold.add(grant);
        Ok(())
    }

    fn left(&self) -> Ended {
        if self.hold.shared.closing.is_cancelled() { closed().into() } else { Ended::CallerLeft }
    }

    /// Whether the level is served as so many keys.
    fn as_slots(&self) -> bool {
        self.request.level > 1 && !self.hold.shared.capabilities.native_level
    }
}

fn closed() -> LockError {
    LockError::Unavailable("the client is closed".into())
}

impl Counters {
    /// Counts an attempt that ended without a guard and words it for the caller.
    fn ended(&self, ended: Ended) -> Result<Option<Guard>, LockError> {
        let (counter, outcome) = match ended {
            Ended::Refused => (&self.refused, Ok(None)),
            Ended::CallerLeft => (&self.withdrawn, Ok(None)),
            Ended::Failed(error @ LockError::TimedOut) => (&self.timed_out, Err(error)),
            Ended::Failed(error @ LockError::Unknown(_)) => (&self.unknown, Err(error)),
            Ended::Failed(error) => (&self.failed, Err(error)),
        };
        counter.fetch_add(1, Relaxed);
        outcome
    }
}
