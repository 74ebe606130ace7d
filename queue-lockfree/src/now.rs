//! Time as this crate sees it: one number, handed in.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::Instant;

/// The clock that deadlines and ages are counted on.
///
/// Implement the one method. It is called while a short internal lock is held, so it must neither block nor call back
/// into this crate. Nodes that exchange deadlines must share the clock's origin, as processes of one host do with
/// CLOCK_MONOTONIC.
pub trait Now: Debug + Send + Sync + 'static {
    /// Nanoseconds since a fixed origin; never goes back.
    fn now_ns(&self) -> u64;
}

/// A [`Now`] on the runtime's clock, from zero at its creation: it stands still with a paused one. For examples and
/// tests; a driver hands in its own.
#[derive(Clone, Copy, Debug)]
pub struct TokioNow {
    origin: Instant,
}

impl TokioNow {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Now for TokioNow {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Ends when `now` has reached `deadline_ns`. Only as exact as tokio's timer, and never early.
pub(crate) async fn reached(now: &dyn Now, deadline_ns: u64) {
    if deadline_ns == u64::MAX {
        // A timer that never fires is not free: each one is entered in the runtime's wheel.
        return std::future::pending().await;
    }
    loop {
        let left = deadline_ns.saturating_sub(now.now_ns());
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_nanos(left)).await;
    }
}
