//! Where the nodes of a run were, beyond the machine of its driver.

use serde::{Deserialize, Serialize};

/// A host of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostFacts {
    /// What it calls itself.
    pub name: String,
    /// The address that it dialled from.
    pub from: String,
    /// Which nodes it had.
    pub nodes: Vec<u16>,
    /// How long what its nodes say is on its way to the driver at least: half of the shortest round trip that was found.
    pub one_way_ns: Option<u64>,
    /// The stamps of its nodes are not further off the driver's clock than this, by what was found before the run, and held against
    /// what was found after it. What its nodes ask for is stamped twice as much earlier, so that no order of events of several
    /// nodes is claimed that may have been the other way round; waits are told by the node's clock. `None` where nothing was found.
    pub clock_bound_ns: Option<u64>,
}
