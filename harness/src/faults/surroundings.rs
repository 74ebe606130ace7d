//! What a fault can reach of the run around it.

use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use super::nodes::Nodes;
use super::views::Views;
use crate::engine::{Agent, Clock, Links};
use crate::model::{NodeId, Section};
use crate::servers::Server;

/// What a fault can reach of the run around it.
pub(crate) struct Surroundings<'a> {
    pub(crate) clock: &'a Clock,
    /// Says who is inside.
    pub(crate) agent: &'a Agent,
    pub(crate) nodes: &'a dyn Nodes,
    /// How many nodes there are, in the ring or not.
    pub(crate) node_count: u16,
    pub(crate) views: &'a Views,
    /// The contender's server, where it has one.
    pub(crate) server: Option<&'a Mutex<Server>>,
    /// The links to that server, where there are any.
    pub(crate) links: Option<&'a Links>,
    /// The run is over: what lasts is taken back, what is to come is left.
    pub(crate) over: CancellationToken,
}

impl Surroundings<'_> {
    /// The nodes by number.
    pub(super) fn every_node(&self) -> impl Iterator<Item = NodeId> + use<> {
        (0..self.node_count).map(NodeId)
    }

    /// The server, held while something is done to it.
    pub(super) async fn server(&self) -> Result<MutexGuard<'_, Server>, String> {
        Ok(self.server.ok_or_else(|| "there is no server".to_owned())?.lock().await)
    }

    /// The sections inside at a node, as the agent knows.
    pub(super) fn inside(&self, node: NodeId) -> Vec<Section> {
        let mut inside = self.agent.inside();
        inside.retain(|section| section.node == node);
        inside
    }

    /// Waits until a stamp; to the end of the run, and `None`, if that is sooner.
    pub(super) async fn wait_until(&self, due_ns: u64) -> Option<()> {
        self.over.run_until_cancelled(self.clock.sleep_until(due_ns)).await
    }
}
