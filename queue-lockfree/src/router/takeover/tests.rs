//! What the nodes still have to ask each other.

use std::sync::Arc;
use std::time::Duration;

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
