//! One key that everybody wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use harness::engine::monotonic_ns;
use tokio::task::JoinSet;

use super::nodes::{Nodes, SESSIONS, ask};
use super::spread::Spread;
use super::turns::order;
use crate::batch::Show as _;
use crate::progress::Display;

/// Waiters of each session.
pub(super) const WAITERS: usize = 100;
/// Rounds in which the variants take turns at their hot keys.
pub(super) const ROUNDS: u32 = 5;
/// How much later than asked a timer may fire on a busy machine, and no grants be missing from the rate.
const LATE: Duration = Duration::from_millis(50);

/// What was measured of a variant, in each round.
#[derive(Debug, Default)]
pub(super) struct Hot {
    grants_per_s: Vec<f64>,
    operations: u64,
    granted: u64,
    /// Grants that went to the session that had given the key back.
    stayed: u64,
}

impl Hot {
    pub(super) fn grants_per_s(&self) -> Option<Spread> {
        Spread::of(&self.grants_per_s)
    }

    /// Requests of one grant.
    pub(super) fn operations(&self) -> f64 {
        self.of_a_grant(self.operations)
    }

    /// Part of the grants that went to the session that had given the key back.
    pub(super) fn stayed(&self) -> f64 {
        self.of_a_grant(self.stayed)
    }

    fn of_a_grant(&self, count: u64) -> f64 {
        count as f64 / self.granted.max(1) as f64
    }
}

/// Grants of the hot key, counted by whoever has it.
#[derive(Debug, Default)]
struct Grants {
    all: AtomicU64,
    stayed: AtomicU64,
    /// The session of the last one.
    last: AtomicUsize,
}

impl Grants {
    fn count(&self, session: usize) {
        self.all.fetch_add(1, Ordering::Relaxed);
        if self.last.swap(session, Ordering::Relaxed) == session {
            self.stayed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Every variant in every round, in an order drawn for that round. `contend` is the time of each variant in all.
pub(super) async fn hot(
    nodes: &[Nodes],
    contend: Duration,
    seed: u64,
    server: &str,
    display: &Display,
) -> Vec<Hot> {
    let mut hot: Vec<Hot> = nodes.iter().map(|_| Hot::default()).collect();
    for round in 0..ROUNDS {
        for place in order(nodes.len(), seed, &format!("{server} hot"), round) {
            display.line(&format!("{}: hot key, round {}", nodes[place].variant.name, round + 1));
            contended(&nodes[place], contend / ROUNDS, &mut hot[place]).await;
        }
    }
    hot
}

/// All waiters of all sessions want one key, and again as soon as they have had it.
async fn contended(nodes: &Nodes, contend: Duration, hot: &mut Hot) {
    let (before, start_ns) = (nodes.operations(), monotonic_ns());
    // The timer may be late, and until then grants go on.
    let until_ns = start_ns + (contend + LATE).as_nanos() as u64;
    let grants = Arc::new(Grants::default());
    // Variants of one server stay out of each other's way.
    let key: Arc<str> = format!("hot {}", nodes.variant.name).into();
    let mut waiters = JoinSet::new();
    for waiter in 0..SESSIONS * WAITERS {
        let (client, grants) = (nodes.clients[waiter % SESSIONS].clone(), Arc::clone(&grants));
        let key = Arc::clone(&key);
        waiters.spawn(async move {
            while let Ok(guard) = client.acquire_request(ask(&key, until_ns)).await {
                grants.count(waiter % SESSIONS);
                // Lost or not: it was granted, and who comes next is the server's affair.
                let _ret = guard.release().await;
            }
        });
    }
    tokio::time::sleep(contend).await;
    let elapsed_ns = monotonic_ns().min(until_ns) - start_ns;
    let granted = grants.all.load(Ordering::Relaxed);
    hot.granted += granted;
    hot.stayed += grants.stayed.load(Ordering::Relaxed);
    hot.operations += nodes.operations() - before;
    hot.grants_per_s.push(granted as f64 * 1e9 / elapsed_ns as f64);
    waiters.join_all().await;
}
