//! Peers that are not what they should be: strangers, garbage, silence, broken connections.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use queue_lockfree::{
    Delivery, Handler, Member, Membership, Node, NodeId, Now as _, Secret, SubmitError, Takeover, TokioNow,
    handler_fn,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use common::{Cluster, PATIENCE, SECRET, cases, options, ring};

fn echo(_: u16) -> Arc<dyn Handler> {
    Arc::new(handler_fn(|delivery: Delivery| async move { delivery.payload }))
}

/// A frame by the format's definition: length, version, kind, correlation, fields.
fn frame(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
    let body = [&[1, kind][..], &0_u64.to_be_bytes(), &fields.concat()].concat();
    [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
}

fn hello(secret: [u8; 32], to: u16) -> Vec<u8> {
    frame(1, &[&secret, &9_u16.to_be_bytes(), &to.to_be_bytes()])
}

fn welcome(secret: [u8; 32], node: u16) -> Vec<u8> {
    frame(2, &[&secret, &node.to_be_bytes()])
}

/// Sends `bytes` and returns all that comes back until the other end closes, which it must.
async fn talk(node: &Node, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(node.member().address).await.unwrap();
    let mut heard = Vec::new();
    // A write or read may meet a reset, since the node closes with our bytes unread: that is closed, too.
    if stream.write_all(bytes).await.is_ok() {
        let closed = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
        drop(closed.expect("the node closes the connection"));
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_is_refused_and_learns_nothing() {
    let cluster = Cluster::start(1, echo).await;
    for bytes in [
        hello([0; 32], 0),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        frame(3, &[&[0; 30]]),
        vec![0xff; 64],
        vec![0; 64],
    ] {
        assert!(talk(&cluster.nodes[0], &bytes).await.is_empty());
    }
    assert_eq!(cluster.submit(0, "vm-1", "still here").await.unwrap(), "still here");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_stranger_is_closed_in_time() {
    let cluster =
        Cluster::start_with(1, echo, |options| options.limits.connect = Duration::from_millis(30)).await;
    assert!(talk(&cluster.nodes[0], &[]).await.is_empty());
    assert!(talk(&cluster.nodes[0], &hello(SECRET, 0)[..20]).await.is_empty());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reached_by_mistake_says_who_it_is_and_closes() {
    let cluster = Cluster::start(1, echo).await;
    assert_eq!(talk(&cluster.nodes[0], &hello(SECRET, 5)).await, welcome(SECRET, 0));
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_oversized_or_malformed_frame_closes_its_connection_alone() {
    let cluster = Cluster::start_with(2, echo, |options| options.limits.frame_bytes = 4096).await;
    let key = cluster.key_of(1, 0);
    assert_eq!(cluster.submit(0, &key, "before").await.unwrap(), "before");
    let oversized = 4097_u32.to_be_bytes().to_vec();
    let (wrong_kind, wrong_side) = (frame(99, &[]), frame(4, &[&[1]]));
    let key_too_long = frame(3, &[&[0; 8 + 4 + 8], &u32::MAX.to_be_bytes(), b"vm-1"]);
    for bytes in [oversized, wrong_kind, wrong_side, key_too_long] {
        let heard = talk(&cluster.nodes[1], &[hello(SECRET, 1), bytes].concat()).await;
        assert!(heard.is_empty() || heard == welcome(SECRET, 1), "{heard:?}");
    }
    assert_eq!(cluster.submit(0, &key, "after").await.unwrap(), "after");
    cluster.shutdown().await;
}

#[test]
fn a_node_survives_any_bytes_from_a_member() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cluster = runtime.block_on(Cluster::start(1, echo));
    proptest!(cases(64), |(mut garbage in any::<Vec<u8>>(), framed in any::<bool>())| {
        runtime.block_on(async {
            if framed {
                garbage = [&u32::try_from(garbage.len() + 1).unwrap().to_be_bytes()[..], &[1], &garbage].concat();
            }
            let mut stream = TcpStream::connect(cluster.nodes[0].member().address).await.unwrap();
            stream.write_all(&hello(SECRET, 0)).await.unwrap();
            let mut heard = vec![0; welcome(SECRET, 0).len()];
            stream.read_exact(&mut heard).await.unwrap();
            // Refused midway is as good as accepted; what counts is that the node goes on.
            drop(stream.write_all(&garbage).await);
            drop(stream);
        });
    });
    runtime.block_on(async {
        assert_eq!(cluster.submit(0, "vm-1", "still here").await.unwrap(), "still here");
        cluster.shutdown().await;
    });
}

/// A node 0 in a ring with a listener that the test plays the part of node 1 at.
async fn node_and_impostor() -> (Node, TcpListener, String) {
    let (now, membership) = (Arc::new(TokioNow::start()), Membership::new());
    let node = Node::start(options(0, &membership, &now), echo(0)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    membership.install(ring(1, [node.member(), Member { id: NodeId(1), name: "node-1".into(), address }]));
    let view = membership.view();
    let key = (0..).map(|key| format!("vm-{key}")).find(|key| view.owner(key) == Some(NodeId(1)));
    (node, listener, key.unwrap())
}

/// Accepts one connection as node 1 would, and reads the first request on it.
async fn accept_a_request(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut heard = vec![0; hello(SECRET, 1).len()];
    stream.read_exact(&mut heard).await.unwrap();
    stream.write_all(&welcome(SECRET, 1)).await.unwrap();
    stream.read_exact(&mut [0; 20]).await.unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_falls_silent_leaves_the_outcome_unknown_within_a_bound() {
    let (node, listener, key) = node_and_impostor().await;
    let mut silence = JoinSet::new();
    silence.spawn(async move {
        let _open = accept_a_request(&listener).await;
        std::future::pending::<()>().await;
    });
    // The deadline is a second after the start of the clock, which was just now; then two graces of 250 ms.
    let answer = timeout(PATIENCE, node.submit(&key, 1, Bytes::new(), 1_000_000_000)).await.expect("it ends");
    let error = answer.unwrap_err();
    assert!(
        matches!(&error, SubmitError::Unknown(reason) if reason.contains("does not answer")),
        "{error:?}"
    );
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_leaves_the_outcome_of_what_it_carried_unknown() {
    let (node, listener, key) = node_and_impostor().await;
    let mut breaking = JoinSet::new();
    breaking.spawn(async move { drop(accept_a_request(&listener).await) });
    let answer = timeout(PATIENCE, node.submit(&key, 1, Bytes::new(), u64::MAX)).await.expect("it ends");
    let error = answer.unwrap_err();
    assert!(matches!(&error, SubmitError::Unknown(reason) if reason.contains("broke")), "{error:?}");
    breaking.join_all().await;
    let answer = timeout(PATIENCE, node.submit(&key, 1, Bytes::new(), u64::MAX)).await.expect("it ends");
    assert_eq!(answer.unwrap_err(), SubmitError::NodeUnavailable { node: NodeId(1) }, "the listener is gone");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_in_place_of_a_node_without_the_secret_gets_no_task() {
    let (node, listener, key) = node_and_impostor().await;
    let mut answering = JoinSet::new();
    answering.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&welcome([0; 32], 1)).await.unwrap();
        let mut heard = Vec::new();
        drop(stream.read_to_end(&mut heard).await);
        heard
    });
    let answer = timeout(PATIENCE, node.submit(&key, 1, Bytes::new(), u64::MAX)).await.expect("it ends");
    assert_eq!(answer.unwrap_err(), SubmitError::NodeUnavailable { node: NodeId(1) });
    let heard = timeout(PATIENCE, answering.join_next()).await.unwrap().unwrap().unwrap();
    assert!(heard.len() <= hello(SECRET, 1).len(), "nothing but the greeting was said");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_two_runs_do_not_mix() {
    let (now, membership) = (Arc::new(TokioNow::start()), Membership::new());
    let mut nodes = Vec::new();
    for id in 0..2 {
        let mut options = options(id, &membership, &now);
        options.secret = Secret::new([u8::try_from(id).unwrap(); 32]);
        nodes.push(Node::start(options, echo(id)).await.unwrap());
    }
    membership.install(ring(1, nodes.iter().map(Node::member)));
    let view = membership.view();
    let key = (0..).map(|key| format!("vm-{key}")).find(|key| view.owner(key) == Some(NodeId(1))).unwrap();
    let answer = timeout(PATIENCE, nodes[0].submit(&key, 1, Bytes::new(), u64::MAX)).await.expect("it ends");
    assert_eq!(answer.unwrap_err(), SubmitError::NodeUnavailable { node: NodeId(1) });
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_node_that_does_not_read_is_bounded_in_bytes() {
    const TASK_BYTES: usize = 1 << 19;
    let (now, membership) = (Arc::new(TokioNow::start()), Membership::new());
    let mut options = options(0, &membership, &now);
    options.limits.outbox_bytes = 4 * TASK_BYTES;
    options.limits.write = PATIENCE;
    let node = Node::start(options, echo(0)).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    membership.install(ring(1, [node.member(), Member { id: NodeId(1), name: "node-1".into(), address }]));
    let view = membership.view();
    let key = (0..).map(|key| format!("vm-{key}")).find(|key| view.owner(key) == Some(NodeId(1))).unwrap();
    let deaf = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&welcome(SECRET, 1)).await.unwrap();
        stream
    };
    let tasks: Vec<Bytes> = (0..40).map(|_| Bytes::from(vec![7; TASK_BYTES])).collect();
    let deadline_ns = now.now_ns() + 500_000_000;
    let node = Arc::new(node);
    let mut submits = JoinSet::new();
    let mut submit = |tasks: &[Bytes]| {
        for task in tasks {
            let (node, key, task) = (Arc::clone(&node), key.clone(), task.clone());
            submits.spawn(async move { node.submit(&key, 1, task, deadline_ns).await });
        }
    };
    // More than the sockets take in, so that the node is stuck with writing them when the others come.
    let (stuck, others) = tasks.split_at(16);
    submit(stuck);
    let stream = timeout(PATIENCE, deaf).await.unwrap();
    stream.readable().await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    submit(others);
    for submitted in timeout(PATIENCE, submits.join_all()).await.unwrap() {
        // Whoever was sent may be running there; the others are taken back.
        assert!(matches!(submitted, Err(SubmitError::TimedOut | SubmitError::Unknown(_))), "{submitted:?}");
    }
    let held = tasks.iter().filter(|task| !task.is_unique()).count();
    assert!(held <= 4, "{held} tasks of those who have given up are still held, where 4 fit");
    drop(stream);
    timeout(PATIENCE, node.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_waits_for_a_view_is_taken_back_when_its_connection_is_gone() {
    const TASK_BYTES: usize = 1 << 19;
    let cluster = Cluster::start_with(1, echo, |options| {
        options.takeover = Takeover::Drain;
        options.limits.task_bytes = TASK_BYTES * 3 / 2;
    })
    .await;
    let key = b"vm-1";
    // By the view of epoch 9, which this node will not hear of; its deadline is far.
    let ahead = [&9_u64.to_be_bytes()[..], &1_u32.to_be_bytes(), &cluster.in_time().to_be_bytes()].concat();
    let length = u32::try_from(key.len()).unwrap().to_be_bytes();
    let request = frame(3, &[&ahead, &length, key, &vec![7; TASK_BYTES]]);
    let mut stream = TcpStream::connect(cluster.nodes[0].member().address).await.unwrap();
    stream.write_all(&hello(SECRET, 0)).await.unwrap();
    let another = || cluster.submit(0, "vm-2", vec![7; TASK_BYTES]);
    let until_ns = cluster.now.now_ns() + 5_000_000_000;
    // One that comes while another takes the room is refused, so it is sent again.
    stream.write_all(&request).await.unwrap();
    while another().await.is_ok() {
        assert!(cluster.now.now_ns() < until_ns, "it never waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
        stream.write_all(&request).await.unwrap();
    }
    drop(stream);
    while another().await.is_err() {
        assert!(cluster.now.now_ns() < until_ns, "there is no room again, though nobody waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_wait_for_who_does_not_read_take_up_room_until_they_are_written() {
    const ANSWER_BYTES: usize = 1 << 19;
    const MANY: u64 = 200;
    let made = Arc::new(AtomicU64::new(0));
    let long = |_| -> Arc<dyn Handler> {
        let made = Arc::clone(&made);
        Arc::new(handler_fn(move |delivery: Delivery| {
            made.fetch_add(u64::from(delivery.key == "vm-1"), Ordering::Relaxed);
            async { Bytes::from(vec![7; ANSWER_BYTES]) }
        }))
    };
    let cluster = Cluster::start_with(1, long, |options| {
        options.limits.task_bytes = 4 * ANSWER_BYTES;
        options.limits.outbox_bytes = 4 * ANSWER_BYTES;
        options.limits.write = PATIENCE;
    })
    .await;
    let mut stream = TcpStream::connect(cluster.nodes[0].member().address).await.unwrap();
    stream.write_all(&hello(SECRET, 0)).await.unwrap();
    for number in 0..MANY {
        let deadline = cluster.in_time().to_be_bytes();
        let fields =
            [&1_u64.to_be_bytes()[..], &1_u32.to_be_bytes(), &deadline, &4_u32.to_be_bytes(), b"vm-1"];
        let body = [&[1, 3][..], &number.to_be_bytes(), &fields.concat()].concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &body].concat()).await.unwrap();
    }
    // Either what is asked has no room any more, or, since who reads has answers to write, nothing more is read.
    let (mut before, mut alike) = (0, 0);
    while alike < 100 && !matches!(cluster.submit(0, "vm-2", "mine").await, Err(SubmitError::QueueFull)) {
        let now = made.load(Ordering::Relaxed);
        alike = if now > 0 && now == before { alike + 1 } else { 0 };
        before = now;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What the sockets take in, what is being written and what waits: far fewer than so many of half a megabyte.
    let made = made.load(Ordering::Relaxed);
    assert!(made < MANY / 2, "{made} answers are held");
    drop(stream);
    let until_ns = cluster.now.now_ns() + 5_000_000_000;
    while cluster.submit(0, "vm-2", "mine").await.is_err() {
        assert!(cluster.now.now_ns() < until_ns, "their room is given back with the connection");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.shutdown().await;
}
