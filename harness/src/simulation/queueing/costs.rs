//! What a design costs.

/// Where a step waits and runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// It waits at a server and runs where it was asked for.
    Lock,
    /// It is sent to the node that owns its resource, and waits and runs there.
    Owner,
}

/// What a design costs, in ns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Where steps wait and run.
    pub route: Route,
    /// Work of a node for one step: before it is asked for and after it was granted, half each.
    pub node_ns: u64,
    /// How much of that a node can do at a time.
    pub node_width: u32,
    /// Work of the server for an acquire; of a hand-over to whoever waits, and of a release, as much.
    pub server_ns: u64,
    /// How much of that the server can do at a time.
    pub server_width: u32,
    /// What a message takes one way, between node and server or between two nodes, without any work.
    pub one_way_ns: u64,
    /// Share of the server's time that goes to what keeps leases and memberships, from 0 to less than 1.
    pub background: f64,
    /// Where nodes and server share these processors, whose number takes the place of both widths; `None`: each has its own.
    pub shared: Option<u32>,
}

impl Costs {
    /// What a request takes of a server that has other things to do.
    pub(super) fn at_server_ns(&self) -> u64 {
        (self.server_ns as f64 / (1.0 - self.background.clamp(0.0, 0.999))) as u64
    }
}
