//! Nodes as processes: the driver starts them, they dial it, and their parts of the run come back as events.
//!
//! ```text
//!            control: job, barrier, events, end
//!  driver ◀──────────────────────────────────── node 0 ──┐
//!  agent  ◀──────────────────────────────────── node 1 ──┼─▶ server, other nodes
//!            agent: enter, leave                 node N ──┘
//! ```
//!
//! [`run`] is the driver's side and gives the same [`Run`](crate::placement::Run) as nodes in one process do; [`serve`] is the side of a
//! node. Where the plan kills nodes, each also writes what it does into memory that outlives it. Stamps are of CLOCK_MONOTONIC, which the processes of one machine share; the agent's are all taken in the driver.

mod frame;
mod seat;
mod elsewhere;
mod connection;
mod told;
mod departed;
mod outages;
mod account;
mod driver;
mod node;
#[cfg(test)]
mod absurd;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;

pub use driver::run;
pub use frame::PROTOCOL_VERSION;
pub use node::{Invitation, NodeError, Place, serve};

use crate::model::NodeId;
use crate::processors::Processors;
use crate::secret::Sealed;

/// How a node's process is started.
#[derive(Debug, Clone)]
pub struct NodeCommand {
    /// The program; `--driver ADDRESS --agent ADDRESS --node N` is added to its arguments, and [`SECRET`] to its environment.
    pub program: PathBuf,
    /// Its first arguments.
    pub args: Vec<OsString>,
    /// What the node makes its mechanism of; handed on as it is.
    pub mechanism: Sealed,
    /// Those of each node, in their order; a node that has none here may use all.
    pub processors: Vec<Processors>,
}

/// The environment variable that has the run's secret: an argument would show in the process list.
pub const SECRET: &str = "LOCKBENCH_SECRET";

/// Why a run with nodes as processes has no result.
#[derive(Debug, thiserror::Error)]
pub enum PlacementError {
    /// The driver cannot be dialled.
    #[error("cannot listen on 127.0.0.1 for nodes: {0}")]
    Listen(std::io::Error),
    /// The program that ties a node's life to the driver's is missing.
    #[error(
        "nodes as processes need the program setpriv; on Debian and Ubuntu: `apt-get install util-linux`"
    )]
    SetprivMissing,
    /// A node's process could not be started.
    #[error("cannot start the process of node {}: {source}", .node.0)]
    Spawn {
        /// Which.
        node: NodeId,
        /// What the system said.
        source: std::io::Error,
    },
    /// A node did not get as far as the start of the run.
    #[error("node {} did not come to the start: {reason}", .node.0)]
    Node {
        /// Which.
        node: NodeId,
        /// Why.
        reason: String,
    },
}
