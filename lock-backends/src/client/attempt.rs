//! One attempt, from the request to the end of the hold, as one task of the client: the caller's future only
//! waits for its answer, so dropping it at any point leaves nothing behind.
//!
//! ```text
//!  caller   ──acquire──▶ ·············· Guard ──────── release ▶ ·········· Released
//!  task        └─ turn ─ server ─ answer ┘ holds, renewed   └─ server ─ answer ┘ ─ next turn
//!                                 └─ caller gone: release at once
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::guard::{Guard, ReleaseReply};
use super::lease::Lease;
use super::queue::Ticket;
use super::{Shared, slots};
use crate::session::{Grant, LockError, ReleaseRet, Request, Validity, sleep_until};

/// What the caller hears: `Ok(None)` when a try was refused.
pub(super) type Answer = oneshot::Sender<Result<Option<Guard>, LockError>>;

/// First pause between two tries to give a doubtful grant back; doubles up to [`SETTLE_MAX`].
const SETTLE_FIRST: Duration = Duration::from_millis(10);
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Whether to wait for the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Wait,
    Try,
}

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

/// The task's state.
#[derive(Debug)]
pub(super) struct Attempt {
    shared: Arc<Shared>,
    request: Request,
    patience: Patience,
    /// Fires when the caller's future is dropped.
    caller_left: CancellationToken,
    /// The guard's lost signal.
    lost: CancellationToken,
    /// Turns and places in local lines; given up only when the server has answered for good.
    tickets: Vec<Ticket>,
    leases: Vec<Arc<Lease>>,
    /// Grants that may stand at the server: to be released until it answers.
    doubtful: Vec<Arc<Grant>>,
}

impl Attempt {
    /// Takes the first place in line at once, so that waiters are served in the order of their calls.
    pub(super) fn new(
        shared: &Arc<Shared>,
        mut request: Request,
        patience: Patience,
        caller_left: CancellationToken,
    ) -> Self {
        request.keys.sort_unstable();
        request.keys.dedup();
        let mut attempt = Self {
            lost: shared.session.lost().child_token(),
            shared: Arc::clone(shared),
            request,
            patience,
            caller_left,
            tickets: Vec::new(),
            leases: Vec::new(),
            doubtful: Vec::new(),
        };
        if patience == Patience::Wait && !attempt.as_slots() {
            attempt.tickets.extend(attempt.request.keys.first().map(|key| shared.queues.enter(key)));
        }
        attempt
    }

    /// Runs to the end of the hold.
    pub(super) async fn run(mut self, answer: Answer) {
        let shared = Arc::clone(&self.shared);
        let counters = &shared.counters;
        let mut answer = Some(answer);
        let due_ns = shared.due_ns(self.request.deadline_ns);
        let ended = driven(&shared, due_ns, self.take_all_or_nothing(), || {
            counters.unknown.fetch_add(1, Relaxed);
            tell(&mut answer, Err(LockError::Unknown("the server did not answer by the deadline".into())));
        })
        .await;
        let slot = match ended {
            Ok(slot) => slot,
            Err(ended) => {
                self.pass_turns_on();
                if answer.is_some() {
                    tell(&mut answer, counters.ended(ended));
                }
                return self.settle().await;
            }
        };
        let told = answer.is_some();
        let (release, released) = oneshot::channel();
        let guard = Guard {
            keys: self.request.keys.clone(),
            slot,
            leases: self.leases.clone(),
            lost: self.lost.clone(),
            release,
        };
        if told {
            counters.grants.fetch_add(1, Relaxed);
        }
        // Nobody there to take it: the guard is dropped, which is an abandoned one.
        tell(&mut answer, Ok(Some(guard)));
        self.hold(released, told).await;
    }

    async fn take_all_or_nothing(&mut self) -> Result<u32, Ended> {
        let mut taken = if self.as_slots() { self.take_slot().await } else { self.take_keys().await };
        if taken.is_ok() && self.lost.is_cancelled() {
            let whole = self.shared.session.lost().is_cancelled();
            let why = "a lease ended while acquiring".to_owned();
            let error = if whole { LockError::SessionLost(why) } else { LockError::Unavailable(why) };
            taken = Err(error.into());
        }
        if taken.is_err() && self.give_back().await.is_err() {
            return Err(LockError::Unknown("a key taken on the way could not be given back".into()).into());
        }
        taken
    }

    /// Every key in sorted order, so that two requests cannot wait for each other; one by one unless the
    /// backend takes them all at once.
    async fn take_keys(&mut self) -> Result<u32, Ended> {
        let keys = self.request.keys.clone();
        let at_once = keys.len() == 1 || self.shared.capabilities.native_many;
        for (place, key) in keys.iter().enumerate() {
            self.turn(place, key).await?;
            if !at_once {
                let request = Request { keys: vec![Arc::clone(key)], ..self.request.clone() };
                self.call(&request, self.patience).await?;
            }
        }
        if at_once {
            let request = self.request.clone();
            self.call(&request, self.patience).await?;
        }
        if self.request.level == 1 {
            return Ok(0);
        }
        // The slots are the server's business: the next waiter of this node may ask while this one holds.
        self.tickets.clear();
        let granted = self.leases.first().and_then(|lease| lease.grant.keys.first());
        let slot = granted.and_then(|key| slots::slot_of(key, keys.first()?));
        slot.ok_or_else(|| LockError::Protocol("the grant names no slot".into()).into())
    }

    /// One of the keys `key#0` … `key#(N-1)`: tries those that this node does not use, then waits for one.
    async fn take_slot(&mut self) -> Result<u32, Ended> {
        let base = self.request.keys.first().cloned().unwrap_or_else(|| "".into());
        let order = slots::order(self.request.level, self.request.slot_seed);
        for &slot in &order {
            if self.caller_left.is_cancelled() {
                return Err(Ended::CallerLeft);
            }
            let request = slots::request(&self.request, &base, slot);
            let Some(ticket) = request.keys.first().and_then(|key| self.shared.queues.enter_if_idle(key))
            else {
                continue;
            };
            self.tickets.push(ticket);
            match self.call(&request, Patience::Try).await {
                Err(Ended::Refused) => self.tickets.clear(),
                ended => return ended.map(|()| slot),
            }
        }
        if self.patience == Patience::Try {
            return Err(Ended::Refused);
        }
        let idle = order.iter().copied().find(|&slot| !self.shared.queues.is_busy(&slots::key(&base, slot)));
        let slot = idle.or(order.first().copied()).unwrap_or(0);
        let request = slots::request(&self.request, &base, slot);
        if let Some(key) = request.keys.first() {
            self.turn(0, key).await?;
        }
        self.call(&request, Patience::Wait).await.map(|()| slot)
    }

    /// Waits for the turn of a key in this node's line.
    async fn turn(&mut self, place: usize, key: &Arc<str>) -> Result<(), Ended> {
        let shared = Arc::clone(&self.shared);
        if self.patience == Patience::Try {
            let idle = shared.queues.enter_if_idle(key).ok_or(Ended::Refused)?;
            self.tickets.push(idle);
            return Ok(());
        }
        if self.tickets.len() == place {
            self.tickets.push(shared.queues.enter(key));
        }
        let Some(ticket) = self.tickets.get_mut(place).filter(|ticket| !ticket.has_turn()) else {
            return Ok(());
        };
        let deadline_ns = self.request.deadline_ns;
        let session_lost = shared.session.lost();
        tokio::select! {
            biased;
            () = self.caller_left.cancelled() => Err(Ended::CallerLeft),
            () = session_lost.cancelled() => Err(LockError::SessionLost("while waiting".into()).into()),
            () = shared.closing.cancelled() => Err(LockError::Unavailable("the client is closed".into()).into()),
            // A turn that comes together with the deadline is too late.
            () = sleep_until(&*shared.now, deadline_ns) => Err(LockError::TimedOut.into()),
            () = ticket.turn() => Ok(()),
        }
    }

    /// Asks the backend and keeps what it grants.
    async fn call(&mut self, request: &Request, patience: Patience) -> Result<(), Ended> {
        let session = &self.shared.session;
        let asked = async {
            match patience {
                Patience::Wait => session.acquire(request).await.map(Some),
                Patience::Try => session.try_acquire(request).await,
            }
        };
        let granted = tokio::select! {
            biased;
            granted = asked => granted,
            () = self.shared.closing.cancelled() => Err(LockError::Unknown("the client is closed".into())),
        };
        if let Err(LockError::Unknown(_)) = granted {
            let (keys, owner) = (request.keys.clone(), request.owner.clone());
            self.doubtful.push(Arc::new(Grant { keys, owner, token: None, validity: Validity::Lost }));
        }
        let grant = granted?.ok_or(Ended::Refused)?;
        self.leases.push(self.shared.leases.add(grant, &self.lost));
        Ok(())
    }

    /// Holds until the caller gives back or abandons, or the client closes; then releases.
    async fn hold(mut self, mut released: oneshot::Receiver<ReleaseReply>, told: bool) {
        let shared = Arc::clone(&self.shared);
        let counters = &shared.counters;
        let mut reply: Option<ReleaseReply> = tokio::select! {
            biased;
            reply = &mut released => reply.ok(),
            () = shared.closing.cancelled() => {
                self.lost.cancel();
                None
            }
        };
        drop(released);
        if reply.is_none() && told && !shared.closing.is_cancelled() {
            counters.dropped_guards.fetch_add(1, Relaxed);
        }
        let mut counted = !told;
        let due_ns = shared.due_ns(0);
        let mut late = || {
            let error = LockError::Unknown("the server did not answer the release".into());
            counters.gave_back(&Err(error.clone()), std::mem::replace(&mut counted, true));
            reply.take().map(|reply| reply.send(Err(error)));
        };
        let ret = driven(&shared, due_ns, self.give_back(), &mut late).await;
        counters.gave_back(&ret, counted);
        self.pass_turns_on();
        reply.map(|reply| reply.send(ret));
        self.settle().await;
    }

    /// Releases everything once; what the server did not answer for becomes doubtful.
    async fn give_back(&mut self) -> Result<ReleaseRet, LockError> {
        let leases = std::mem::take(&mut self.leases);
        for lease in &leases {
            self.shared.leases.remove(lease);
        }
        let mut whole = Ok(ReleaseRet::Released);
        for lease in leases.iter().rev() {
            match self.shared.session.release(&lease.grant).await {
                Ok(ReleaseRet::Released) => {}
                // The session took everything with it.
                Ok(ReleaseRet::AlreadyLost) | Err(LockError::SessionLost(_)) => {
                    whole = whole.map(|_| ReleaseRet::AlreadyLost);
                }
                Err(error) => {
                    tracing::warn!(%error, keys = ?lease.grant.keys, "release not answered");
                    self.doubtful.push(Arc::clone(&lease.grant));
                    whole = Err(error);
                }
            }
        }
        whole
    }

    /// Before the caller hears of the end, so that it finds its key free; but not while the server owes an
    /// answer.
    fn pass_turns_on(&mut self) {
        if self.doubtful.is_empty() {
            self.tickets.clear();
        }
    }

    /// Releases what is doubtful until the server answers; the next waiter of this node comes after that.
    async fn settle(self) {
        let mut pause = SETTLE_FIRST;
        for grant in &self.doubtful {
            loop {
                match self.shared.session.release(grant).await {
                    Ok(_) | Err(LockError::SessionLost(_)) => break,
                    Err(error @ (LockError::Protocol(_) | LockError::Unsupported(_))) => {
                        tracing::error!(%error, keys = ?grant.keys, "cannot give back");
                        break;
                    }
                    Err(_) => tokio::time::sleep(pause).await,
                }
                pause = (pause * 2).min(SETTLE_MAX);
            }
        }
    }

    /// Whether the level is served as so many keys.
    fn as_slots(&self) -> bool {
        self.request.level > 1 && !self.shared.capabilities.native_level
    }
}

/// Drives the future to its end, and calls `late` once if that takes longer than until the stamp.
async fn driven<F: Future>(shared: &Shared, due_ns: u64, future: F, late: impl FnOnce()) -> F::Output {
    let mut future = std::pin::pin!(future);
    loop {
        tokio::select! {
            biased;
            output = &mut future => return output,
            () = shared.tick.notified() => {}
        }
        if shared.now.now_ns() >= due_ns {
            late();
            return future.await;
        }
    }
}

/// Answers once; a caller that is gone drops what it is sent.
fn tell(answer: &mut Option<Answer>, outcome: Result<Option<Guard>, LockError>) {
    if let Some(answer) = answer.take() {
        answer.send(outcome).ok();
    }
}

impl super::Counters {
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

    /// Counts the end of a hold, once.
    fn gave_back(&self, ret: &Result<ReleaseRet, LockError>, counted: bool) {
        if counted {
            return;
        }
        let counter = match ret {
            Ok(ReleaseRet::Released) => &self.released,
            Ok(ReleaseRet::AlreadyLost) => &self.already_lost,
            Err(_) => &self.release_unknown,
        };
        counter.fetch_add(1, Relaxed);
    }
}
