//! Three nodes of one ring, in one process, over TCP: a task submitted anywhere runs at the owner of its key.
//!
//! ```sh
//! cargo run -p queue-lockfree --example ring
//! ```
//!
//! Between processes or hosts each node has a `Membership` and a `UnixNow` of its own, listens on an address that the
//! others reach, and learns of them by `postgres::PgMember::join` instead of by the lines below.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use queue_lockfree::{
    HashKind, Membership, Node, NodeId, NodeOptions, Now, Ring, Secret, Takeover, TokioNow, handler_fn,
};

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let now = Arc::new(TokioNow::start());
    let membership = Membership::new();
    // Random, the same at all nodes, and known to nobody else.
    let secret = Secret::new([7; 32]);

    let mut nodes = Vec::new();
    for id in 0..3 {
        let options =
            NodeOptions::new(NodeId(id), &format!("node-{id}"), membership.clone(), secret, now.clone());
        let options = NodeOptions { takeover: Takeover::Drain, ..options };
        // What a task does: here it says who ran it, and under which token.
        let handler = handler_fn(move |delivery| async move {
            let token = delivery.entitlement.token;
            Bytes::from(format!("{} ran at node-{id} under token {token:?}", delivery.key))
        });
        nodes.push(Node::start(options, Arc::new(handler)).await?);
    }
    membership.install(Ring::new(1, HashKind::Mixed, nodes.iter().map(Node::member)));

    for volume in 0..4 {
        let (key, deadline_ns) = (format!("volume-{volume}"), now.deadline_in(Duration::from_secs(5)));
        let answer = nodes[volume % 3].submit(&key, 1, Bytes::new(), deadline_ns).await?;
        println!("submitted at node-{}: {}", volume % 3, String::from_utf8_lossy(&answer));
    }

    // A planned change: node 2 leaves. Its keys go to the others, which start them when node 2 says that it is drained.
    membership.install(Ring::new(2, HashKind::Mixed, nodes[..2].iter().map(Node::member)));
    for volume in 0..4 {
        let (key, deadline_ns) = (format!("volume-{volume}"), now.deadline_in(Duration::from_secs(5)));
        let answer = nodes[2].submit(&key, 1, Bytes::new(), deadline_ns).await?;
        let answer = String::from_utf8_lossy(&answer);
        assert!(!answer.contains("ran at node-2"), "{answer}");
        println!("after the change: {answer}");
    }
    for node in nodes {
        node.shutdown().await;
    }
    Ok(())
}
