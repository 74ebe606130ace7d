//! A node's connection to the server: messages keep their order, and what is on its way is lost with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use super::troubles::Way;
use super::world::World;
use crate::engine::BoxFuture;
use crate::model::NodeId;

/// How much later a message arrives that was lost: the connection sends it again.
const RESENT_NS: u64 = 200_000_000;

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The answer came.
    Answered,
    /// The connection broke before.
    Broken,
}

/// A connection that is made anew whenever it breaks.
#[derive(Debug)]
pub struct Connection {
    world: Arc<World>,
    node: NodeId,
    /// When the last message arrives, there and back.
    last_ns: [AtomicU64; 2],
}

impl Connection {
    /// One between this node and the server.
    #[must_use]
    pub fn new(world: Arc<World>, node: NodeId) -> Self {
        Self { world, node, last_ns: [const { AtomicU64::new(0) }; 2] }
    }

    /// Carries a request to the server, where this is called, and its answer back. A node that stands still neither sends nor hears.
    /// Whoever drops it waits no longer; what was sent goes on.
    pub fn carry(self: &Arc<Self>, at_server: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, Ended> {
        let connection = Arc::clone(self);
        Box::pin(async move {
            let world = Arc::clone(&connection.world);
            world.awake(connection.node).await;
            let (answer, answered) = oneshot::channel();
            let arrives = connection.arrives_ns(Way::There);
            let node = connection.node;
            world.spawn(async move {
                let ended = connection.there_and_back(arrives, at_server).await;
                // Whoever asked may have given up.
                let _gone = answer.send(ended).is_err();
            });
            let ended = match answered.await {
                Ok(ended) => ended,
                // The world has ended.
                Err(_) => std::future::pending().await,
            };
            world.awake(node).await;
            ended
        })
    }

    async fn there_and_back(&self, arrives: Result<u64, u64>, at_server: Box<dyn FnOnce() + Send>) -> Ended {
        match arrives {
            Ok(at_ns) => self.world.sleep_until(at_ns).await,
            Err(at_ns) => {
                self.world.sleep_until(at_ns).await;
                return Ended::Broken;
            }
        }
        at_server();
        let (ended, at_ns) = match self.arrives_ns(Way::Back) {
            Ok(at_ns) => (Ended::Answered, at_ns),
            Err(at_ns) => (Ended::Broken, at_ns),
        };
        self.world.sleep_until(at_ns).await;
        ended
    }

    /// When a message arrives that is sent now, behind those before it; or when the connection breaks on which it is.
    fn arrives_ns(&self, way: Way) -> Result<u64, u64> {
        let takes_ns = self.world.delay_ns().unwrap_or(RESENT_NS);
        let arrives_ns = self.world.arrives_ns(self.node, way, takes_ns)?;
        let before_ns = self.last_ns[way as usize].fetch_max(arrives_ns, Ordering::Relaxed);
        Ok(arrives_ns.max(before_ns))
    }

    /// Carries what the server says unasked to the node, where this is called; nobody is told whether it arrives.
    pub fn push(&self, at_node: Box<dyn FnOnce() + Send>) {
        let Ok(at_ns) = self.arrives_ns(Way::Back) else { return };
        let (world, node) = (Arc::clone(&self.world), self.node);
        self.world.spawn(async move {
            world.sleep_until(at_ns).await;
            world.awake(node).await;
            at_node();
        });
    }

    /// What the server's clock shows.
    #[must_use]
    pub fn server_ns(&self) -> u64 {
        self.world.server_ns()
    }

    /// How often the server has been killed so far.
    #[must_use]
    pub fn server_starts(&self) -> usize {
        self.world.server_starts()
    }
}
