//! Links, clocks and pauses of a simulated run.

use std::future::Future;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::chance::Chance;
use super::troubles::{Troubles, Way};
use crate::engine::Clock;
use crate::model::{Fault, NodeId};

/// How far ahead pauses are drawn; a run that lasts longer sees none beyond.
const PAUSES_UNTIL_NS: u64 = 60_000_000_000;

/// Time between two tries of a waiter, on average.
const RETRY_NS: u64 = 8_000_000;

/// How bad links, clocks and nodes are.
#[derive(Debug, Clone)]
pub struct Weather {
    /// Delay of a message, each way.
    pub delay_ns: Range<u64>,
    /// Share of messages that are slow instead, and overtaken by others.
    pub slow: f64,
    /// Delay of a slow message.
    pub slow_ns: Range<u64>,
    /// Share of messages that never arrive.
    pub dropped: f64,
    /// The most by which a node's clock is ahead of another's.
    pub clock_offset_ns: u64,
    /// The most by which a clock runs too fast or too slow, as a share.
    pub clock_drift: f64,
    /// Pauses of the nodes; a node that is paused neither sends nor sees what has arrived, timers included.
    pub pauses: Option<Pauses>,
}

/// Pauses of every node, staggered: never periodic.
#[derive(Debug, Clone)]
pub struct Pauses {
    /// Mean time between two pauses of one node; each is drawn from 0 to twice of it.
    pub every_ns: u64,
    /// How long one lasts.
    pub for_ns: Range<u64>,
}

/// Nodes, a server and the links between them. Everything is drawn from one seed, in the order of use.
#[derive(Debug)]
pub struct World {
    clock: Clock,
    weather: Weather,
    chance: Mutex<Chance>,
    /// Of each node; the server's is the last.
    clocks: Vec<LocalClock>,
    /// Of each node, by time.
    pauses: Vec<Vec<Range<u64>>>,
    /// What is broken on purpose.
    troubles: Troubles,
    /// Messages under way, and what else goes on at nodes.
    tasks: Mutex<JoinSet<()>>,
}

/// A clock that is ahead and runs too fast or too slow.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalClock {
    offset_ns: u64,
    rate: f64,
}

impl LocalClock {
    pub(super) fn local_ns(self, at_ns: u64) -> u64 {
        self.offset_ns + (at_ns as f64 * self.rate) as u64
    }

    /// The stamp of the run's clock at which this one shows a time.
    pub(super) fn global_ns(self, local_ns: u64) -> u64 {
        (local_ns.saturating_sub(self.offset_ns) as f64 / self.rate) as u64
    }
}

impl World {
    /// A world of so many nodes; the clock is virtual.
    #[must_use]
    pub fn new(clock: Clock, nodes: u16, seed: u64, weather: Weather) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let drift = weather.clock_drift;
        let clocks = (0..=nodes).map(|_| LocalClock {
            offset_ns: rng.random_range(0..=weather.clock_offset_ns),
            rate: rng.random_range(1.0 - drift..=1.0 + drift),
        });
        let clocks = clocks.collect();
        let pauses = (0..nodes).map(|_| draw_pauses(weather.pauses.as_ref(), &mut rng)).collect();
        let (chance, troubles) = (Mutex::new(Chance::Stream(Box::new(rng))), Troubles::default());
        Self { clock, weather, chance, clocks, pauses, troubles, tasks: Mutex::default() }
    }

    /// The same with faults of links and of the server, which may overlap; their times count from this stamp. Nodes that stand still
    /// are the [clock's](Clock::virtual_time_with). What is drawn from then on hangs on the moment alone.
    #[must_use]
    pub fn with_faults(self, origin_ns: u64, faults: &[Fault], seed: u64) -> Self {
        let chance = Mutex::new(Chance::Moment { seed, last: (0, 0) });
        Self { troubles: Troubles::new(origin_ns, faults), chance, ..self }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.clock.now_ns()
    }

    pub(super) async fn sleep_until(&self, at_ns: u64) {
        self.clock.sleep_until(at_ns).await;
    }

    /// A pause between two tries of a waiter, of no fixed length: those who ask again must not do so in step.
    pub(super) async fn between_tries(&self) {
        let now_ns = self.now_ns();
        let ns = self.chance().of(now_ns, RETRY_NS / 2..RETRY_NS * 3 / 2);
        self.sleep_until(now_ns + ns).await;
    }

    pub(super) fn clock_of(&self, node: NodeId) -> LocalClock {
        self.clocks[usize::from(node.0)]
    }

    /// What the server's clock shows.
    pub(super) fn server_ns(&self) -> u64 {
        let now_ns = self.now_ns();
        self.clocks[self.clocks.len() - 1].local_ns(now_ns) + self.troubles.ahead_ns(now_ns)
    }

    /// How often the server has been killed so far.
    pub(super) fn server_starts(&self) -> usize {
        self.troubles.server_starts(self.now_ns())
    }

    pub(super) fn drift(&self) -> f64 {
        self.weather.clock_drift
    }

    /// The longest that a message takes which arrives.
    pub(super) fn slowest_ns(&self) -> u64 {
        self.weather.delay_ns.end.max(self.weather.slow_ns.end)
    }

    /// Waits while the node is paused.
    pub(super) async fn awake(&self, node: NodeId) {
        let now_ns = self.now_ns();
        let pauses = &self.pauses[usize::from(node.0)];
        let next = pauses.partition_point(|pause| pause.end <= now_ns);
        if let Some(pause) = pauses.get(next).filter(|pause| pause.start <= now_ns) {
            self.sleep_until(pause.end).await;
        }
        self.clock.of(node).awake().await;
    }

    /// How long a message takes; `None`: for ever.
    pub(super) fn delay_ns(&self) -> Option<u64> {
        let (now_ns, mut chance) = (self.now_ns(), self.chance());
        if chance.happens(now_ns, self.weather.dropped) {
            None
        } else if chance.happens(now_ns, self.weather.slow) {
            Some(chance.of(now_ns, self.weather.slow_ns.clone()))
        } else {
            Some(chance.of(now_ns, self.weather.delay_ns.clone()))
        }
    }

    /// When a message of a node arrives that is sent now and takes so long; or when it is lost.
    pub(super) fn arrives_ns(&self, node: NodeId, way: Way, takes_ns: u64) -> Result<u64, u64> {
        self.troubles.arrives_ns(node, way, self.now_ns(), takes_ns)
    }

    /// Sends a request; it is answered when it arrives, at the server, and the answer may be lost on its way. Once
    /// sent it is under way, whoever waits for the answer.
    pub(super) fn send<A: Send + 'static>(
        self: &Arc<Self>,
        node: NodeId,
        at_server: impl FnOnce() -> A + Send + 'static,
    ) -> oneshot::Receiver<A> {
        let (answer, answered) = oneshot::channel();
        let (there_ns, back_ns) = (self.delay_ns(), self.delay_ns());
        let world = Arc::clone(self);
        self.spawn(async move {
            let take = async |way: Way, delay_ns: Option<u64>| {
                match delay_ns.and_then(|delay_ns| world.arrives_ns(node, way, delay_ns).ok()) {
                    Some(arrives_ns) => world.sleep_until(arrives_ns).await,
                    // Nobody is told that a message is lost: the channel stays open.
                    None => std::future::pending().await,
                }
            };
            take(Way::There, there_ns).await;
            let ret = at_server();
            take(Way::Back, back_ns).await;
            // Whoever asked may have given up.
            let _gone = answer.send(ret).is_err();
        });
        answered
    }

    /// Sends word to a node; nobody is told whether it arrives.
    pub(super) fn tell(&self, arrives: impl FnOnce() + Send + 'static) {
        let Some(delay_ns) = self.delay_ns() else { return };
        let clock = self.clock.clone();
        self.spawn(async move {
            clock.sleep_until(clock.now_ns() + delay_ns).await;
            arrives();
        });
    }

    /// Waits for an answer, but not for ever.
    pub(super) async fn wait<A>(answered: oneshot::Receiver<A>, patience_ns: u64) -> Option<A> {
        tokio::time::timeout(Duration::from_nanos(patience_ns), answered).await.ok()?.ok()
    }

    /// Lets something go on by itself until the world ends.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            ended.expect("what goes on in a world does not panic");
        }
        tasks.spawn(task);
    }

    /// Ends everything that goes on.
    pub(super) fn end(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    fn chance(&self) -> MutexGuard<'_, Chance> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn draw_pauses(pauses: Option<&Pauses>, rng: &mut ChaCha8Rng) -> Vec<Range<u64>> {
    let mut drawn = Vec::new();
    let Some(Pauses { every_ns, for_ns }) = pauses else { return drawn };
    let mut start_ns = rng.random_range(0..=2 * every_ns);
    while start_ns < PAUSES_UNTIL_NS {
        let end_ns = start_ns + rng.random_range(for_ns.clone());
        drawn.push(start_ns..end_ns);
        start_ns = end_ns + rng.random_range(0..=2 * every_ns);
    }
    drawn
}
