//! The paths: what most tasks go through, each in the way that takes most of its time.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use queue_lockfree::{
    Admission, Completion, HashKind, Member, Membership, Node, NodeId, NodeOptions, Now as _, QueueError,
    QueueLimits, Ring, Secret, SingleFlight, Submission, TokioNow, WorkQueues, handler_fn,
};

pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// So many take a second or two under valgrind.
    pub(crate) operations: u64,
    pub(crate) run: fn(u64),
}

pub(crate) const PATHS: [Path; 11] = [
    Path { name: "queue/run/idle", operations: 10_000, run: run_idle },
    Path { name: "queue/run/behind", operations: 10_000, run: run_behind },
    Path { name: "queue/submit/idle", operations: 10_000, run: submit_idle },
    Path { name: "queue/submit/behind", operations: 10_000, run: submit_behind },
    Path { name: "queue/spawn/idle", operations: 10_000, run: spawn_idle },
    Path { name: "queue/spawn/behind", operations: 10_000, run: spawn_behind },
    Path { name: "queue/admission", operations: 10_000, run: admission },
    Path { name: "single-flight", operations: 10_000, run: single_flight },
    Path { name: "ring/owner/1000", operations: 20_000, run: ring_owner },
    Path { name: "router/at-the-owner", operations: 5_000, run: at_the_owner },
    Path { name: "router/forwarded", operations: 5_000, run: forwarded },
];

/// Keys in use at once where a path goes over many.
const KEYS: usize = 100;

fn queues() -> WorkQueues {
    WorkQueues::without_ages(QueueLimits::default(), Arc::new(TokioNow::start()))
}

fn keys() -> Vec<String> {
    (0..KEYS).map(|key| format!("volume-{key:04}")).collect()
}

fn over(keys: &[String], operations: u64) -> impl Iterator<Item = &str> {
    keys.iter().map(String::as_str).cycle().take(operations as usize)
}

fn done(granted: Result<Completion, QueueError>) {
    granted.expect("nobody closes the queues").done();
}

fn on_a_runtime<W: Future<Output = ()>>(work: W) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(work);
}

/// What a future that needs no runtime comes to at its first look.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing is in its way"),
    }
}

fn run_idle(operations: u64) {
    let (queues, keys) = (queues(), keys());
    for key in over(&keys, operations) {
        black_box(ready(queues.run(Submission::new(key, 1), |_| async { 1 })).expect("there is room"));
    }
}

fn run_behind(operations: u64) {
    let (queues, keys) = (queues(), keys());
    for key in over(&keys, operations) {
        let first = ready(queues.acquire(Submission::new(key, 1))).expect("there is room");
        let second = queues.enqueue(Submission::new(key, 1)).expect("there is room");
        first.done();
        done(ready(second.granted()));
    }
}

fn submit_idle(operations: u64) {
    let (queues, keys) = (queues(), keys());
    for key in over(&keys, operations) {
        queues.submit(Submission::new(key, 1), done).expect("there is room");
    }
}

fn submit_behind(operations: u64) {
    let (queues, keys) = (queues(), keys());
    for key in over(&keys, operations) {
        let first = ready(queues.acquire(Submission::new(key, 1))).expect("there is room");
        queues.submit(Submission::new(key, 1), done).expect("there is room");
        first.done();
    }
}

/// Tasks that are spawned, so many at once, and seen to their end.
fn spawn(operations: u64, keys: &[String], at_once: usize) {
    on_a_runtime(async {
        let queues = queues();
        let work = async {
            let mut open = Vec::with_capacity(at_once);
            for key in over(keys, operations) {
                let task = queues.spawn(Submission::new(key, 1), |_| async { 1 });
                open.push(task.expect("there is room"));
                if open.len() == at_once {
                    for task in open.drain(..) {
                        black_box(task.finished().await.expect("a task does not panic"));
                    }
                }
            }
        };
        tokio::select! { () = queues.serve() => {} () = work => {} }
    });
}

fn spawn_idle(operations: u64) {
    spawn(operations, &keys(), 1);
}

fn spawn_behind(operations: u64) {
    spawn(operations, &keys()[..1], 100);
}

fn admission(operations: u64) {
    let (queues, keys) = (queues(), keys());
    let admission = Admission::new(queues);
    for key in over(&keys, operations) {
        let admitted = admission.submit(Submission::new(key, 1), "recalculate", 0, |granted| {
            granted.expect("nobody closes the queues").done();
        });
        admitted.expect("none is on its way");
    }
}

fn single_flight(operations: u64) {
    on_a_runtime(async {
        let keys = keys();
        let flights = SingleFlight::new(Arc::new(TokioNow::start()));
        for key in over(&keys, operations) {
            black_box(flights.run(key, u64::MAX, || async { 1 }).await.expect("it lands"));
        }
    });
}

fn ring_owner(operations: u64) {
    let member =
        |id: u16| Member { id: NodeId(id), name: format!("node-{id}"), address: ([127, 0, 0, 1], id).into() };
    let (membership, keys) = (Membership::new(), keys());
    membership.install(Ring::new(1, HashKind::Mixed, (0..1000).map(member)));
    for key in over(&keys, operations) {
        black_box(membership.view().owner(black_box(key)));
    }
}

/// Tasks that enter at the first of two nodes, with keys of the `owner`.
fn routed(operations: u64, owner: NodeId) {
    on_a_runtime(async {
        let (now, membership) = (Arc::new(TokioNow::start()), Membership::new());
        let mut nodes = Vec::new();
        for id in 0..2 {
            let (name, secret) = (format!("node-{id}"), Secret::new([7; 32]));
            let options = NodeOptions::new(NodeId(id), &name, membership.clone(), secret, now.clone());
            let echo = Arc::new(handler_fn(|delivery| async move { delivery.payload }));
            nodes.push(Node::start(options, echo).await.expect("a node starts"));
        }
        membership.install(Ring::new(1, HashKind::Mixed, nodes.iter().map(Node::member)));
        let keys = (0..).map(|key| format!("volume-{key:04}"));
        let keys: Vec<_> =
            keys.filter(|key| membership.view().owner(key) == Some(owner)).take(KEYS).collect();
        let deadline_ns = now.now_ns() + 3_600_000_000_000;
        for key in over(&keys, operations) {
            let answer = nodes[0].submit(key, 1, Bytes::from_static(&[7; 64]), deadline_ns).await;
            black_box(answer.expect("the owner answers"));
        }
        for node in nodes {
            node.shutdown().await;
        }
    });
}

fn at_the_owner(operations: u64) {
    routed(operations, NodeId(0));
}

fn forwarded(operations: u64) {
    routed(operations, NodeId(1));
}
