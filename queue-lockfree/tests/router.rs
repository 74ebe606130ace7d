//! Nodes that forward tasks to the owners of their keys.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use queue_lockfree::{
    Delivery, Directory, Handler, Member, Membership, Node, NodeId, NodeOptions, SubmitError, TokioNow,
    Transport, handler_fn,
};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use common::{Cluster, PATIENCE, options, ring};

/// Answers with the number of the node that runs it.
fn whoami(id: u16) -> Arc<dyn Handler> {
    Arc::new(handler_fn(move |_| async move { Bytes::from(id.to_string()) }))
}

/// A handler that counts its runs and ends each when the gate lets one through.
#[derive(Clone)]
struct Gate {
    started: Arc<Mutex<Vec<Bytes>>>,
    passes: Arc<Semaphore>,
}

impl Gate {
    fn closed() -> Self {
        Self { started: Arc::default(), passes: Arc::new(Semaphore::new(0)) }
    }

    fn handler(&self) -> Arc<dyn Handler> {
        let gate = self.clone();
        Arc::new(handler_fn(move |delivery: Delivery| {
            let gate = gate.clone();
            async move {
                gate.started.lock().unwrap().push(delivery.payload.clone());
                gate.passes.acquire().await.unwrap().forget();
                delivery.payload
            }
        }))
    }

    fn started(&self) -> usize {
        self.started.lock().unwrap().len()
    }

    fn open(&self) {
        self.passes.add_permits(1_000_000);
    }
}

/// Waits until `condition` holds, which it must.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never came true: {what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_at_the_owner_of_its_key_wherever_it_was_submitted() {
    for direct in [false, true] {
        let directory = Directory::new();
        let cluster = Cluster::start_with(3, whoami, |options| {
            if direct {
                options.transport = Transport::Direct(directory.clone());
            }
        })
        .await;
        for key in (0..60).map(|key| format!("volume-{key}")) {
            let owner = cluster.membership.view().owner(&key).unwrap();
            for at in 0..3 {
                assert_eq!(cluster.submit(at, &key, "").await.unwrap(), owner.to_string());
            }
        }
        cluster.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_handler_gets_is_what_was_submitted() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let cluster = Cluster::start(2, |_| {
        let seen = seen.clone();
        Arc::new(handler_fn(move |delivery: Delivery| {
            seen.lock().unwrap().push(delivery);
            async { Bytes::from_static(&[0, 255, 7]) }
        }))
    })
    .await;
    let (key, deadline_ns) = (cluster.key_of(1, 0), cluster.in_time());
    for at in 0..2 {
        let answer = cluster.nodes[at].submit(&key, 2, Bytes::from_static(b"\0\xffbytes"), deadline_ns).await;
        assert_eq!(answer.unwrap(), &[0, 255, 7][..]);
    }
    for (index, delivery) in seen.lock().unwrap().drain(..).enumerate() {
        assert_eq!((delivery.key, delivery.deadline_ns, delivery.epoch), (key.clone(), deadline_ns, 1));
        assert_eq!(delivery.payload, &b"\0\xffbytes"[..]);
        let token = delivery.entitlement.token.unwrap();
        assert_eq!(delivery.entitlement.slot, Some(0));
        assert_eq!((token.generation, token.sequence), (1, index as u64 + 1));
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_a_key_exclude_each_other_over_real_connections() {
    const KEYS: usize = 200;
    const TASKS: usize = 10_000;
    let inside: Arc<Vec<AtomicU32>> = Arc::new((0..KEYS).map(|_| AtomicU32::new(0)).collect());
    let overlaps = Arc::new(AtomicU32::new(0));
    let cluster = Cluster::start(3, |_| {
        let (inside, overlaps) = (inside.clone(), overlaps.clone());
        Arc::new(handler_fn(move |delivery: Delivery| {
            let (inside, overlaps) = (inside.clone(), overlaps.clone());
            async move {
                let inside = &inside[delivery.key.parse::<usize>().unwrap()];
                overlaps.fetch_add(u32::from(inside.fetch_add(1, Ordering::SeqCst) > 0), Ordering::SeqCst);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                delivery.payload
            }
        }))
    })
    .await;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (node, deadline_ns) = (cluster.nodes[task % 3].clone(), cluster.in_time());
        tasks.spawn(async move {
            let payload = Bytes::from(task.to_string());
            let answer =
                node.submit(&(task * 7919 % KEYS).to_string(), 1, payload.clone(), deadline_ns).await;
            assert_eq!(answer.unwrap(), payload, "each submitter gets its own answer");
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    assert_eq!(overlaps.load(Ordering::SeqCst), 0);
    assert!(cluster.nodes.iter().all(|node| node.snapshot().is_empty()));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_of_one_submitter_start_in_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let cluster = Cluster::start(2, |_| {
        let order = order.clone();
        Arc::new(handler_fn(move |delivery: Delivery| {
            order.lock().unwrap().push(u32::from_be_bytes(delivery.payload[..].try_into().unwrap()));
            async move { delivery.payload }
        }))
    })
    .await;
    let key = cluster.key_of(1, 0);
    for at in 0..2 {
        let mut open: Vec<_> = (0..1000_u32)
            .map(|task| Box::pin(cluster.submit(at, &key, task.to_be_bytes().to_vec())))
            .collect();
        // All are polled before any is awaited, so that up to a thousand are open together.
        let mut polled = open.iter_mut().collect::<Vec<_>>();
        std::future::poll_fn(|context| {
            polled.retain_mut(|submit| submit.as_mut().poll(context).is_pending());
            if polled.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        assert!(order.lock().unwrap().drain(..).eq(0..1000));
    }
    cluster.shutdown().await;
}

/// Handlers that take their time on the spot hold up those behind them, and nobody else.
#[allow(clippy::disallowed_methods, reason = "they hold up their thread")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_does_not_wait_for_all_that_came_with_its_request() {
    const TASKS: u32 = 40;
    let answered = Arc::new(AtomicU32::new(0));
    let answered_before_the_last = Arc::new(AtomicU32::new(0));
    let cluster = Cluster::start(2, |_| {
        let (answered, before) = (answered.clone(), answered_before_the_last.clone());
        let started = Arc::new(AtomicU32::new(0));
        Arc::new(handler_fn(move |_| {
            std::thread::sleep(Duration::from_millis(5));
            if started.fetch_add(1, Ordering::Relaxed) + 1 == TASKS {
                before.store(answered.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            async { Bytes::new() }
        }))
    })
    .await;
    let cluster = Arc::new(cluster);
    let mut asking = JoinSet::new();
    for number in 0..TASKS as usize {
        let (key, answered, cluster) = (cluster.key_of(1, number), answered.clone(), cluster.clone());
        asking.spawn(async move {
            cluster.nodes[0].submit(&key, 1, Bytes::new(), cluster.in_time()).await.unwrap();
            answered.fetch_add(1, Ordering::Relaxed);
        });
    }
    asking.join_all().await;
    assert!(
        answered_before_the_last.load(Ordering::Relaxed) > 0,
        "nobody was answered before the last began"
    );
    Arc::into_inner(cluster).unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nested_tasks_hold_their_slots_across_three_nodes() {
    let nodes: Arc<OnceLock<Vec<Weak<Node>>>> = Arc::default();
    let deepest = Arc::new(AtomicU32::new(0));
    // The payload is the rest of the path: each step runs the next one from its own node, and holds its slot.
    let cluster = Cluster::start(3, |id| {
        let (nodes, deepest) = (nodes.clone(), deepest.clone());
        Arc::new(handler_fn(move |delivery: Delivery| {
            let (nodes, deepest) = (nodes.clone(), deepest.clone());
            async move {
                let path = String::from_utf8(delivery.payload.to_vec()).unwrap();
                let Some((next, rest)) = path.split_once(' ') else {
                    deepest.fetch_add(1, Ordering::SeqCst);
                    return Bytes::from(id.to_string());
                };
                let node = nodes.get().unwrap()[usize::from(id)].upgrade().unwrap();
                let inner = node.submit(next, 1, Bytes::from(rest.to_owned()), delivery.deadline_ns).await;
                [Bytes::from(format!("{id} ")), inner.unwrap()].concat().into()
            }
        }))
    })
    .await;
    nodes.set(cluster.nodes.iter().map(Arc::downgrade).collect()).unwrap();
    let cluster = Arc::new(cluster);
    let mut tasks = JoinSet::new();
    for task in 0..300 {
        let cluster = cluster.clone();
        tasks.spawn(async move {
            // One global order of keys: those of node 0, then 1, then 2.
            let [first, second, third] = [0, 1, 2].map(|owner| cluster.key_of(owner, task % 5));
            let answer = cluster.submit(task % 3, &first, format!("{second} {third} .")).await.unwrap();
            assert_eq!(answer, "0 1 2");
        });
    }
    while let Some(joined) = tasks.join_next().await {
        joined.unwrap();
    }
    assert_eq!(deepest.load(Ordering::SeqCst), 300);
    Arc::into_inner(cluster).unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panicking_handler_fails_its_task_and_nothing_else() {
    let cluster = Cluster::start(2, |_| {
        Arc::new(handler_fn(|delivery: Delivery| {
            assert!(delivery.payload != "early", "before the first poll");
            async move {
                tokio::task::yield_now().await;
                assert!(delivery.payload != "late", "in the future");
                delivery.payload
            }
        }))
    })
    .await;
    for at in 0..2 {
        for (payload, message) in [("early", "before the first poll"), ("late", "in the future")] {
            let error = cluster.submit(at, &cluster.key_of(1, 0), payload).await.unwrap_err();
            assert_eq!(error, SubmitError::Failed(format!("the handler panicked: {message}")));
        }
        assert_eq!(cluster.submit(at, &cluster.key_of(1, 0), "fine").await.unwrap(), "fine");
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_task_is_withdrawn_at_its_deadline() {
    let gate = Gate::closed();
    let cluster = Cluster::start(2, |_| gate.handler()).await;
    let key = cluster.key_of(1, 0);
    for at in 0..2 {
        let holder = cluster.submit(at, &key, "holder");
        tokio::pin!(holder);
        tokio::select! {
            biased;
            _ = &mut holder => panic!("the gate is closed"),
            () = eventually("the holder has started", || gate.started() == 1) => {}
        }
        let soon = cluster.after(Duration::from_millis(20));
        let late = cluster.nodes[at].submit(&key, 1, Bytes::from("late"), soon).await;
        assert_eq!(late.unwrap_err(), SubmitError::TimedOut);
        assert!(cluster.nodes[1].snapshot()[0].pending_ages_ns.is_empty());
        gate.passes.add_permits(1);
        assert_eq!(holder.await.unwrap(), "holder");
        assert_eq!(*gate.started.lock().unwrap(), ["holder"]);
        gate.started.lock().unwrap().clear();
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_started_task_is_waited_for_past_its_deadline_while_its_owner_lives() {
    let cluster = Cluster::start(2, |_| {
        Arc::new(handler_fn(|delivery: Delivery| async move {
            // Past the deadline, 20 ms, and five grace periods of 250 ms.
            tokio::time::sleep(Duration::from_millis(1270)).await;
            delivery.payload
        }))
    })
    .await;
    let soon = cluster.after(Duration::from_millis(20));
    let answer = cluster.nodes[0].submit(&cluster.key_of(1, 0), 1, Bytes::from("long"), soon).await;
    // On a machine that stalls for 20 ms the task may not have started in time, but it is never unknown.
    assert!(matches!(answer.as_deref(), Ok(b"long") | Err(SubmitError::TimedOut)), "{answer:?}");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_submit_takes_back_what_has_not_started() {
    let gate = Gate::closed();
    let cluster = Arc::new(Cluster::start(2, |_| gate.handler()).await);
    let key = cluster.key_of(1, 0);
    for at in 0..2 {
        let mut tasks = JoinSet::new();
        for task in ["holder", "dropped"] {
            let (inside, key) = (cluster.clone(), key.clone());
            tasks.spawn(async move { inside.submit(at, &key, task).await });
            let arrived = || {
                cluster.nodes[1]
                    .snapshot()
                    .iter()
                    .any(|queue| task == "holder" || !queue.pending_ages_ns.is_empty())
            };
            eventually("the task has arrived", arrived).await;
        }
        eventually("the holder has started", || gate.started() == 1).await;
        tasks.abort_all();
        while tasks.join_next().await.is_some() {}
        let gone = || cluster.nodes[1].snapshot()[0].pending_ages_ns.is_empty();
        eventually("the waiting task is gone", gone).await;
        assert_eq!(cluster.nodes[1].snapshot()[0].running.len(), 1, "a started task runs to its end");
        gate.passes.add_permits(1);
        eventually("the holder has ended", || cluster.nodes[1].snapshot().is_empty()).await;
        assert_eq!(*gate.started.lock().unwrap(), ["holder"]);
        gate.started.lock().unwrap().clear();
    }
    Arc::into_inner(cluster).unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_node_is_unavailable_and_its_keys_alone() {
    let cluster = Cluster::start(3, whoami).await;
    let (dead, alive) = (cluster.key_of(2, 0), cluster.key_of(1, 0));
    assert_eq!(cluster.submit(0, &dead, "").await.unwrap(), "2");
    cluster.nodes[2].shutdown().await;
    // The first node had a connection to it, and may write to that before it hears that it is closed; the second
    // had none.
    for at in 0..2 {
        let error = loop {
            match cluster.submit(at, &dead, "").await.unwrap_err() {
                SubmitError::Unknown(_) if at == 0 => tokio::task::yield_now().await,
                error => break error,
            }
        };
        assert_eq!(error, SubmitError::NodeUnavailable { node: NodeId(2) });
        assert_eq!(cluster.submit(at, &alive, "").await.unwrap(), "1");
    }
    assert_eq!(cluster.submit(2, &dead, "").await.unwrap_err(), SubmitError::Shutdown);
    assert_eq!(cluster.submit(2, &alive, "").await.unwrap_err(), SubmitError::Shutdown);
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_network_too_a_node_that_was_shut_down_is_unavailable() {
    let directory = Directory::new();
    let direct = |options: &mut NodeOptions| options.transport = Transport::Direct(directory.clone());
    let cluster = Cluster::start_with(2, whoami, direct).await;
    let key = cluster.key_of(1, 0);
    assert_eq!(cluster.submit(0, &key, "").await.unwrap(), "1");
    cluster.nodes[1].shutdown().await;
    let error = cluster.submit(0, &key, "").await.unwrap_err();
    assert_eq!(error, SubmitError::NodeUnavailable { node: NodeId(1) });
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_refuses_who_waits_and_stops_who_does_not_end() {
    let gate = Gate::closed();
    let cluster = Arc::new(Cluster::start(2, |_| gate.handler()).await);
    let key = cluster.key_of(1, 0);
    let mut tasks = JoinSet::new();
    for task in ["running", "waiting"] {
        let (inside, key) = (cluster.clone(), key.clone());
        tasks.spawn(async move { (task, inside.submit(0, &key, task).await.unwrap_err()) });
        eventually("the task has arrived", || {
            cluster.nodes[1]
                .snapshot()
                .iter()
                .any(|queue| task == "running" || !queue.pending_ages_ns.is_empty())
        })
        .await;
    }
    eventually("the first task has started", || gate.started() == 1).await;
    cluster.nodes[1].shutdown().await;
    let mut ends = tasks.join_all().await;
    ends.sort_by_key(|(task, _)| *task);
    assert!(matches!(ends[0], ("running", SubmitError::Unknown(_))), "{ends:?}");
    assert_eq!(ends[1], ("waiting", SubmitError::NodeUnavailable { node: NodeId(1) }));
    assert!(cluster.nodes[1].snapshot().is_empty());
    assert!(TcpListener::bind(cluster.nodes[1].member().address).await.is_ok(), "the port is free");
    Arc::into_inner(cluster).unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_owner_redirects_once() {
    let now = Arc::new(TokioNow::start());
    let memberships = [(); 3].map(|()| Membership::new());
    let mut nodes = Vec::new();
    for (id, membership) in (0..).zip(&memberships) {
        nodes.push(Node::start(options(id, membership, &now), whoami(id)).await.unwrap());
    }
    let all: Vec<Member> = nodes.iter().map(Node::member).collect();
    let before = ring(1, all.clone());
    // By the newer view node 2 has left and its keys belong to others.
    let after = ring(2, all[..2].to_vec());
    memberships[0].install(before.clone());
    memberships[1].install(after.clone());
    memberships[2].install(after.clone());
    let moved = (0..)
        .map(|key| format!("vm-{key}"))
        .find(|key| before.owner(key) == Some(NodeId(2)) && after.owner(key) == Some(NodeId(1)));
    let deadline_ns = u64::MAX;
    let answer = nodes[0].submit(&moved.unwrap(), 1, Bytes::new(), deadline_ns).await;
    assert_eq!(answer.unwrap(), "1", "node 2 has said who owns the key now");
    // A key that node 2 gives to node 0, which still believes in node 2.
    let disputed = (0..)
        .map(|key| format!("vm-{key}"))
        .find(|key| before.owner(key) == Some(NodeId(2)) && after.owner(key) == Some(NodeId(0)));
    let answer = nodes[0].submit(&disputed.unwrap(), 1, Bytes::new(), deadline_ns).await;
    assert_eq!(answer.unwrap_err(), SubmitError::WrongOwner);
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submit_waits_for_the_first_view() {
    let now = Arc::new(TokioNow::start());
    let membership = Membership::new();
    let node = Node::start(options(0, &membership, &now), whoami(0)).await.unwrap();
    let early = node.submit("vm-1", 1, Bytes::new(), 1).await;
    assert_eq!(early.unwrap_err(), SubmitError::TimedOut);
    let waiting = node.submit("vm-1", 1, Bytes::new(), u64::MAX);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(5), &mut waiting).await.is_err());
    membership.install(ring(1, [node.member()]));
    assert_eq!(tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap(), "0");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_and_answers_larger_than_a_frame_fail() {
    let cluster = Cluster::start_with(
        2,
        |_| Arc::new(handler_fn(|_| async { Bytes::from(vec![0; 5000]) })),
        |options| options.limits.frame_bytes = 4096,
    )
    .await;
    let key = cluster.key_of(1, 0);
    for at in 0..2 {
        for payload in [vec![0; 5000], vec![]] {
            let error = cluster.submit(at, &key, payload).await.unwrap_err();
            assert!(matches!(&error, SubmitError::Failed(reason) if reason.contains("exceeds")), "{error:?}");
        }
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_and_too_many_calls_are_refused() {
    let gate = Gate::closed();
    let cluster = Arc::new(
        Cluster::start_with(
            2,
            |_| gate.handler(),
            |options| {
                options.queue_limits.pending_per_key = 1;
                options.limits.calls = 3;
            },
        )
        .await,
    );
    let mut tasks = JoinSet::new();
    let submit = |tasks: &mut JoinSet<_>, key: String| {
        let cluster = cluster.clone();
        tasks.spawn(async move { cluster.submit(0, &key, "").await });
    };
    submit(&mut tasks, cluster.key_of(1, 0));
    eventually("the first has started", || gate.started() == 1).await;
    submit(&mut tasks, cluster.key_of(1, 0));
    eventually("the second waits", || cluster.nodes[1].snapshot()[0].pending_ages_ns.len() == 1).await;
    assert_eq!(cluster.submit(0, &cluster.key_of(1, 0), "").await.unwrap_err(), SubmitError::QueueFull);
    submit(&mut tasks, cluster.key_of(1, 1));
    eventually("another key has started", || gate.started() == 2).await;
    assert_eq!(cluster.submit(0, &cluster.key_of(1, 2), "").await.unwrap_err(), SubmitError::QueueFull);
    gate.open();
    assert!(tasks.join_all().await.into_iter().all(|answer| answer.is_ok()));
    Arc::into_inner(cluster).unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_at_an_owner_is_bounded_in_bytes_wherever_it_was_submitted() {
    const PAYLOAD: usize = 100_000;
    let gate = Gate::closed();
    // Two fit, with their keys and what is counted for each.
    let room = 2 * PAYLOAD + 10_000;
    let cluster =
        Cluster::start_with(2, |_| gate.handler(), |options| options.limits.task_bytes = room).await;
    let cluster = Arc::new(cluster);
    let key = cluster.key_of(1, 0);
    let mut submits = JoinSet::new();
    let submit = |at: usize| {
        let (cluster, key) = (Arc::clone(&cluster), key.clone());
        async move { cluster.submit(at, &key, vec![7; PAYLOAD]).await }
    };
    submits.spawn(submit(0));
    submits.spawn(submit(1));
    let owner = &cluster.nodes[1];
    eventually("one runs and one waits", || {
        gate.started() == 1 && owner.snapshot().iter().any(|queue| !queue.pending_ages_ns.is_empty())
    })
    .await;
    for at in 0..2 {
        assert_eq!(submit(at).await, Err(SubmitError::QueueFull), "submitted at {at}");
    }
    gate.open();
    while let Some(ended) = submits.join_next().await {
        assert_eq!(ended.unwrap().unwrap().len(), PAYLOAD);
    }
    for at in 0..2 {
        assert_eq!(submit(at).await.unwrap().len(), PAYLOAD, "there is room again");
    }
    Arc::into_inner(cluster).unwrap().shutdown().await;
}
