//! Which nodes a ring has. Mechanisms without a ring ignore it.

use serde::{Deserialize, Serialize};

use super::id::NodeId;

/// The members of a ring, as its nodes are told. A node that is none still takes its arrivals and sends them on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its number: 1 at the start, and one more with every change.
    pub epoch: u64,
    /// The members, by number.
    pub members: Vec<NodeId>,
}
