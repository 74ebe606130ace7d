//! What is compared: each takes a future for a key and runs it when it is alone.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::DefaultHashBuilder;
use queue_lockfree::{QueueLimits, Submission, Task, TokioNow, WorkQueues};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

pub(crate) trait Contender: Clone + Send + Sync + 'static {
    type Open: Send;
    fn start(runtime: &Runtime) -> Self;
    fn submit(&self, key: &str, task: impl Future<Output = u64> + Send + 'static) -> Self::Open;
    fn finished(open: Self::Open) -> impl Future<Output = u64> + Send;
    fn stop(&self) {}
}

/// Nothing is kept apart: the yardstick of an idle submit.
#[derive(Clone)]
pub(crate) struct Spawned(Handle);

impl Contender for Spawned {
    type Open = JoinHandle<u64>;

    fn start(runtime: &Runtime) -> Self {
        Self(runtime.handle().clone())
    }

    fn submit(&self, _key: &str, task: impl Future<Output = u64> + Send + 'static) -> Self::Open {
        self.0.spawn(task)
    }

    async fn finished(open: Self::Open) -> u64 {
        open.await.expect("a task does not panic")
    }
}

/// A concurrent map: as many shards as the work queues have, and the same hash.
struct Map<V> {
    shards: Vec<Mutex<HashMap<String, V, DefaultHashBuilder>>>,
    hasher: DefaultHashBuilder,
}

impl<V> Map<V> {
    fn new() -> Arc<Self> {
        let hasher = DefaultHashBuilder::default();
        let shard = || Mutex::new(HashMap::with_hasher(hasher.clone()));
        Arc::new(Self { shards: (0..64).map(|_| shard()).collect(), hasher })
    }

    /// Looks at the value of a key, which `make` makes on demand.
    fn with<T>(&self, key: &str, make: impl FnOnce() -> V, look: impl FnOnce(&mut V) -> T) -> T {
        let shard = &self.shards[(self.hasher.hash_one(key) >> 32) as usize % self.shards.len()];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        match shard.get_mut(key) {
            Some(value) => look(value),
            None => look(shard.entry(key.to_owned()).or_insert_with(make)),
        }
    }
}

/// A `tokio::sync::Mutex` per key. Tasks of submitters that go on meanwhile are spawned; those of submitters that wait
/// anyway run inside them.
#[derive(Clone)]
pub(crate) struct Mutexes<const SPAWN: bool>(Arc<Map<Arc<tokio::sync::Mutex<()>>>>, Handle);

pub(crate) enum Locked {
    Spawned(JoinHandle<u64>),
    Inline(Pin<Box<dyn Future<Output = u64> + Send>>),
}

impl<const SPAWN: bool> Contender for Mutexes<SPAWN> {
    type Open = Locked;

    fn start(runtime: &Runtime) -> Self {
        Self(Map::new(), runtime.handle().clone())
    }

    fn submit(&self, key: &str, task: impl Future<Output = u64> + Send + 'static) -> Locked {
        let mutex = self.0.with(key, Arc::default, |mutex| Arc::clone(mutex));
        let locked = async move {
            let _guard = mutex.lock().await;
            task.await
        };
        if SPAWN { Locked::Spawned(self.1.spawn(locked)) } else { Locked::Inline(Box::pin(locked)) }
    }

    async fn finished(open: Locked) -> u64 {
        match open {
            Locked::Spawned(task) => task.await.expect("a task does not panic"),
            Locked::Inline(task) => task.await,
        }
    }
}

type Boxed = (Pin<Box<dyn Future<Output = u64> + Send>>, oneshot::Sender<u64>);

async fn run((task, answer): Boxed) {
    answer.send(task.await).expect("the submitter waits");
}

/// A tokio task per key, which runs what it is sent.
#[derive(Clone)]
pub(crate) struct Actors(Arc<Map<mpsc::Sender<Boxed>>>, Handle);

impl Contender for Actors {
    type Open = oneshot::Receiver<u64>;

    fn start(runtime: &Runtime) -> Self {
        Self(Map::new(), runtime.handle().clone())
    }

    fn submit(&self, key: &str, task: impl Future<Output = u64> + Send + 'static) -> Self::Open {
        let (answer, answered) = oneshot::channel();
        let make = || {
            let (sender, mut inbox) = mpsc::channel(1024);
            drop(self.1.spawn(async move {
                while let Some(boxed) = inbox.recv().await {
                    run(boxed).await;
                }
            }));
            sender
        };
        let boxed = (Box::pin(task) as Pin<Box<dyn Future<Output = u64> + Send>>, answer);
        self.0
            .with(key, make, |actor| actor.try_send(boxed))
            .expect("no more are in flight than an inbox holds");
        answered
    }

    async fn finished(open: Self::Open) -> u64 {
        open.await.expect("the actor answers")
    }
}

/// A deque per key, drained by a tokio task that is spawned when the deque was idle.
#[derive(Clone)]
pub(crate) struct Deques(Arc<Map<(VecDeque<Boxed>, bool)>>, Handle);

impl Contender for Deques {
    type Open = oneshot::Receiver<u64>;

    fn start(runtime: &Runtime) -> Self {
        Self(Map::new(), runtime.handle().clone())
    }

    fn submit(&self, key: &str, task: impl Future<Output = u64> + Send + 'static) -> Self::Open {
        let (answer, answered) = oneshot::channel();
        let idle = self.0.with(key, Default::default, |(deque, busy)| {
            deque.push_back((Box::pin(task), answer));
            !std::mem::replace(busy, true)
        });
        if idle {
            let (map, key) = (Arc::clone(&self.0), key.to_owned());
            let next = move || {
                map.with(&key, Default::default, |(deque, busy)| {
                    let next = deque.pop_front();
                    *busy = next.is_some();
                    next
                })
            };
            drop(self.1.spawn(async move {
                while let Some(boxed) = next() {
                    run(boxed).await;
                }
            }));
        }
        answered
    }

    async fn finished(open: Self::Open) -> u64 {
        open.await.expect("the drainer answers")
    }
}

/// The work queues' clock and bounds as they come; `AGES`, or as little as the others offer: no age of any task.
fn queues<const AGES: bool>() -> WorkQueues {
    let (limits, now) = (QueueLimits::default(), Arc::new(TokioNow::start()));
    if AGES { WorkQueues::new(limits, now) } else { WorkQueues::without_ages(limits, now) }
}

/// The work queues, with a worker per thread.
#[derive(Clone)]
pub(crate) struct Queues<const AGES: bool>(WorkQueues, Arc<Mutex<JoinSet<()>>>);

impl<const AGES: bool> Contender for Queues<AGES> {
    type Open = Task<u64>;

    fn start(runtime: &Runtime) -> Self {
        let queues = queues::<AGES>();
        let mut workers = JoinSet::new();
        for _ in 0..runtime.metrics().num_workers() {
            let queues = queues.clone();
            workers.spawn(async move { queues.serve().await });
        }
        Self(queues, Arc::new(Mutex::new(workers)))
    }

    fn submit(&self, key: &str, task: impl Future<Output = u64> + Send + 'static) -> Self::Open {
        self.0.spawn(Submission::new(key, 1), |_| task).expect("there is room")
    }

    async fn finished(open: Self::Open) -> u64 {
        open.finished().await.expect("a task does not panic")
    }

    fn stop(&self) {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// The work queues' inline form: the task runs inside its submitter, as under a mutex that does not spawn.
#[derive(Clone)]
pub(crate) struct Inline<const AGES: bool>(WorkQueues);

impl<const AGES: bool> Contender for Inline<AGES> {
    type Open = Pin<Box<dyn Future<Output = u64> + Send>>;

    fn start(_runtime: &Runtime) -> Self {
        Self(queues::<AGES>())
    }

    fn submit(&self, key: &str, task: impl Future<Output = u64> + Send + 'static) -> Self::Open {
        let turn = self.0.enqueue(Submission::new(key, 1)).expect("there is room");
        Box::pin(async move {
            let completion = turn.granted().await.expect("nobody closes the queues");
            let result = task.await;
            completion.done();
            result
        })
    }

    async fn finished(open: Self::Open) -> u64 {
        open.await
    }
}
