//! The clock of a node.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The clock of one node, in nanoseconds of a monotonic clock. Deadlines and validities are stamps on it.
pub trait Now: Send + Sync + fmt::Debug {
    /// The present stamp.
    fn now_ns(&self) -> u64;
}

/// Nanoseconds since this was made: on tokio's monotonic clock (so tests may pause it), and with the time that the machine was
/// suspended, which that clock leaves out while leases at the server run on. So whoever compares a
/// [validity](crate::Guard::valid_until) with it after a laptop or a virtual machine has resumed is not told that a lease is valid
/// which ended long ago; the lost signal follows within a quarter of the ttl. Stamps of two of them, or of two processes, are not
/// comparable; where they must be, hand in a clock of your own.
#[derive(Debug, Clone)]
pub struct SinceStart {
    start: tokio::time::Instant,
    /// How long the machine had been suspended then.
    suspended_ns: u64,
    /// How long it has been suspended since it was started.
    suspended: fn() -> u64,
}

impl Default for SinceStart {
    fn default() -> Self {
        Self::on(suspended_ns)
    }
}

impl SinceStart {
    fn on(suspended: fn() -> u64) -> Self {
        Self { start: tokio::time::Instant::now(), suspended_ns: suspended(), suspended }
    }
}

impl Now for SinceStart {
    fn now_ns(&self) -> u64 {
        let awake_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        awake_ns.saturating_add((self.suspended)().saturating_sub(self.suspended_ns))
    }
}

/// What CLOCK_BOOTTIME counts and CLOCK_MONOTONIC does not. Read in this order the difference is never too great, and too small by
/// what lies between the two; the greatest that was seen is next to exact, and stamps never fall back.
fn suspended_ns() -> u64 {
    static SEEN_NS: AtomicU64 = AtomicU64::new(0);
    let ns = |clock| {
        let stamp = Duration::try_from(clock_gettime(clock)).unwrap_or_default();
        u64::try_from(stamp.as_nanos()).unwrap_or(u64::MAX)
    };
    let boot_ns = ns(ClockId::Boottime);
    let now_ns = boot_ns.saturating_sub(ns(ClockId::Monotonic));
    let seen_ns = SEEN_NS.load(Ordering::Relaxed);
    if now_ns > seen_ns { SEEN_NS.fetch_max(now_ns, Ordering::Relaxed).max(now_ns) } else { seen_ns }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_suspended_machine_counts_and_one_that_was_suspended_before_does_not() {
        static SUSPENDED_NS: AtomicU64 = AtomicU64::new(7_000_000_000);
        let clock = SinceStart::on(|| SUSPENDED_NS.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(clock.now_ns(), 2_000_000);
        // An hour with the lid closed, of which tokio's clock knows nothing.
        SUSPENDED_NS.fetch_add(3_600_000_000_000, Ordering::Relaxed);
        assert_eq!(clock.now_ns(), 3_600_002_000_000);
    }

    #[test]
    fn what_the_kernel_tells_never_falls_back() {
        let stamps: Vec<_> = (0..10_000).map(|_| suspended_ns()).collect();
        assert!(stamps.is_sorted());
        assert!(stamps.last() < Some(&(stamps[0] + 1_000_000_000)), "nobody suspended it meanwhile");
    }
}
