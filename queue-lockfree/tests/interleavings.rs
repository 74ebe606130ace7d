//! The queues under many interleavings of their threads, the same for every run: their sources once more, over a model of
//! locks, atomics and threads (shuttle) that switches between any two operations, and finds who waits for ever.
//!
//! Memory orders are not modelled; the queues' data lie behind locks, and what a task hands to the next one goes through its
//! shard's. The states of one spawned task are `async-task`'s, whose own tests look after them: here each of its steps is
//! one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]
#![allow(dead_code, unused_imports, reason = "each source is here as a whole")]

/// Sources of the library, as they are.
#[path = "../src"]
pub mod model {
    pub mod now;
    pub mod poison;
    pub mod queue;

    /// Stands in for `src/sync.rs`.
    pub mod sync {
        pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicUsize};
        pub(crate) use shuttle::sync::{Mutex, MutexGuard};
        pub(crate) use shuttle::thread_local;
    }
}

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};

use model::{now, poison, queue, sync};
use now::Now;
use queue::{QueueError, QueueLimits, Submission, Task, TaskError, WorkQueues};
use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};
use sync::{AtomicUsize, Mutex};

/// How many schedules of each story: so many in `make test`, 100,000 in `make test-long`.
const SCHEDULES: &str = "LOCKBENCH_SCHEDULES";

/// Schedules of each story that are drawn at random, and of those with few switches at unlikely places.
const USUAL_SCHEDULES: usize = 2000;
const SWITCHES: usize = 3;

fn explore(story: fn()) {
    let schedules = std::env::var(SCHEDULES).map_or(USUAL_SCHEDULES, |text| text.parse().expect("a number"));
    shuttle::check_random_with_seed(story, 1, schedules);
    shuttle::check_pct(story, schedules, SWITCHES);
}

/// Time stands still: nothing here has a deadline.
#[derive(Debug)]
struct Still;

impl Now for Still {
    fn now_ns(&self) -> u64 {
        0
    }
}

fn queues() -> WorkQueues {
    WorkQueues::new(QueueLimits::default(), Arc::new(Still))
}

/// What futures wait for, opened by another thread.
#[derive(Default)]
struct Gate(Mutex<(bool, Vec<Waker>)>);

impl Gate {
    fn open(&self) {
        let mut gate = self.0.lock().unwrap();
        gate.0 = true;
        let wakers = std::mem::take(&mut gate.1);
        drop(gate);
        wakers.into_iter().for_each(Waker::wake);
    }

    async fn opened(&self) {
        poll_fn(|context| {
            let mut gate = self.0.lock().unwrap();
            if gate.0 {
                return Poll::Ready(());
            }
            gate.1.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Workers, each a thread, until they are stopped.
struct Workers(Vec<JoinHandle<()>>, Arc<Gate>);

fn workers(queues: &WorkQueues, count: usize) -> Workers {
    let gate = Arc::new(Gate::default());
    let worker = |queues: WorkQueues, gate: Arc<Gate>| {
        thread::spawn(move || {
            block_on(async {
                tokio::select! {
                    biased;
                    () = gate.opened() => {}
                    () = queues.serve() => {}
                }
            });
        })
    };
    Workers((0..count).map(|_| worker(queues.clone(), gate.clone())).collect(), gate)
}

impl Workers {
    fn stop(self) {
        self.1.open();
        for worker in self.0 {
            worker.join().unwrap();
        }
    }
}

/// Who is inside, at most how many, and how often.
#[derive(Default)]
struct Room {
    inside: AtomicUsize,
    entered: AtomicUsize,
}

impl Room {
    fn enter(&self, level: usize) {
        let others = self.inside.fetch_add(1, Ordering::SeqCst);
        assert!(others < level, "{} are inside, level {level}", others + 1);
        self.entered.fetch_add(1, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn entered(&self) -> usize {
        self.entered.load(Ordering::SeqCst)
    }
}

fn spawned(queues: &WorkQueues, room: &Arc<Room>, gate: &Arc<Gate>, level: u32) -> Task<()> {
    let (room, gate) = (Arc::clone(room), Arc::clone(gate));
    let work = move |_| async move {
        room.enter(level as usize);
        gate.opened().await;
        room.leave();
    };
    queues.spawn(Submission::new("vm-1", level), work).unwrap()
}

fn assert_idle(queues: &WorkQueues) {
    let metrics = queues.metrics();
    assert_eq!((metrics.keys, metrics.running, metrics.pending), (0, 0, 0), "{metrics:?}");
    assert_eq!(metrics.started, metrics.completed + metrics.abandoned);
}

#[test]
fn spawned_tasks_run_once_each_and_no_wake_up_is_lost() {
    explore(|| {
        let (queues, room, gate) = (queues(), Arc::new(Room::default()), Arc::new(Gate::default()));
        let workers = workers(&queues, 2);
        let submitter = {
            let (queues, room, gate) = (queues.clone(), room.clone(), gate.clone());
            thread::spawn(move || block_on(spawned(&queues, &room, &gate, 1).finished()))
        };
        let opener = {
            let gate = gate.clone();
            thread::spawn(move || gate.open())
        };
        let mine = spawned(&queues, &room, &gate, 1);
        assert_eq!(block_on(mine.finished()), Ok(()));
        assert_eq!(submitter.join().unwrap(), Ok(()));
        opener.join().unwrap();
        assert_eq!(room.entered(), 2);
        assert_idle(&queues);
        workers.stop();
    });
}

#[test]
fn a_worker_that_goes_leaves_its_tasks_to_the_other() {
    explore(|| {
        let (queues, room, gate) = (queues(), Arc::new(Room::default()), Arc::new(Gate::default()));
        gate.open();
        let (short, workers) = (workers(&queues, 1), workers(&queues, 1));
        let going = thread::spawn(move || short.stop());
        let tasks: Vec<_> = (0..2).map(|_| spawned(&queues, &room, &gate, 2)).collect();
        for task in tasks {
            assert_eq!(block_on(task.finished()), Ok(()));
        }
        going.join().unwrap();
        assert_idle(&queues);
        workers.stop();
    });
}

#[test]
fn a_handle_that_is_dropped_takes_its_task_back_or_lets_it_run() {
    explore(|| {
        let (queues, room, gate) = (queues(), Arc::new(Room::default()), Arc::new(Gate::default()));
        gate.open();
        let workers = workers(&queues, 2);
        let first = spawned(&queues, &room, &gate, 1);
        let dropped = spawned(&queues, &room, &gate, 1);
        let dropping = thread::spawn(move || drop(dropped));
        let last = spawned(&queues, &room, &gate, 1);
        assert_eq!(block_on(first.finished()), Ok(()));
        assert_eq!(block_on(last.finished()), Ok(()));
        dropping.join().unwrap();
        let metrics = queues.metrics();
        assert_eq!(room.entered() as u64, metrics.started);
        assert_eq!(metrics.started + metrics.withdrawn, 3, "{metrics:?}");
        assert_idle(&queues);
        workers.stop();
    });
}

#[test]
fn a_waker_that_is_dropped_last_ends_its_task_and_frees_the_slot() {
    explore(|| {
        let (queues, room, gate) = (queues(), Arc::new(Room::default()), Arc::new(Gate::default()));
        let workers = workers(&queues, 1);
        let waker = Arc::new(Mutex::new(None));
        let kept = waker.clone();
        // Nobody will wake it, and its handle is dropped: what is left of it is a waker.
        let forgotten = queues.spawn(Submission::new("vm-1", 1), move |_| {
            poll_fn(move |context| -> Poll<()> {
                *kept.lock().unwrap() = Some(context.waker().clone());
                Poll::Pending
            })
        });
        let next = spawned(&queues, &room, &gate, 1);
        gate.open();
        while waker.lock().unwrap().is_none() {
            thread::yield_now();
        }
        let dropping = thread::spawn(move || drop(waker.lock().unwrap().take()));
        drop(forgotten);
        assert_eq!(block_on(next.finished()), Ok(()));
        dropping.join().unwrap();
        assert_eq!(queues.metrics().abandoned, 1);
        assert_idle(&queues);
        workers.stop();
    });
}

#[test]
fn places_for_waiting_tasks_are_neither_lost_nor_given_twice() {
    explore(|| {
        let limits = QueueLimits { pending: 1, ..QueueLimits::default() };
        let queues = WorkQueues::new(limits, Arc::new(Still));
        let holders = ["vm-1", "vm-2"].map(|key| queues.enqueue(Submission::new(key, 1)).unwrap());
        let enter = |key: &'static str| {
            let queues = queues.clone();
            thread::spawn(move || queues.enqueue(Submission::new(key, 1)).is_ok())
        };
        // Each leaves as soon as it has entered.
        let entered = ["vm-1", "vm-2"].map(enter).map(|thread| thread.join().unwrap());
        assert!(entered.contains(&true), "there was a place for one");
        let turn = queues.enqueue(Submission::new("vm-1", 1)).unwrap();
        assert_eq!(queues.enqueue(Submission::new("vm-2", 1)).unwrap_err(), QueueError::QueueFull);
        drop((turn, holders));
        assert_idle(&queues);
    });
}

#[test]
fn a_turn_that_is_dropped_passes_its_slot_on() {
    explore(|| {
        let (queues, room) = (queues(), Arc::new(Room::default()));
        let first = queues.enqueue(Submission::new("vm-1", 1)).unwrap();
        let dropped = queues.enqueue(Submission::new("vm-1", 1)).unwrap();
        let third = queues.enqueue(Submission::new("vm-1", 1)).unwrap();
        let dropping = thread::spawn(move || drop(dropped));
        let ending = {
            let room = room.clone();
            thread::spawn(move || {
                let first = block_on(first.granted()).unwrap();
                room.enter(1);
                room.leave();
                first.done();
            })
        };
        let third = block_on(third.granted()).unwrap();
        room.enter(1);
        room.leave();
        drop(third);
        dropping.join().unwrap();
        ending.join().unwrap();
        assert_eq!(room.entered(), 2);
        assert_idle(&queues);
    });
}

#[test]
fn chain_tasks_start_once_each_while_a_higher_level_opens_slots() {
    explore(|| {
        let (queues, room) = (queues(), Arc::new(Room::default()));
        let submit = |level: u32| {
            let (queues, room) = (queues.clone(), room.clone());
            thread::spawn(move || {
                let start = move |outcome: Result<queue::Completion, QueueError>| {
                    let completion = outcome.unwrap();
                    room.enter(2);
                    room.leave();
                    completion.done();
                    completion.done();
                };
                queues.submit(Submission::new("vm-1", level), start).unwrap();
            })
        };
        let threads: Vec<JoinHandle<()>> = [1, 2, 1].map(submit).into();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(room.entered(), 3);
        assert_idle(&queues);
    });
}

#[test]
fn a_task_has_one_outcome_when_the_queues_close() {
    explore(|| {
        let (queues, room, gate) = (queues(), Arc::new(Room::default()), Arc::new(Gate::default()));
        let workers = workers(&queues, 1);
        gate.open();
        let closing = {
            let queues = queues.clone();
            thread::spawn(move || queues.close())
        };
        let mut ran = 0;
        for _ in 0..2 {
            let (room, gate) = (room.clone(), gate.clone());
            let work = move |_| async move {
                room.enter(1);
                gate.opened().await;
                room.leave();
            };
            match queues.spawn(Submission::new("vm-1", 1), work).map(|task| block_on(task.finished())) {
                Ok(Ok(())) => ran += 1,
                Err(QueueError::Shutdown) | Ok(Err(TaskError::NotStarted(QueueError::Shutdown))) => {}
                other => panic!("{other:?}"),
            }
        }
        closing.join().unwrap();
        assert_eq!(room.entered(), ran);
        assert_idle(&queues);
        workers.stop();
    });
}
