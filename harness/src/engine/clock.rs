//! Time of a run: stamps, arrivals and holds.
//!
//! tokio's timer is 1 ms coarse (`sleep(5 ms)` takes 6.2 ms), too coarse to measure locks with; so real time has one
//! timer thread. It wakes a little early and spins the rest, as long as the kernel lately woke it too late and 100 µs at
//! most; where so many tasks arrive that it would do nothing but spin, it wakes every 250 µs for all that are due then.
//! Virtual time is tokio's paused clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::prctl::set_timerslack;
use nix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

use super::standstill::Paused;
use crate::model::NodeId;

/// How long before a deadline the timer thread wakes up to spin, at most and at least.
const MOST_SPIN_NS: u64 = 100_000;
const LEAST_SPIN_NS: u64 = 10_000;

/// Arrivals a second above which it does not spin.
const MANY_PER_S: f64 = 10_000.0;

/// From one wake-up to the next, where it does not spin.
const BEAT_NS: u64 = 250_000;

/// The clock of a run. Stamps are nanoseconds: of the driver's CLOCK_MONOTONIC in real time, hence comparable across the
/// processes of a run; since the clock was made in virtual time.
#[derive(Debug, Clone)]
pub struct Clock(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Real {
        timer: Arc<Timer>,
        /// How far its stamps are ahead of this machine's CLOCK_MONOTONIC.
        ahead_ns: i64,
    },
    Virtual(Paused),
}

impl Clock {
    /// Real time; starts the timer thread, which ends with the last clone.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn real() -> io::Result<Self> {
        Self::of_another_machine(0)
    }

    /// The real time of another machine, whose CLOCK_MONOTONIC is so far ahead of this one's. Each counts from its own start.
    ///
    /// # Errors
    /// As [`Self::real`].
    pub fn of_another_machine(ahead_ns: i64) -> io::Result<Self> {
        Ok(Self(Kind::Real { timer: Arc::new(Timer::start()?), ahead_ns }))
    }

    /// tokio's paused time, from 0; for mechanisms without sockets. Must be made inside a runtime.
    #[must_use]
    pub fn virtual_time() -> Self {
        Self::virtual_time_with(Vec::new())
    }

    /// The same where nodes stand still at times, by their numbers: as processes that are stopped do, they do not wake meanwhile.
    #[must_use]
    pub fn virtual_time_with(standstills: Vec<Vec<Range<u64>>>) -> Self {
        Self(Kind::Virtual(Paused::new(standstills)))
    }

    /// The clock as that node knows it: in virtual time, whoever is to wake there while it stands still wakes when it goes on.
    #[must_use]
    pub fn of(&self, node: NodeId) -> Self {
        match &self.0 {
            Kind::Real { .. } => self.clone(),
            Kind::Virtual(paused) => Self(Kind::Virtual(paused.of(node))),
        }
    }

    /// Returns at once, unless this is the clock of a node that stands still: then when it goes on. Cancel safe.
    pub async fn awake(&self) {
        if let Kind::Virtual(paused) = &self.0 {
            paused.awake().await;
        }
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
            Kind::Real { ahead_ns, .. } => monotonic_ns().saturating_add_signed(*ahead_ns),
            Kind::Virtual(paused) => nanos(paused.elapsed()),
        }
    }

    /// Waits until the stamp; returns at once when it has passed. Cancel safe.
    pub async fn sleep_until(&self, at_ns: u64) {
        match &self.0 {
            Kind::Real { timer, ahead_ns } => {
                let at_ns = at_ns.saturating_add_signed(ahead_ns.saturating_neg());
                if at_ns > monotonic_ns() {
                    // The sender is only dropped unsent when the timer ends, and we hold the timer.
                    timer.wait(at_ns).await.expect("the timer thread lives as long as its clock");
                }
            }
            Kind::Virtual(paused) => paused.sleep_until(at_ns).await,
        }
    }

    /// Says how many tasks a second arrive by this clock. From then on it does not spin where they are more than 10,000:
    /// whoever sleeps wakes up to 250 µs late, and together with others; also where fewer are expected later. Virtual time stays
    /// exact.
    pub fn expect(&self, arrivals_per_s: f64) {
        if let Kind::Real { timer, .. } = &self.0
            && arrivals_per_s > MANY_PER_S
        {
            timer.beat();
        }
    }

    /// CPU that the timer thread has used, to be kept apart from what is measured; 0 in virtual time.
    #[must_use]
    pub fn timer_cpu_ns(&self) -> u64 {
        match &self.0 {
            Kind::Real { timer, .. } => timer.shared.cpu_ns.load(Ordering::Relaxed),
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
    /// When the thread looks again who is due, so that it sees an earlier deadline while it spins, without the lock.
    looks_ns: AtomicU64,
    cpu_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    sleepers: BinaryHeap<Reverse<Sleeper>>,
    made: u64,
    closed: bool,
    /// Where it does not spin: the earliest that it looks again.
    beat: Option<u64>,
}

impl State {
    /// When somebody is woken who wants to be at this time.
    fn woken_ns(&self, at_ns: u64) -> u64 {
        at_ns.max(self.beat.unwrap_or(0))
    }
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
        shared.looks_ns.store(u64::MAX, Ordering::Relaxed);
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
        let mut state = self.shared.lock();
        state.made += 1;
        let number = state.made;
        let woken_ns = state.woken_ns(at_ns);
        state.sleepers.push(Reverse(Sleeper { at_ns, number, wake }));
        if woken_ns < self.shared.looks_ns.load(Ordering::Relaxed) {
            self.shared.looks_ns.store(woken_ns, Ordering::Release);
            drop(state);
            self.shared.changed.notify_one();
        }
        woken
    }

    fn beat(&self) {
        self.shared.lock().beat.get_or_insert(0);
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self) {
        let (mut due, mut lead) = (Vec::new(), Lead::default());
        let mut state = self.lock();
        while !state.closed {
            let now_ns = monotonic_ns();
            if state.beat.is_some() {
                state.beat = Some(now_ns + BEAT_NS);
            }
            while let Some(first) = state.sleepers.peek_mut().filter(|first| first.0.at_ns <= now_ns) {
                due.push(PeekMut::pop(first).0.wake);
            }
            if !due.is_empty() {
                // Not under the lock: whoever is told may ask again at once.
                drop(state);
                // Whoever waited may be gone; then there is nobody to tell.
                for wake in due.drain(..) {
                    let _gone = wake.send(()).is_err();
                }
                state = self.lock();
                if state.closed {
                    break;
                }
            }
            let next_ns =
                state.sleepers.peek().map_or(u64::MAX, |Reverse(first)| state.woken_ns(first.at_ns));
            self.looks_ns.store(next_ns, Ordering::Release);
            self.cpu_ns.store(stamp(ClockId::CLOCK_THREAD_CPUTIME_ID), Ordering::Relaxed);
            let lead_ns = if state.beat.is_some() { 0 } else { lead.ns };
            let ahead_ns = next_ns.saturating_sub(monotonic_ns());
            if next_ns == u64::MAX {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if ahead_ns > lead_ns {
                let nap = Duration::from_nanos(ahead_ns - lead_ns);
                let (woken, result) =
                    self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner);
                if result.timed_out() {
                    lead.learn(monotonic_ns().saturating_sub(next_ns - lead_ns));
                }
                state = woken;
            } else {
                drop(state);
                while monotonic_ns() < self.looks_ns.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                state = self.lock();
            }
        }
    }
}

/// How early the thread has to wake: as late as the kernel woke it lately.
#[derive(Debug)]
struct Lead {
    ns: u64,
}

impl Default for Lead {
    fn default() -> Self {
        Self { ns: MOST_SPIN_NS }
    }
}

impl Lead {
    /// Grows at once, so that one late wake-up in some hundreds is not made up for, and shrinks by a half in 350. What is
    /// later than that, on a machine that is busy with others, cannot be made up for.
    fn learn(&mut self, late_ns: u64) {
        let wanted_ns = if late_ns < MOST_SPIN_NS { late_ns + late_ns / 4 } else { 0 };
        self.ns = wanted_ns.max(self.ns - self.ns / 512).clamp(LEAST_SPIN_NS, MOST_SPIN_NS);
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.closed = true;
            state.sleepers.clear();
            self.shared.looks_ns.store(0, Ordering::Release);
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

    /// Sleeps 50 µs apart for a tenth of a second, and the CPU that the timer took for it.
    async fn sleeps(clock: &Clock) -> u64 {
        let before_ns = clock.timer_cpu_ns();
        let start_ns = clock.now_ns();
        for number in 1..=2_000 {
            let at_ns = start_ns + number * 50_000;
            clock.sleep_until(at_ns).await;
            assert!(clock.now_ns() >= at_ns);
        }
        clock.timer_cpu_ns() - before_ns
    }

    #[tokio::test]
    async fn where_many_arrive_the_timer_does_not_spin() {
        let clock = Clock::real().unwrap();
        clock.expect(20_000.0);
        // In a tenth of a second it looks 400 times. By spinning, it would compute for all of it.
        let cpu_ns = sleeps(&clock).await;
        assert!(cpu_ns < 50_000_000, "{cpu_ns} ns");
    }

    #[tokio::test]
    async fn who_sleeps_where_many_arrive_is_woken_soon_after() {
        let clock = Clock::real().unwrap();
        clock.expect(20_000.0);
        let mut late_ns: Vec<u64> = Vec::new();
        for _ in 0..200 {
            let at_ns = clock.now_ns() + 300_000;
            clock.sleep_until(at_ns).await;
            late_ns.push(clock.now_ns() - at_ns);
        }
        late_ns.sort_unstable();
        // By 250 µs at most, and what the machine adds to that; other tests may keep it busy.
        assert!(late_ns[50] < 1_000_000, "{late_ns:?}");
    }

    #[tokio::test]
    async fn a_clock_may_go_as_soon_as_it_has_told_the_last() {
        for _ in 0..300 {
            let clock = Clock::real().unwrap();
            clock.sleep_until(clock.now_ns() + 20_000).await;
            // Its thread may not have come back from telling us yet.
            drop(clock);
        }
    }

    #[test]
    fn the_timer_learns_how_early_it_has_to_wake() {
        let mut lead = Lead::default();
        (0..5_000).for_each(|_| lead.learn(20_000));
        assert_eq!(lead.ns, 25_000);
        lead.learn(60_000);
        assert_eq!(lead.ns, 75_000, "at once");
        lead.learn(10_000_000);
        assert!(lead.ns < 75_000, "a stall is not spun away");
        lead.learn(90_000);
        assert_eq!(lead.ns, MOST_SPIN_NS);
        (0..5_000).for_each(|_| lead.learn(0));
        assert_eq!(lead.ns, LEAST_SPIN_NS);
    }

    #[tokio::test(start_paused = true)]
    async fn virtual_time_is_exact() {
        let clock = Clock::virtual_time();
        clock.expect(1e9);
        clock.sleep_until(5_000_000).await;
        assert_eq!(clock.now_ns(), 5_000_000);
    }
}
