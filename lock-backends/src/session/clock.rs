//! The clock of a node.

use std::fmt;
use std::time::Duration;

/// The clock of one node, in nanoseconds of a monotonic clock. Deadlines and validities are stamps on it.
pub trait Now: Send + Sync + fmt::Debug {
    /// The present stamp.
    fn now_ns(&self) -> u64;
}

/// Nanoseconds since this was made, on tokio's monotonic clock (so tests may pause it). Stamps of two of
/// them, or of two processes, are not comparable; where they must be, hand in a clock of your own.
#[derive(Debug, Clone)]
pub struct SinceStart(tokio::time::Instant);

impl Default for SinceStart {
    fn default() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Now for SinceStart {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Sleeps until the clock shows the stamp. tokio's timer is 1 ms coarse and never early. Cancel safe.
pub async fn sleep_until(now: &dyn Now, stamp_ns: u64) {
    loop {
        let left_ns = stamp_ns.saturating_sub(now.now_ns());
        if left_ns == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_nanos(left_ns)).await;
    }
}
