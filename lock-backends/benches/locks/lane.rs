//! Contenders side by side: each works for a slice of time in every round, so that all meet the same machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use lock_backends::{BoxFuture, LockClient, Now, OwnerId, Request, SinceStart};
use tokio::task::JoinSet;

/// Callers with a key each.
pub(crate) const CALLERS: usize = 512;

/// Somebody who can take and give back a lock.
pub(crate) trait Pairs: Send + Sync {
    /// Acquire and release, for that caller; whether it came to a grant by the deadline.
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool>;
}

/// Nodes of a variant.
pub(crate) struct Crowd {
    clients: Vec<LockClient>,
    keys: Keys,
    /// What the deadlines of requests are compared with.
    now: SinceStart,
    until_ns: AtomicU64,
    /// Session of the last grant, and how often it was that of the one before.
    last: AtomicUsize,
    stayed: AtomicU64,
}

enum Keys {
    One(Arc<str>),
    /// Of each caller its own.
    Distinct(Vec<Arc<str>>),
}

impl Crowd {
    pub(crate) fn on_one_key(clients: Vec<LockClient>) -> Self {
        Self::new(clients, Keys::One("hot".into()))
    }

    pub(crate) fn on_distinct_keys(clients: Vec<LockClient>) -> Self {
        let keys = (0..CALLERS).map(|caller| format!("key-{caller}").into()).collect();
        Self::new(clients, Keys::Distinct(keys))
    }

    fn new(clients: Vec<LockClient>, keys: Keys) -> Self {
        let (now, until_ns) = (SinceStart::default(), AtomicU64::new(u64::MAX));
        Self { clients, keys, now, until_ns, last: AtomicUsize::new(0), stayed: AtomicU64::new(0) }
    }

    fn operations_per_grant(&self) -> f64 {
        let counts = self.clients.iter().map(LockClient::counts);
        let (operations, grants) =
            counts.fold((0, 0), |sum, counts| (sum.0 + counts.operations, sum.1 + counts.grants));
        operations as f64 / grants.max(1) as f64
    }

    /// Part of the grants that went to the session that had the one before.
    fn stayed(&self) -> f64 {
        let grants: u64 = self.clients.iter().map(|client| client.counts().grants).sum();
        self.stayed.load(Ordering::Relaxed) as f64 / grants.max(1) as f64
    }
}

impl Pairs for Crowd {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        let key = match &self.keys {
            Keys::One(key) => key,
            Keys::Distinct(keys) => &keys[caller],
        };
        async move {
            let session = caller % self.clients.len();
            let request = ask(key, self.until_ns.load(Ordering::Relaxed));
            let Ok(guard) = self.clients[session].acquire_request(request).await else { return false };
            if self.last.swap(session, Ordering::Relaxed) == session {
                self.stayed.fetch_add(1, Ordering::Relaxed);
            }
            guard.release().await.is_ok()
        }
        .boxed()
    }
}

/// A contender and what it did in each round.
pub(crate) struct Lane {
    label: String,
    pairs: Arc<dyn Pairs>,
    crowd: Option<Arc<Crowd>>,
    per_s: Vec<f64>,
}

impl Lane {
    pub(crate) fn new(label: &str, crowd: Crowd) -> Self {
        let crowd = Arc::new(crowd);
        Self { label: label.to_owned(), pairs: crowd.clone(), crowd: Some(crowd), per_s: Vec::new() }
    }

    pub(crate) fn bare(pairs: Arc<dyn Pairs>) -> Self {
        Self { label: "bare client".to_owned(), pairs, crowd: None, per_s: Vec::new() }
    }

    /// Pairs a second, of each round.
    pub(crate) fn per_s(&self) -> &[f64] {
        &self.per_s
    }

    pub(crate) async fn close(self) {
        drop(self.pairs);
        let Some(crowd) = self.crowd.and_then(Arc::into_inner) else { return };
        for client in crowd.clients {
            client.close().await;
        }
    }

    /// Lets all callers work for a slice of time.
    async fn work(&mut self, callers: usize, slice: Duration) {
        let clock = SinceStart::default();
        if let Some(crowd) = &self.crowd {
            let until_ns = crowd.now.now_ns() + slice.as_nanos() as u64;
            // Where nobody waits for anybody, there is no deadline to look after.
            crowd.until_ns.store(if callers > CALLERS { until_ns } else { u64::MAX }, Ordering::Relaxed);
        }
        let done = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let slice_ns = slice.as_nanos() as u64;
        for caller in 0..callers {
            let (pairs, done, clock) = (Arc::clone(&self.pairs), Arc::clone(&done), clock.clone());
            tasks.spawn(async move {
                while clock.now_ns() < slice_ns {
                    if pairs.pair(caller).await && clock.now_ns() < slice_ns {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        tasks.join_all().await;
        self.per_s.push(done.load(Ordering::Relaxed) as f64 / slice.as_secs_f64());
    }
}

/// A round that is not counted, then so many in which the contenders take turns.
pub(crate) async fn interleave(lanes: &mut [Lane], callers: usize, rounds: usize, slice: Duration) {
    for round in 0..=rounds {
        for lane in lanes.iter_mut() {
            lane.work(callers, slice).await;
        }
        if round == 0 {
            lanes.iter_mut().for_each(|lane| lane.per_s.clear());
        }
    }
}

/// Medians; the ratio is the median of those of each round.
pub(crate) fn table(title: &str, lanes: &[Lane]) {
    let Some(yardstick) = lanes.first() else { return };
    println!(
        "{title}\n\n| | pairs/s | µs | × {} | operations / grant | stayed in the session |",
        yardstick.label
    );
    println!("| --- | --: | --: | --: | --: | --: |");
    for lane in lanes {
        let per_s = median(lane.per_s.iter().copied());
        let ratio = median(lane.per_s.iter().zip(&yardstick.per_s).map(|(own, other)| own / other));
        let crowd = lane.crowd.as_ref();
        let operations =
            crowd.map_or_else(|| "–".to_owned(), |crowd| format!("{:.2}", crowd.operations_per_grant()));
        let several = crowd.filter(|crowd| crowd.clients.len() > 1);
        let stayed =
            several.map_or_else(|| "–".to_owned(), |crowd| format!("{:.0} %", 100.0 * crowd.stayed()));
        let label = &lane.label;
        println!("| {label} | {per_s:.0} | {:.1} | {ratio:.2} | {operations} | {stayed} |", 1e6 / per_s);
    }
    println!();
}

/// Of an even number the upper one.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn ask(key: &Arc<str>, deadline_ns: u64) -> Request {
    let owner = OwnerId(format!("bench:{}", number()).into());
    Request { keys: vec![Arc::clone(key)], ..Request::exclusive("", owner, deadline_ns) }
}

pub(crate) fn number() -> u64 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}
