//! Time as this crate sees it: one number, handed in.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// The clock that deadlines and ages are counted on.
///
/// Implement the one method. It is called while a short internal lock is held, so it must neither block nor call back
/// into this crate. Nodes that exchange deadlines must share the clock's origin: clones of one [`TokioNow`] within a
/// process, [`UnixNow`] between processes and hosts.
pub trait Now: Debug + Send + Sync + 'static {
    /// Nanoseconds since a fixed origin; never goes back.
    fn now_ns(&self) -> u64;

    /// The moment that comes `within` from now, as every deadline of this crate is given: absolute, so that it stays the
    /// same on its way through nodes and queues. One that is too far away to be counted is never.
    ///
    /// ```
    /// use std::time::Duration;
    /// use queue_lockfree::{Now, Submission, TokioNow};
    ///
    /// let now = TokioNow::start();
    /// let submission = Submission::new("vm-1", 1).until(now.deadline_in(Duration::from_secs(5)));
    /// assert!(submission.deadline_ns >= 5_000_000_000);
    /// ```
    fn deadline_in(&self, within: Duration) -> u64 {
        self.now_ns().saturating_add(as_ns(within))
    }
}

/// A [`Now`] on the runtime's clock, from zero at its creation: it stands still with a paused one. For queues and nodes of
/// one process, which share the value.
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
        as_ns(self.origin.elapsed())
    }
}

/// A [`Now`] that counts from 1970, so that nodes of several processes and hosts agree on it as far as their clocks do: keep
/// these in step, and deadlines longer than what they differ by.
///
/// The system's clock is read once, when this is made; from then on it goes on evenly and never back, whoever sets that
/// clock.
#[derive(Clone, Copy, Debug)]
pub struct UnixNow {
    start_ns: u64,
    origin: Instant,
}

impl UnixNow {
    /// Reads the system's clock.
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { start_ns: as_ns(since), origin: Instant::now() }
    }
}

impl Now for UnixNow {
    fn now_ns(&self) -> u64 {
        self.start_ns.saturating_add(as_ns(self.origin.elapsed()))
    }
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clocks_from_1970_agree_and_zero_is_when_a_runtime_clock_was_made() {
        let (one, other) = (UnixNow::start(), UnixNow::start());
        assert!(one.now_ns().abs_diff(other.now_ns()) < 60_000_000_000);
        assert!(one.now_ns() > TokioNow::start().now_ns());
    }

    #[test]
    fn a_deadline_beyond_what_can_be_counted_is_never() {
        assert_eq!(TokioNow::start().deadline_in(Duration::MAX), u64::MAX);
    }
}
