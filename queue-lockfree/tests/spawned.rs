//! Tasks that the queues run themselves, and how keys survive tasks that go wrong.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use queue_lockfree::{
    Now, QueueError, QueueLimits, QueueMetrics, Submission, Task, TaskError, TokioNow, WorkQueues,
};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use common::cases;

/// A clock that the test moves.
#[derive(Debug, Default)]
struct HandClock(AtomicU64);

impl Now for HandClock {
    fn now_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Queues with workers that end with it.
struct Served {
    queues: WorkQueues,
    _workers: JoinSet<()>,
}

fn served(workers: usize) -> Served {
    let queues = WorkQueues::new(QueueLimits::default(), Arc::new(TokioNow::start()));
    let mut set = JoinSet::new();
    for _ in 0..workers {
        let queues = queues.clone();
        set.spawn(async move { queues.serve().await });
    }
    Served { queues, _workers: set }
}

async fn in_time<T>(task: Task<T>) -> Result<T, TaskError> {
    tokio::time::timeout(Duration::from_secs(30), task.finished()).await.expect("a task ends")
}

#[tokio::test]
async fn a_spawned_task_gives_its_result_and_its_slot_is_free_by_then() {
    let served = served(1);
    let task = served.queues.spawn(Submission::new("vm-1", 1), |entitlement| async move { entitlement.slot });
    assert_eq!(in_time(task.unwrap()).await, Ok(Some(0)));
    assert!(served.queues.snapshot().is_empty());
    let unlimited =
        served.queues.spawn(Submission::new("vm-1", 0), |entitlement| async move { entitlement.slot });
    assert_eq!(in_time(unlimited.unwrap()).await, Ok(None));
}

#[tokio::test]
async fn a_suspended_task_keeps_its_slot_and_no_worker() {
    let served = served(1);
    let (go_on, told) = oneshot::channel::<()>();
    let first = served.queues.spawn(Submission::new("vm-1", 1), |_| told).unwrap();
    let second = served.queues.spawn(Submission::new("vm-1", 1), |_| async { "second" }).unwrap();
    let other = served.queues.spawn(Submission::new("vm-2", 1), |_| async { "other" }).unwrap();
    assert_eq!(in_time(other).await, Ok("other"), "the only worker is free for it");
    let snapshot = served.queues.snapshot();
    assert_eq!((snapshot[0].running.len(), snapshot[0].pending_ages_ns.len()), (1, 1));
    go_on.send(()).unwrap();
    assert_eq!(in_time(first).await, Ok(Ok(())));
    assert_eq!(in_time(second).await, Ok("second"));
}

#[tokio::test]
async fn a_panicking_task_fails_alone() {
    let served = served(1);
    let early = served
        .queues
        .spawn(Submission::new("vm-1", 1), |_| -> std::future::Ready<()> { panic!("on purpose") });
    let late = served.queues.spawn(Submission::new("vm-1", 1), |_| async {
        tokio::task::yield_now().await;
        panic!("on purpose")
    });
    let fine = served.queues.spawn(Submission::new("vm-1", 1), |_| async { 3 }).unwrap();
    assert_eq!(in_time(early.unwrap()).await, Err(TaskError::Panicked));
    assert_eq!(in_time::<()>(late.unwrap()).await, Err(TaskError::Panicked));
    assert_eq!(in_time(fine).await, Ok(3));
    let metrics = served.queues.metrics();
    assert_eq!((metrics.completed, metrics.abandoned), (1, 2));
}

#[tokio::test]
async fn a_dropped_handle_takes_back_what_waits_and_leaves_alone_what_runs() {
    let served = served(1);
    let (go_on, told) = oneshot::channel::<()>();
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = ran.clone();
    drop(served.queues.spawn(Submission::new("vm-1", 1), move |_| async move {
        told.await.unwrap();
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    let counted = ran.clone();
    drop(served.queues.spawn(Submission::new("vm-1", 1), move |_| async move {
        counted.fetch_add(10, Ordering::SeqCst);
    }));
    let last = served.queues.spawn(Submission::new("vm-1", 1), |_| async {}).unwrap();
    go_on.send(()).unwrap();
    in_time(last).await.unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert_eq!(served.queues.metrics().withdrawn, 1);
}

#[tokio::test]
async fn a_task_that_nobody_can_wake_does_not_wedge_its_key() {
    let served = served(1);
    drop(served.queues.spawn(Submission::new("vm-1", 1), |_| std::future::pending::<()>()));
    let kept = served.queues.spawn(Submission::new("vm-1", 1), |_| std::future::pending::<()>()).unwrap();
    let next = served.queues.spawn(Submission::new("vm-1", 1), |_| async { "next" }).unwrap();
    while served.queues.metrics().started < 2 {
        tokio::task::yield_now().await;
    }
    drop(kept);
    assert_eq!(in_time(next).await, Ok("next"));
    assert_eq!(served.queues.metrics().abandoned, 2);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_task_is_told_at_its_deadline_and_a_running_one_is_not() {
    let served = served(1);
    let (go_on, told) = oneshot::channel::<u8>();
    let running = served.queues.spawn(Submission::new("vm-1", 1).until(10_000_000), |_| told).unwrap();
    let late = served.queues.spawn(Submission::new("vm-1", 1).until(20_000_000), |_| async {}).unwrap();
    assert_eq!(in_time(late).await, Err(QueueError::TimedOut.into()));
    go_on.send(7).unwrap();
    assert_eq!(in_time(running).await, Ok(Ok(7)), "its deadline bounded the wait alone");
    assert!(served.queues.snapshot().is_empty());
}

#[tokio::test]
async fn closing_refuses_who_waits() {
    let served = served(1);
    let (go_on, told) = oneshot::channel::<u8>();
    let running = served.queues.spawn(Submission::new("vm-1", 1), |_| told).unwrap();
    let waiting = served.queues.spawn(Submission::new("vm-1", 1), |_| async {}).unwrap();
    served.queues.close();
    assert_eq!(in_time(waiting).await, Err(QueueError::Shutdown.into()));
    go_on.send(7).unwrap();
    assert_eq!(in_time(running).await, Ok(Ok(7)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_holds_keep_the_outer_slot_while_the_inner_task_waits() {
    let served = Arc::new(served(2));
    let (go_on, told) = oneshot::channel::<()>();
    let inner_holder = served.queues.spawn(Submission::new("host-1", 1), |_| told).unwrap();
    let queues = served.queues.clone();
    let outer = served.queues.spawn(Submission::new("vm-1", 1), move |_| async move {
        let inner = queues.spawn(Submission::new("host-1", 1), |_| async { "inner" }).unwrap();
        inner.finished().await.unwrap()
    });
    let after = served.queues.spawn(Submission::new("vm-1", 1), |_| async { "after" }).unwrap();
    while served.queues.metrics().pending < 2 {
        tokio::task::yield_now().await;
    }
    let snapshot = served.queues.snapshot();
    for queue in &snapshot {
        assert_eq!((queue.running.len(), queue.pending_ages_ns.len()), (1, 1), "{}", queue.key);
    }
    assert_eq!(snapshot.len(), 2);
    go_on.send(()).unwrap();
    in_time(inner_holder).await.unwrap().unwrap();
    assert_eq!(in_time(outer.unwrap()).await, Ok("inner"));
    assert_eq!(in_time(after).await, Ok("after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_worker_leaves_its_tasks_to_the_others() {
    let queues = WorkQueues::new(QueueLimits::default(), Arc::new(TokioNow::start()));
    let tasks: Vec<_> = (0..1000)
        .map(|task| {
            let work = move |_| async move {
                tokio::task::yield_now().await;
                task
            };
            queues.spawn(Submission::new(&format!("vm-{}", task % 10), 1), work).unwrap()
        })
        .collect();
    let mut workers = JoinSet::new();
    for round in 0..20 {
        let queues = queues.clone();
        let worker = workers.spawn(async move { queues.serve().await });
        tokio::task::yield_now().await;
        if round < 19 {
            worker.abort();
        }
    }
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(in_time(task).await, Ok(number));
    }
}

#[test]
fn a_leaked_completion_holds_its_key_no_longer_than_its_limit() {
    let clock = Arc::new(HandClock::default());
    let queues = WorkQueues::new(QueueLimits::default(), clock.clone());
    let started = Arc::new(Mutex::new(Vec::new()));
    queues
        .submit(Submission::new("vm-1", 1).for_at_most(100), |turn| std::mem::forget(turn.unwrap()))
        .unwrap();
    for task in 0..2 {
        let started = started.clone();
        let note = move |turn: Result<_, _>| started.lock().unwrap().push((task, turn.unwrap()));
        queues.submit(Submission::new("vm-1", 1).for_at_most(100), note).unwrap();
    }
    clock.0.store(99, Ordering::Relaxed);
    assert_eq!(queues.reclaim(), 0);
    assert!(started.lock().unwrap().is_empty());
    clock.0.store(100, Ordering::Relaxed);
    assert_eq!(queues.reclaim(), 1);
    assert_eq!(started.lock().unwrap().len(), 1, "one slot came free, one task started");
    assert_eq!(queues.metrics().abandoned, 1);

    // The next holder is late too, and lives: its signal after the limit frees nobody else's slot.
    clock.0.store(200, Ordering::Relaxed);
    assert_eq!(queues.reclaim(), 1);
    let late = started.lock().unwrap().remove(0).1;
    late.done();
    assert_eq!(queues.metrics().running, 1);
    assert_eq!(queues.metrics().abandoned, 2);
    started.lock().unwrap().remove(0).1.done();
    assert!(queues.snapshot().is_empty());
}

#[test]
fn a_submit_ends_an_overdue_hold_of_its_key() {
    let clock = Arc::new(HandClock::default());
    let queues = WorkQueues::new(QueueLimits::default(), clock.clone());
    queues
        .submit(Submission::new("vm-1", 1).for_at_most(100), |turn| std::mem::forget(turn.unwrap()))
        .unwrap();
    clock.0.store(100, Ordering::Relaxed);
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = ran.clone();
    let count = move |turn: Result<queue_lockfree::Completion, QueueError>| {
        counted.fetch_add(1, Ordering::SeqCst);
        turn.unwrap().done();
    };
    queues.submit(Submission::new("vm-1", 1), count).unwrap();
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert!(queues.snapshot().is_empty());
}

#[test]
fn the_depth_alarm_goes_off_at_fifty_times_five_to_the_n_and_is_reset_by_a_free_slot() {
    let queues = WorkQueues::new(QueueLimits::default(), Arc::new(HandClock::default()));
    let crowd =
        |count| (0..count).map(|_| queues.enqueue(Submission::new("vm-1", 1)).unwrap()).collect::<Vec<_>>();
    let turns = crowd(51);
    assert_eq!(queues.metrics().alarms, 0, "one runs, fifty wait");
    let more = crowd(300);
    assert_eq!(queues.metrics().alarms, 2, "at 51 and at 251");
    drop((turns, more));
    drop(crowd(52));
    assert_eq!(queues.metrics().alarms, 3, "the queue was idle, so it starts at fifty again");
}

#[derive(Clone, Debug)]
struct Planned {
    key: u8,
    level: u32,
    suspensions: u32,
    ends: Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Normally,
    InPanic,
    /// Its handle is dropped at once.
    Unobserved,
}

fn planned() -> impl Strategy<Value = Planned> {
    let ends = prop_oneof![6 => Just(Ends::Normally), 1 => Just(Ends::InPanic), 1 => Just(Ends::Unobserved)];
    (0_u8..4, 1_u32..4, 0_u32..4, ends).prop_map(|(key, level, suspensions, ends)| Planned {
        key,
        level,
        suspensions,
        ends,
    })
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn tasks_start_in_order_under_their_level_and_each_ends_once(plan in proptest::collection::vec(planned(), 1..200)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
        // The level of a key is fixed here, so that "never more than the level" has one meaning.
        let level = |key: u8| plan.iter().find(|task| task.key == key).map_or(1, |task| task.level);
        let started = Arc::new(Mutex::new(vec![Vec::new(); 4]));
        let inside: Arc<Vec<AtomicUsize>> = Arc::new((0..4).map(|_| AtomicUsize::new(0)).collect());
        let crowded = Arc::new(AtomicUsize::new(0));
        let metrics: QueueMetrics = runtime.block_on(async {
            let served = served(2);
            let mut tasks = Vec::new();
            for (number, Planned { key, suspensions, ends, .. }) in plan.iter().cloned().enumerate() {
                let (started, inside, crowded) = (started.clone(), inside.clone(), crowded.clone());
                let limit = level(key) as usize;
                let work = move |_| async move {
                    if inside[usize::from(key)].fetch_add(1, Ordering::SeqCst) >= limit {
                        crowded.fetch_add(1, Ordering::SeqCst);
                    }
                    started.lock().unwrap()[usize::from(key)].push(number);
                    for _ in 0..suspensions {
                        tokio::task::yield_now().await;
                    }
                    inside[usize::from(key)].fetch_sub(1, Ordering::SeqCst);
                    assert!(ends != Ends::InPanic, "on purpose");
                    number
                };
                let task = served.queues.spawn(Submission::new(&key.to_string(), level(key)), work).unwrap();
                if ends != Ends::Unobserved {
                    tasks.push((number, ends, task));
                }
            }
            for (number, ends, task) in tasks {
                let expected = if ends == Ends::InPanic { Err(TaskError::Panicked) } else { Ok(number) };
                assert_eq!(in_time(task).await, expected);
            }
            while served.queues.metrics().running > 0 {
                tokio::task::yield_now().await;
            }
            served.queues.metrics()
        });
        prop_assert_eq!(crowded.load(Ordering::SeqCst), 0);
        let started = started.lock().unwrap();
        for (key, numbers) in started.iter().enumerate() {
            if level(key as u8) == 1 {
                prop_assert!(numbers.is_sorted(), "key {} started in the order {:?}", key, numbers);
            }
            let mut unique = numbers.clone();
            unique.sort_unstable();
            unique.dedup();
            prop_assert_eq!(unique.len(), numbers.len(), "a task ran twice");
        }
        let ran: usize = started.iter().map(Vec::len).sum();
        prop_assert_eq!(metrics.started, ran as u64);
        prop_assert_eq!(metrics.submitted, metrics.started + metrics.withdrawn, "nothing is lost");
        prop_assert_eq!(metrics.started, metrics.completed + metrics.abandoned);
        prop_assert_eq!((metrics.keys, metrics.running, metrics.pending), (0, 0, 0));
    }
}
