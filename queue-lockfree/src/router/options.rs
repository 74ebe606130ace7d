//! What a node is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use super::directory::Transport;
use super::limits::{RouterLimits, Secret};
use super::takeover::Takeover;
use crate::membership::Membership;
use crate::now::Now;
use crate::queue::QueueLimits;
use crate::ring::NodeId;

/// Settings of a node. [`NodeOptions::new`] fills in those that have a default.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its number, unique in the ring.
    pub id: NodeId,
    /// What places it on the ring, see [`Member::name`](crate::Member::name).
    pub name: String,
    /// Where to listen; default 127.0.0.1 and a free port.
    pub listen: SocketAddr,
    /// The view that it goes by; shared by nodes that are to see the same one at the same moment.
    pub membership: Membership,
    /// How it reaches other nodes; default TCP.
    pub transport: Transport,
    /// What it does when the ring changes; default [`Takeover::Faithful`].
    pub takeover: Takeover,
    /// What all nodes of one run share, and nobody else knows.
    pub secret: Secret,
    /// Clock of deadlines and ages, with the same origin at all nodes.
    pub now: Arc<dyn Now>,
    /// Bounds on waiting tasks.
    pub queue_limits: QueueLimits,
    /// Bounds on connections.
    pub limits: RouterLimits,
}

impl NodeOptions {
    /// A node that listens on the loopback interface and speaks TCP, with default limits.
    pub fn new(id: NodeId, name: &str, membership: Membership, secret: Secret, now: Arc<dyn Now>) -> Self {
        Self {
            id,
            name: name.to_owned(),
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            membership,
            transport: Transport::Tcp,
            takeover: Takeover::default(),
            secret,
            now,
            queue_limits: QueueLimits::default(),
            limits: RouterLimits::default(),
        }
    }
}
