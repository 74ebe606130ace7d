//! A cluster of nodes in this process, over real sockets unless told otherwise.

#![allow(dead_code, reason = "each test uses a part")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::test_runner::Config as ProptestConfig;
use queue_lockfree::{
    Handler, HashKind, Member, Membership, Node, NodeId, NodeOptions, Now, Ring, RouterLimits, Secret,
    SubmitError, TokioNow, Transport,
};

/// Long enough for anything that is not meant to wait, short enough for a test that hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const SECRET: [u8; 32] = [42; 32];

/// A property's cases where each is dear: so many in `make test`, 2,000 in `make test-long`, as of every other property
/// (`PROPTEST_CASES`).
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    if asked { ProptestConfig::default() } else { ProptestConfig::with_cases(usual) }
}

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) now: Arc<TokioNow>,
    pub(crate) membership: Membership,
}

impl Cluster {
    /// `count` nodes with one view; node `i` runs `handler(i)`.
    pub(crate) async fn start(count: u16, handler: impl Fn(u16) -> Arc<dyn Handler>) -> Self {
        Self::start_with(count, handler, |_| ()).await
    }

    pub(crate) async fn start_with(
        count: u16,
        handler: impl Fn(u16) -> Arc<dyn Handler>,
        adjust: impl Fn(&mut NodeOptions),
    ) -> Self {
        let now = Arc::new(TokioNow::start());
        let membership = Membership::new();
        let mut nodes = Vec::new();
        for id in 0..count {
            let mut options = options(id, &membership, &now);
            adjust(&mut options);
            nodes.push(Arc::new(Node::start(options, handler(id)).await.unwrap()));
        }
        membership.install(ring(1, nodes.iter().map(|node| node.member())));
        Self { nodes, now, membership }
    }

    pub(crate) fn in_time(&self) -> u64 {
        self.after(PATIENCE)
    }

    pub(crate) fn after(&self, wait: Duration) -> u64 {
        self.now.now_ns() + u64::try_from(wait.as_nanos()).unwrap()
    }

    pub(crate) async fn submit(
        &self,
        at: usize,
        key: &str,
        payload: impl Into<Bytes>,
    ) -> Result<Bytes, SubmitError> {
        let answer = self.nodes[at].submit(key, 1, payload.into(), self.in_time());
        tokio::time::timeout(PATIENCE * 2, answer).await.expect("a submit ends")
    }

    /// The `index`th key that `node` owns.
    pub(crate) fn key_of(&self, node: u16, index: usize) -> String {
        let view = self.membership.view();
        let mut keys = (0..).map(|i| format!("vm-{i}")).filter(|key| view.owner(key) == Some(NodeId(node)));
        keys.nth(index).unwrap()
    }

    pub(crate) async fn shutdown(self) {
        for node in self.nodes {
            tokio::time::timeout(PATIENCE, node.shutdown()).await.expect("a shutdown ends");
        }
    }
}

pub(crate) fn options(id: u16, membership: &Membership, now: &Arc<TokioNow>) -> NodeOptions {
    let secret = Secret::new(SECRET);
    let options =
        NodeOptions::new(NodeId(id), &format!("node-{id}"), membership.clone(), secret, now.clone());
    let grace = Duration::from_millis(250);
    NodeOptions {
        transport: Transport::Tcp,
        limits: RouterLimits { grace, shutdown: Duration::from_millis(200), ..RouterLimits::default() },
        ..options
    }
}

pub(crate) fn ring(epoch: u64, members: impl IntoIterator<Item = Member>) -> Ring {
    Ring::new(epoch, HashKind::Mixed, members)
}
