//! Time of a run: stamps, arrivals and holds.
//!
//! tokio's timer is 1 ms coarse (`sleep(5 ms)` takes 6.2 ms), too coarse to measure locks with; so real time has one
//! timer thread that wakes 100 µs early and spins the rest. Virtual time is tokio's paused clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::prctl::set_timerslack;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

/// How long before a deadline the timer thread wakes up to spin.
const SPIN_NS: u64 = 100_000;

/// The clock of a run. Stamps are nanoseconds: of CLOCK_MONOTONIC in real time, hence comparable across the
/// processes of one machine; since the clock was made in virtual time.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Real(Arc<Timer>),
    Virtual(tokio::time::Instant),
}

impl Clock {
    /// Real time; starts the timer thread, which ends with the last clone.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn real() -> io::Result<Self> {
        Ok(Self(Kind::Real(Arc::new(Timer::start()?))))
    }

    /// tokio's paused time, from 0; for mechanisms without sockets. Must be made inside a runtime.
    #[must_use]
    pub fn virtual_time() -> Self {
        Self(Kind::Virtual(tokio::time::Instant::now()))
    }

    /// Whether time only passes when nothing else happens.
    #[must_use]
    pub fn is_virtual(&self) -> bool {
        matches!(self.0, Kind::Virtual(_))
    }

    /// The present stamp.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        match &self.0 {
            Kind::Real(_) => monotonic_ns(),
            Kind::Virtual(origin) => nanos(origin.elapsed()),
        }
    }

    /// Waits until the stamp; returns at once when it has passed. Cancel safe.
    pub async fn sleep_until(&self, at_ns: u64) {
        match &self.0 {
            Kind::Real(timer) => {
                if at_ns > monotonic_ns() {
                    // The sender is only dropped unsent when the timer ends, and we hold the timer.
                    timer.wait(at_ns).await.expect("the timer thread lives as long as its clock");
                }
            }
            Kind::Virtual(origin) => tokio::time::sleep_until(*origin + Duration::from_nanos(at_ns)).await,
        }
    }

    /// CPU that the timer thread has used, to be kept apart from what is measured; 0 in virtual time.
    #[must_use]
    pub fn timer_cpu_ns(&self) -> u64 {
        match &self.0 {
            Kind::Real(timer) => timer.shared.cpu_ns.load(Ordering::Relaxed),
            Kind::Virtual(_) => 0,
        }
    }
}

/// CPU of this whole process so far, in ns.
#[must_use]
pub fn process_cpu_ns() -> u64 {
    stamp(ClockId::CLOCK_PROCESS_CPUTIME_ID)
}

/// The present stamp of CLOCK_MONOTONIC, for what happens outside a run.
#[must_use]
pub fn monotonic_ns() -> u64 {
    stamp(ClockId::CLOCK_MONOTONIC)
}

fn stamp(clock: ClockId) -> u64 {
    let at = clock_gettime(clock).expect("Linux has this clock");
    nanos(Duration::from(at))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a run does not last 584 years")
}

#[derive(Debug)]
struct Timer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// The earliest deadline in the heap, so that the spinning thread sees an earlier one without the lock.
    earliest_ns: AtomicU64,
    cpu_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    sleepers: BinaryHeap<Reverse<Sleeper>>,
    made: u64,
    closed: bool,
}

#[derive(Debug)]
struct Sleeper {
    at_ns: u64,
    /// Keeps sleepers with one deadline in the order of their asking.
    number: u64,
    wake: oneshot::Sender<()>,
}

impl PartialEq for Sleeper {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Sleeper {}
impl PartialOrd for Sleeper {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Sleeper {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.number).cmp(&(other.at_ns, other.number))
    }
}

impl Timer {
    fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.earliest_ns.store(u64::MAX, Ordering::Relaxed);
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("lockbench-timer".into()).spawn(move || {
            // Without it the kernel may wake us 50 µs late; spinning hides that only partly.
            if let Err(error) = set_timerslack(1) {
                tracing::warn!(%error, "timer slack stays at the default");
            }
            of_thread.serve();
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    fn wait(&self, at_ns: u64) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.made += 1;
        let number = state.made;
        state.sleepers.push(Reverse(Sleeper { at_ns, number, wake }));
        if at_ns < self.shared.earliest_ns.load(Ordering::Relaxed) {
            self.shared.earliest_ns.store(at_ns, Ordering::Release);
            drop(state);
            self.shared.changed.notify_one();
        }
        woken
    }
}

impl Shared {
    fn serve(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.closed {
            let now = monotonic_ns();
            while state.sleepers.peek().is_some_and(|Reverse(first)| first.at_ns <= now) {
                let Reverse(due) = state.sleepers.pop().expect("peeked");
                // Whoever waited may be gone; then there is nobody to tell.
                let _gone = due.wake.send(()).is_err();
            }
            let next = state.sleepers.peek().map_or(u64::MAX, |Reverse(first)| first.at_ns);
            self.earliest_ns.store(next, Ordering::Release);
            self.cpu_ns.store(stamp(ClockId::CLOCK_THREAD_CPUTIME_ID), Ordering::Relaxed);
            let ahead = next.saturating_sub(monotonic_ns());
            if next == u64::MAX {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if ahead > SPIN_NS {
                let nap = Duration::from_nanos(ahead - SPIN_NS);
                state = self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner).0;
            } else {
                drop(state);
                while monotonic_ns() < self.earliest_ns.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            state.sleepers.clear();
            self.shared.earliest_ns.store(0, Ordering::Release);
        }
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleepers_wake_in_the_order_of_their_deadlines_and_never_early() {
        let clock = Clock::real().unwrap();
        let start = clock.now_ns();
        let order = Mutex::new(Vec::new());
        let sleep = |after_ns: u64| {
            let (clock, order) = (&clock, &order);
            async move {
                clock.sleep_until(start + after_ns).await;
                assert!(clock.now_ns() >= start + after_ns);
                order.lock().unwrap().push(after_ns);
            }
        };
        tokio::join!(sleep(30_000_000), sleep(10_000_000), sleep(20_000_000));
        assert_eq!(*order.lock().unwrap(), [10_000_000, 20_000_000, 30_000_000]);
        assert!(clock.timer_cpu_ns() > 0);
    }

    #[tokio::test(start_paused = true)]
    async fn virtual_time_is_exact() {
        let clock = Clock::virtual_time();
        clock.sleep_until(5_000_000).await;
        assert_eq!(clock.now_ns(), 5_000_000);
    }
}
