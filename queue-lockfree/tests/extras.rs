//! What lies above the work queues: deduplication, purge, single flight.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::{Cluster, PATIENCE};
use queue_lockfree::{
    Admission, AdmissionError, Admitted, BoxFuture, FlightError, Now, QueueError, QueueLimits, SingleFlight,
    SingleFlightHandler, Submission, TokioNow, WorkQueues, handler_fn,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

fn queues() -> WorkQueues {
    WorkQueues::new(QueueLimits::default(), Arc::new(TokioNow::start()))
}

/// Submits to one queue and keeps what was started, in order.
struct Desk {
    queues: WorkQueues,
    admission: Admission,
    level: u32,
    started: Arc<Mutex<Vec<(&'static str, Admitted)>>>,
    refused: Arc<Mutex<Vec<(&'static str, QueueError)>>>,
}

impl Desk {
    fn of_level(level: u32) -> Self {
        let queues = queues();
        let admission = Admission::new(queues.clone());
        Self { queues, admission, level, started: Arc::default(), refused: Arc::default() }
    }

    fn ask(&self, task: &'static str, kind: &str, max_pending: usize) -> Result<(), AdmissionError> {
        let (started, refused) = (Arc::clone(&self.started), Arc::clone(&self.refused));
        let submission = Submission::new("ps-1", self.level);
        self.admission.submit(submission, kind, max_pending, move |granted| match granted {
            Ok(admitted) => started.lock().unwrap().push((task, admitted)),
            Err(error) => refused.lock().unwrap().push((task, error)),
        })
    }

    fn running(&self) -> Vec<&'static str> {
        self.started.lock().unwrap().iter().map(|(task, _)| *task).collect()
    }

    fn end_first(&self) {
        let (_, admitted) = self.started.lock().unwrap().remove(0);
        admitted.done();
    }
}

const DUPLICATE: Result<(), AdmissionError> = Err(AdmissionError::Duplicate);

/// One runs, two wait, the fourth is refused; without any pause between, where the original's admits only two.
#[test]
fn of_a_burst_on_an_idle_queue_one_runs_and_as_many_wait_as_may() {
    let desk = Desk::of_level(1);
    for task in ["a", "b", "c"] {
        assert_eq!(desk.ask(task, "kind", 2), Ok(()));
    }
    assert_eq!(desk.ask("d", "kind", 2), DUPLICATE);
    assert_eq!(desk.admission.count("ps-1", "kind"), (1, 2));
    desk.end_first();
    assert_eq!(desk.running(), ["b"]);
    assert_eq!(desk.ask("e", "kind", 2), Ok(()));
    assert_eq!(desk.ask("f", "kind", 2), DUPLICATE);
}

#[test]
fn kinds_of_one_queue_are_counted_apart() {
    let desk = Desk::of_level(1);
    assert_eq!(desk.ask("a", "one", 0), Ok(()));
    assert_eq!(desk.ask("b", "other", 0), Ok(()));
    assert_eq!(desk.ask("c", "other", 0), DUPLICATE, "the first of its kind still waits");
    assert_eq!(desk.running(), ["a"]);
}

#[test]
fn with_no_pending_allowed_a_running_task_is_enough_to_refuse() {
    let desk = Desk::of_level(1);
    assert_eq!(desk.ask("a", "kind", 0), Ok(()));
    assert_eq!(desk.ask("b", "kind", 0), DUPLICATE);
    desk.end_first();
    assert_eq!(desk.admission.count("ps-1", "kind"), (0, 0));
    assert_eq!(desk.ask("c", "kind", 0), Ok(()));
    assert_eq!(desk.running(), ["c"]);
}

/// In the original the first of two running twins to end took their kind out of the table.
#[test]
fn a_kind_is_known_until_the_last_of_its_twins_is_done() {
    let desk = Desk::of_level(2);
    assert_eq!(desk.ask("a", "kind", 1), Ok(()));
    assert_eq!(desk.ask("b", "kind", 1), Ok(()));
    assert_eq!(desk.running(), ["a", "b"]);
    desk.end_first();
    assert_eq!(desk.ask("c", "kind", 0), DUPLICATE);
    desk.end_first();
    assert_eq!(desk.ask("d", "kind", 0), Ok(()));
}

#[test]
fn whoever_does_not_start_gives_the_place_back() {
    let desk = Desk::of_level(1);
    assert_eq!(desk.ask("a", "kind", 1), Ok(()));
    assert_eq!(desk.ask("b", "kind", 1), Ok(()));
    assert_eq!(desk.queues.purge("ps-1"), 1);
    assert_eq!(*desk.refused.lock().unwrap(), [("b", QueueError::Purged)]);
    assert_eq!(desk.ask("c", "kind", 1), Ok(()));
    desk.queues.close();
    assert_eq!(desk.ask("d", "other", 1), Err(AdmissionError::Queue(QueueError::Shutdown)));
    assert_eq!(desk.admission.count("ps-1", "other"), (0, 0));
    assert_eq!(desk.admission.count("ps-1", "kind"), (1, 0));
}

/// The original called back under its one lock, and a panic left its count behind.
#[test]
fn a_start_may_submit_and_may_panic() {
    let desk = Desk::of_level(1);
    let (admission, inner) = (desk.admission.clone(), desk.admission.clone());
    let submitted = admission.submit(Submission::new("ps-1", 1), "kind", 0, move |_admitted| {
        assert_eq!(inner.submit(Submission::new("ps-1", 1), "kind", 0, |_| ()), DUPLICATE);
        panic!("a start that fails");
    });
    assert_eq!(submitted, Ok(()));
    assert_eq!(desk.admission.count("ps-1", "kind"), (0, 0));
    assert_eq!(desk.ask("a", "kind", 0), Ok(()));
}

/// In the original the purged queue lived on beside the new one: A, C then C, B then C, E overlapped at level 1.
#[test]
fn a_purge_beside_a_running_task_keeps_the_queue_one() {
    let desk = Desk::of_level(1);
    for task in ["a", "b"] {
        desk.ask(task, "kind", 9).unwrap();
    }
    assert_eq!(desk.queues.purge("ps-1"), 1);
    for task in ["c", "d"] {
        desk.ask(task, "kind", 9).unwrap();
        assert_eq!(desk.running(), ["a"], "still inside, purge or not");
    }
    desk.end_first();
    assert_eq!(desk.running(), ["c"]);
    assert_eq!(desk.queues.purge("ps-1"), 1);
    desk.ask("e", "kind", 9).unwrap();
    desk.end_first();
    assert_eq!(desk.running(), ["e"]);
    desk.end_first();
    assert!(desk.queues.snapshot().is_empty());
    assert_eq!(desk.queues.purge("ps-1"), 0);
}

/// Work that waits at a gate and says which run it was.
#[derive(Clone)]
struct Gated {
    runs: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

impl Gated {
    fn new() -> Self {
        Self { runs: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn once(&self) -> impl FnOnce() -> BoxFuture<'static, usize> + Send + use<> {
        let work = self.clone();
        || Box::pin(work.run())
    }

    async fn run(self) -> usize {
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        drop(self.gate.acquire().await.unwrap());
        run
    }
}

/// The paused clock moves only when nothing else can, so all have asked by the time that the gate opens.
#[tokio::test(start_paused = true)]
async fn all_who_ask_meanwhile_share_one_run_and_who_comes_later_gets_another() {
    let (flights, work) = (SingleFlight::new(Arc::new(TokioNow::start())), Gated::new());
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        let (flights, work) = (flights.clone(), work.clone());
        callers.spawn(async move { flights.run("host-1", u64::MAX, work.once()).await });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(flights.len(), 1);
    let other = Gated::new();
    other.gate.add_permits(1);
    assert_eq!(flights.run("host-2", u64::MAX, other.once()).await, Ok(1), "not held up by host-1");
    work.gate.add_permits(100);
    assert_eq!(callers.join_all().await, vec![Ok(1); 10]);
    assert!(flights.is_empty());
    assert_eq!(flights.run("host-1", u64::MAX, work.once()).await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_shared_and_leaves_the_key_free() {
    let flights = SingleFlight::<usize>::new(Arc::new(TokioNow::start()));
    let failing = || async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        panic!("no route")
    };
    let (first, second) =
        tokio::join!(flights.run("host-1", u64::MAX, failing), flights.run("host-1", u64::MAX, failing));
    let panicked = Err(FlightError::Panicked("no route".to_owned()));
    assert_eq!((first, second), (panicked.clone(), panicked));
    assert_eq!(flights.run("host-1", u64::MAX, || async { 3 }).await, Ok(3));
}

/// The first caller's deadline passes, the second gives up; neither takes the flight down for the third.
#[tokio::test(start_paused = true)]
async fn a_flight_belongs_to_nobody_who_waits_for_it() {
    let now = Arc::new(TokioNow::start());
    let (flights, work) = (SingleFlight::new(now.clone()), Gated::new());
    let deadline_ns = now.now_ns() + 5_000_000;
    let first = flights.run("host-1", deadline_ns, work.once());
    let second = tokio::time::timeout(Duration::from_millis(5), flights.run("host-1", u64::MAX, work.once()));
    let third = flights.run("host-1", u64::MAX, work.once());
    let (first, second, third, ()) = tokio::join!(first, second, third, async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        work.gate.add_permits(1);
    });
    assert_eq!(first, Err(FlightError::TimedOut));
    assert!(second.is_err());
    assert_eq!(third, Ok(1));
}

/// Asked for at every node of three, a key runs once, at its owner.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_ring_a_key_runs_once_for_all_nodes() {
    let (work, asked) = (Gated::new(), Arc::new(AtomicUsize::new(0)));
    let now = Arc::new(TokioNow::start());
    let cluster = Cluster::start(3, |_| {
        let (work, now) = (work.clone(), now.clone());
        let inner = handler_fn(move |_| {
            let work = work.clone();
            async move { Bytes::from(work.run().await.to_string()) }
        });
        let shared = SingleFlightHandler::new(Arc::new(inner), now);
        let asked = Arc::clone(&asked);
        // Counts who has arrived at an owner, so that the gate opens when all have.
        Arc::new(Counted { shared: Arc::new(shared), asked })
    })
    .await;
    let mut callers = JoinSet::new();
    for node in cluster.nodes.iter().cycle().take(12) {
        let (node, deadline_ns) = (Arc::clone(node), cluster.in_time());
        callers.spawn(async move { node.submit("controller-1", 0, Bytes::new(), deadline_ns).await });
    }
    let all_there = tokio::time::timeout(PATIENCE, async {
        while asked.load(Ordering::Relaxed) < 12 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    all_there.await.expect("all arrive");
    work.gate.add_permits(100);
    for answer in callers.join_all().await {
        assert_eq!(answer.unwrap(), "1");
    }
    assert_eq!(work.runs.load(Ordering::Relaxed), 1);
    cluster.shutdown().await;
}

struct Counted {
    shared: Arc<SingleFlightHandler>,
    asked: Arc<AtomicUsize>,
}

impl queue_lockfree::Handler for Counted {
    fn run(&self, delivery: queue_lockfree::Delivery) -> BoxFuture<'_, Bytes> {
        Box::pin(async move {
            let mut run = self.shared.run(delivery);
            let mut counted = false;
            // Counted when it has joined the flight, which its first poll does.
            std::future::poll_fn(|context| {
                let poll = run.as_mut().poll(context);
                if !std::mem::replace(&mut counted, true) {
                    self.asked.fetch_add(1, Ordering::Relaxed);
                }
                poll
            })
            .await
        })
    }
}
