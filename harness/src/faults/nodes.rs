//! How the injector reaches nodes, wherever they live.

use crate::engine::{BoxFuture, Link};
use crate::model::{FaultVerb, NodeId, Point, View};

/// How the nodes of a run are reached, wherever they live.
pub(crate) trait Nodes: Send + Sync {
    /// Tells a node who is a member of the ring from now on.
    fn tell<'a>(&'a self, node: NodeId, view: &'a View) -> BoxFuture<'a, ()>;
    /// Breaks the link over which other nodes reach this one, or restores it (`None`).
    fn disturb(&self, node: NodeId, verb: Option<FaultVerb>) -> BoxFuture<'_, ()>;
    /// Stops a node and returns when it stands still and the agent has heard all that it said.
    fn pause(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>>;
    /// Lets it go on.
    fn resume(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>>;
    /// Has all that runs on a node's event loop wait for so long, and returns when it does and the agent has heard all that it said.
    fn stall(&self, node: NodeId, for_ns: u64) -> BoxFuture<'_, Result<(), String>>;
    /// Notes that this is over.
    fn goes_on(&self, node: NodeId);
    /// Kills a node that stands still, and returns when its connections have closed.
    fn kill(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>>;
    /// Starts it again and returns when it runs its arrivals.
    fn restart(&self, node: NodeId) -> BoxFuture<'_, Result<(), String>>;
    /// Has the next task that comes to a step stand still there, at whatever node but this one; `None`: lets all go on.
    fn halt_at(&self, point: Option<Point>, but: Option<NodeId>) -> BoxFuture<'_, ()>;

    /// Returns the node at which one stands. Cancel safe.
    fn halted(&self) -> BoxFuture<'_, NodeId>;

    /// The link between a node and the agent, where there is one.
    fn agent_link(&self, node: NodeId) -> Option<&Link>;
    /// Has the agent hear all that a node has said and that has arrived.
    fn hear_out(&self, node: NodeId) -> BoxFuture<'_, ()>;
    /// The processes that they live in.
    fn processes(&self) -> Vec<u32>;
}
