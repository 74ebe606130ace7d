//! The holder's own lease clock: renews every third of the ttl and tells the holder when a lease ends,
//! whatever the server does.
//!
//! ```text
//!  sent ──── acknowledged                                             valid until        server's expiry
//!   │············│····························································│·····margin·····│
//!   └─ counted from here          renewal at ttl/3, again after failures      └─ lost fires here at the latest
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::session::{Grant, LockSession, Now, Purpose, Renewal, Validity, sleep_until};

/// tokio's timer may fire this much late, so the watchdog calls a lease over this much early.
const TIMER_GRAIN_NS: u64 = 1_000_000;

/// Stands for [`Validity::NoLease`] in a [`Lease`].
const NO_LEASE: u64 = u64::MAX;

/// Stands for [`Validity::Lost`] in a [`Lease`].
const LOST: u64 = 0;

/// A grant being held. Written by [`Leases`], read by the guard.
#[derive(Debug)]
pub(super) struct Lease {
    id: u64,
    pub(super) grant: Arc<Grant>,
    until_ns: AtomicU64,
    /// One per guard, child of the session's.
    lost: CancellationToken,
}

impl Lease {
    pub(super) fn validity(&self) -> Validity {
        match self.until_ns.load(Ordering::Acquire) {
            _ if self.lost.is_cancelled() => Validity::Lost,
            LOST => Validity::Lost,
            NO_LEASE => Validity::NoLease,
            stamp => Validity::Until(stamp),
        }
    }

    fn lose(&self) {
        self.until_ns.store(LOST, Ordering::Release);
        self.lost.cancel();
    }
}

/// Until the session hears of a loss. Cancel safe.
async fn news(session: &dyn LockSession) {
    match session.news() {
        Some(news) => news.notified().await,
        None => std::future::pending().await,
    }
}

/// All that a node holds, in the order of the grants.
///
/// Invariant: what is lost or being released is not in here, and what is not in here is never renewed.
#[derive(Debug)]
pub(super) struct Leases {
    table: Mutex<Table>,
    /// Told when a lease ends before the watchdog would wake.
    sooner: Notify,
}

#[derive(Debug)]
struct Table {
    held: BTreeMap<u64, Arc<Lease>>,
    next_id: u64,
    /// The session's own lease.
    session_until_ns: u64,
    /// The watchdog sleeps until then.
    watched_until_ns: u64,
}

impl Leases {
    pub(super) fn new() -> Self {
        let table = Table {
            held: BTreeMap::new(),
            next_id: 0,
            session_until_ns: NO_LEASE,
            watched_until_ns: NO_LEASE,
        };
        Self { table: Mutex::new(table), sooner: Notify::new() }
    }

    /// From now on the grant is renewed and watched.
    pub(super) fn add(&self, grant: Grant, lost: &CancellationToken) -> Arc<Lease> {
        let until_ns = match grant.validity {
            Validity::Until(stamp) => stamp,
            Validity::NoLease => NO_LEASE,
            Validity::Lost => LOST,
        };
        let mut table = self.lock();
        let lease = Arc::new(Lease {
            id: table.next_id,
            grant: Arc::new(grant),
            until_ns: AtomicU64::new(until_ns),
            lost: lost.clone(),
        });
        table.next_id += 1;
        table.held.insert(lease.id, Arc::clone(&lease));
        let sooner = until_ns < table.watched_until_ns;
        drop(table);
        if sooner {
            self.sooner.notify_one();
        }
        lease
    }

    /// No longer renewed nor watched; to be called before the release is sent. Whether it was until now.
    pub(super) fn remove(&self, lease: &Lease) -> bool {
        self.lock().held.remove(&lease.id).is_some()
    }

    /// Everything is lost, because the session is or the client closes.
    pub(super) fn lose_all(&self) -> Vec<Arc<Lease>> {
        let held: Vec<_> = std::mem::take(&mut self.lock().held).into_values().collect();
        held.iter().for_each(|lease| lease.lose());
        held
    }

    /// Tells every holder whose lease ends, for ever. Fires `session_lost` when the session's own lease ends. Looks often
    /// enough that a grant for the whole `ttl` need not wake it: that would cost as much as the request.
    pub(super) async fn watch(&self, now: &dyn Now, ttl: Duration, session_lost: &CancellationToken) {
        let period_ns = u64::try_from(ttl.as_nanos() / 4).unwrap_or(u64::MAX).max(4 * TIMER_GRAIN_NS);
        loop {
            let (wake_ns, session_over) = self.sweep(now.now_ns(), period_ns);
            if session_over {
                session_lost.cancel();
            }
            tokio::select! {
                biased;
                () = self.sooner.notified() => {}
                () = sleep_until(now, wake_ns.saturating_sub(TIMER_GRAIN_NS)) => {}
            }
        }
    }

    /// Renews for ever, whether or not anything is held: the session may have a lease of its own.
    pub(super) async fn renew(&self, session: &dyn LockSession, ttl: Duration) {
        let period = (ttl / 3).max(Duration::from_millis(1));
        let mut timer = interval(period);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        timer.tick().await; // the first one is immediate
        loop {
            tokio::select! {
                biased;
                () = news(session) => {}
                _ = timer.tick() => {}
            }
            let held: Vec<Arc<Lease>> = self.lock().held.values().cloned().collect();
            let grants: Vec<Arc<Grant>> = held.iter().map(|lease| Arc::clone(&lease.grant)).collect();
            // After a whole ttl all that it could have renewed is over, so dropping it half-way does no harm.
            match Purpose::Renewal.scope(timeout(ttl, session.renew(&grants))).await {
                Ok(Ok(renewal)) => self.apply(&held, &renewal),
                Ok(Err(error)) => {
                    tracing::debug!(%error, grants = grants.len(), "renewal failed");
                    timer.reset_after(period / 4);
                }
                Err(_) => tracing::warn!(grants = grants.len(), "renewal hung for a whole ttl"),
            }
        }
    }

    fn apply(&self, held: &[Arc<Lease>], renewal: &Renewal) {
        let mut lost = Vec::new();
        let mut table = self.lock();
        match renewal.session {
            Validity::Until(stamp) => table.session_until_ns = stamp,
            Validity::NoLease => table.session_until_ns = NO_LEASE,
            // Over at once: the watchdog fires the session's signal.
            Validity::Lost => table.session_until_ns = LOST,
        }
        let mut sooner = table.session_until_ns < table.watched_until_ns;
        for (lease, validity) in held.iter().zip(&renewal.grants) {
            // Lost or released meanwhile: an old answer must not bring it back.
            if !table.held.contains_key(&lease.id) {
                continue;
            }
            match validity {
                Validity::Until(stamp) => {
                    lease.until_ns.fetch_max(*stamp, Ordering::AcqRel);
                    sooner |= *stamp < table.watched_until_ns;
                }
                Validity::NoLease => lease.until_ns.store(NO_LEASE, Ordering::Release),
                Validity::Lost => lost.extend(table.held.remove(&lease.id)),
            }
        }
        drop(table);
        for lease in lost {
            lease.lose();
        }
        if sooner {
            self.sooner.notify_one();
        }
    }

    /// Loses what is over; returns when to look again and whether the session's lease is over.
    fn sweep(&self, now_ns: u64, period_ns: u64) -> (u64, bool) {
        let over_ns = now_ns.saturating_add(TIMER_GRAIN_NS);
        let until_ns = |lease: &Lease| lease.until_ns.load(Ordering::Acquire);
        let mut table = self.lock();
        let over: Vec<_> = table.held.extract_if(.., |_, lease| until_ns(lease) <= over_ns).collect();
        let session_over = table.session_until_ns <= over_ns;
        if session_over {
            table.session_until_ns = NO_LEASE;
        }
        let first = table.held.values().map(|lease| until_ns(lease)).min().unwrap_or(NO_LEASE);
        table.watched_until_ns = first.min(table.session_until_ns).min(now_ns.saturating_add(period_ns));
        let wake_ns = table.watched_until_ns;
        drop(table);
        for (_, lease) in over {
            lease.lose();
        }
        (wake_ns, session_over)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("nothing panics while the leases are locked")
    }
}
