//! What the nodes still have to ask each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::{Directory, Node, NodeOptions, Secret, Transport, handler_fn};
use super::*;
use crate::membership::Membership;
use crate::now::TokioNow;
use crate::ring::{HashKind, NodeId, Ring};

/// Nobody submits anything, so nobody asks after a key; some of the nodes only lose keys, or are out of the ring.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_time_after_a_change_nobody_has_anything_left_to_ask() {
    let directory = Directory::new();
    for transport in
        [&|| Transport::Tcp, &|| Transport::Direct(directory.clone())] as [&dyn Fn() -> Transport; 2]
    {
        settles(transport).await;
    }
}

async fn settles(transport: &dyn Fn() -> Transport) {
    let now = Arc::new(TokioNow::start());
    let mut nodes = Vec::new();
    for id in 0..4 {
        let (name, secret) = (format!("node-{id}"), Secret::new([7; 32]));
        let options = NodeOptions::new(NodeId(id), &name, Membership::new(), secret, now.clone());
        let options = NodeOptions { takeover: Takeover::Drain, transport: transport(), ..options };
        nodes.push(
            Node::start(options, Arc::new(handler_fn(|delivery| async move { delivery.payload })))
                .await
                .unwrap(),
        );
    }
    let views: [&[u16]; 6] = [&[0, 1, 2], &[0, 1, 2, 3], &[0, 1, 2], &[1, 2, 3], &[0, 1, 2, 3], &[2]];
    for (epoch, members) in (1..).zip(views) {
        let members: Vec<_> = members.iter().map(|&id| nodes[usize::from(id)].member()).collect();
        for node in &nodes {
            node.membership().install(Ring::new(epoch, HashKind::Mixed, members.clone()));
        }
    }
    let settled = async {
        while !nodes.iter().all(|node| node.is_settled(6)) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), settled).await.unwrap();
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_left_is_forgotten() {
    for takeover in [Takeover::Faithful, Takeover::Drain, Takeover::Fenced] {
        let now = Arc::new(TokioNow::start());
        let membership = Membership::new();
        let mut nodes = Vec::new();
        for id in 0..3 {
            let (name, secret) = (format!("node-{id}"), Secret::new([7; 32]));
            let options = NodeOptions::new(NodeId(id), &name, membership.clone(), secret, now.clone());
            let options = NodeOptions { takeover, ..options };
            let echo = Arc::new(handler_fn(|delivery: crate::Delivery| async move { delivery.payload }));
            nodes.push(Node::start(options, echo).await.unwrap());
        }
        let view = |epoch, members: &[usize]| {
            let members = members.iter().map(|place| nodes[*place].member());
            membership.install(Ring::new(epoch, HashKind::Mixed, members))
        };
        assert!(view(1, &[0, 1, 2]));
        for key in (0..20).map(|key| format!("vm-{key}")) {
            nodes[0].submit(&key, 1, "".into(), u64::MAX).await.unwrap();
        }
        assert_eq!(nodes[0].known(), [NodeId(1), NodeId(2)], "{takeover:?}");
        assert!(view(2, &[0, 1]));
        let forgotten = async {
            while nodes[0].known() != [NodeId(1)] {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(60), forgotten).await.unwrap_or_else(|_| panic!("{takeover:?}"));
        for node in nodes {
            node.shutdown().await;
        }
    }
}

/// Nobody wants a key of the dead one, so nobody finds out that it is dead by asking after a key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_died_and_left_owes_nothing_some_time_after() {
    let now = Arc::new(TokioNow::start());
    let mut nodes = Vec::new();
    for id in 0..3 {
        let (name, secret) = (format!("node-{id}"), Secret::new([7; 32]));
        let options = NodeOptions::new(NodeId(id), &name, Membership::new(), secret, now.clone());
        let options = NodeOptions { takeover: Takeover::Drain, ..options };
        let echo = Arc::new(handler_fn(|delivery: crate::Delivery| async move { delivery.payload }));
        nodes.push(Node::start(options, echo).await.unwrap());
    }
    let all: Vec<_> = nodes.iter().map(Node::member).collect();
    let install = |nodes: &[Node], epoch, members: &[crate::ring::Member]| {
        for node in nodes {
            node.membership().install(Ring::new(epoch, HashKind::Mixed, members.to_vec()));
        }
    };
    install(&nodes, 1, &all);
    drop(nodes.pop());
    install(&nodes, 2, &all[..2]);
    let settled = async {
        while !nodes.iter().all(|node| node.is_settled(2)) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(20), settled).await.expect("the dead one is let go of");
    for node in nodes {
        node.shutdown().await;
    }
}

/// So many connections break before one holds: who asks after all keys at once has one of them, who needs a key the others.
const BREAK: u32 = 4;

/// Breaks the first connections and carries every later one.
async fn breaks_at_first(
    to: std::net::SocketAddr,
    seen: Arc<AtomicU32>,
) -> (std::net::SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut carried = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if seen.fetch_add(1, Ordering::Relaxed) >= BREAK {
                carried.spawn(async move {
                    let mut onward = TcpStream::connect(to).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut stream, &mut onward).await);
                });
            }
        }
    });
    (address, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_connection_is_no_death() {
    let now = Arc::new(TokioNow::start());
    let (running, overlapped, started) =
        (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let release = Arc::new(Notify::new());
    let options = |id: u16| {
        let (name, secret) = (format!("node-{id}"), Secret::new([7; 32]));
        let options = NodeOptions::new(NodeId(id), &name, Membership::new(), secret, now.clone());
        NodeOptions { takeover: Takeover::Drain, ..options }
    };
    let old = {
        let (running, release) = (Arc::clone(&running), Arc::clone(&release));
        let handler = handler_fn(move |delivery: crate::Delivery| {
            let (running, release) = (Arc::clone(&running), Arc::clone(&release));
            async move {
                running.store(1, Ordering::SeqCst);
                release.notified().await;
                running.store(0, Ordering::SeqCst);
                delivery.payload
            }
        });
        Arc::new(Node::start(options(0), Arc::new(handler)).await.unwrap())
    };
    let new = {
        let (running, overlapped, started) =
            (Arc::clone(&running), Arc::clone(&overlapped), Arc::clone(&started));
        let handler = handler_fn(move |delivery: crate::Delivery| {
            overlapped.store(running.load(Ordering::SeqCst) > 0, Ordering::SeqCst);
            started.store(true, Ordering::SeqCst);
            async move { delivery.payload }
        });
        Arc::new(Node::start(options(1), Arc::new(handler)).await.unwrap())
    };
    let seen = Arc::new(AtomicU32::new(0));
    let (address, _proxy) = breaks_at_first(old.member().address, Arc::clone(&seen)).await;
    let over_proxy = crate::ring::Member { address, ..old.member() };
    let install = |epoch, members: Vec<crate::ring::Member>| {
        for node in [&old, &new] {
            node.membership().install(Ring::new(epoch, HashKind::Mixed, members.clone()));
        }
    };
    install(1, vec![over_proxy.clone()]);
    let mut tasks = JoinSet::new();
    let at_old = Arc::clone(&old);
    tasks.spawn(async move { drop(at_old.submit("vm-1", 1, "".into(), u64::MAX).await) });
    let within = Duration::from_secs(60);
    let until = async |happened: &dyn Fn() -> bool| {
        let wait = async {
            while !happened() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(within, wait).await.unwrap();
    };
    until(&|| running.load(Ordering::SeqCst) == 1).await;
    install(2, vec![new.member()]);
    let at_new = Arc::clone(&new);
    tasks.spawn(async move { drop(at_new.submit("vm-1", 1, "".into(), u64::MAX).await) });
    // Over connections that break, then over one that holds.
    until(&|| seen.load(Ordering::Relaxed) > BREAK || started.load(Ordering::SeqCst)).await;
    release.notify_one();
    until(&|| started.load(Ordering::SeqCst)).await;
    assert!(!overlapped.load(Ordering::SeqCst), "the old owner lived and ran a task of the key");
    tasks.shutdown().await;
    for node in [old, new] {
        Arc::into_inner(node).unwrap().shutdown().await;
    }
}
