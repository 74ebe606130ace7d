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
mod body;
mod seat;
mod elsewhere;
mod connection;
mod credible;
mod told;
mod departed;
mod outages;
mod account;
mod driver;
mod broken;
mod node;
#[cfg(test)]
mod absurd;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

pub use crate::child::end_with;
pub use driver::run;
pub use node::{Invitation, NodeError, Place, serve};

use super::remote::{Hosts, HostsError};
use crate::model::NodeId;
use crate::processors::Processors;
use crate::secret::Sealed;

/// Where the processes of nodes are.
#[derive(Debug, Clone)]
pub enum Ground {
    /// On this machine.
    Here(NodeCommand),
    /// At hosts that have joined.
    There {
        /// They.
        hosts: Arc<Hosts>,
        /// What a node draws the plan from; handed on as it is.
        drawing: Sealed,
    },
}

/// How a node's process is started here.
#[derive(Debug, Clone)]
pub struct NodeCommand {
    /// The program; `--driver ADDRESS --agent ADDRESS --node N` is added to its arguments, and [`SECRET`](crate::secret::SECRET) to
    /// its environment.
    pub program: PathBuf,
    /// Its first arguments.
    pub args: Vec<OsString>,
    /// Those of each node, in their order; a node that has none here may use all.
    pub processors: Vec<Processors>,
}

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
    /// It was to be stopped before it began.
    #[error("stopped before it began")]
    Stopped,
    /// There are too few hosts.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// A node's process could not be started.
    #[error("cannot start the process of node {}: {reason}", .node.0)]
    Spawn {
        /// Which.
        node: NodeId,
        /// What the system, or its host, said.
        reason: String,
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
