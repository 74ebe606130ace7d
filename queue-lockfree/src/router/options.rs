//! What a node is started with.

use std::collections::HashMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::owner::Owner;
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

/// How a node reaches others. All nodes of a ring use the same.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Real connections, also between nodes of one process.
    Tcp,
    /// Calls into the owner's queue, without network: a control. Only nodes of one process that share the directory.
    Direct(Directory),
}

/// Where nodes of one process find each other; clones share it.
#[derive(Clone, Default)]
pub struct Directory {
    owners: Arc<RwLock<HashMap<NodeId, Weak<Owner>>>>,
}

impl Directory {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn enter(&self, owner: &Arc<Owner>) {
        let mut owners = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        owners.insert(owner.id, Arc::downgrade(owner));
    }

    pub(super) fn leave(&self, id: NodeId) {
        self.owners.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub(super) fn find(&self, id: NodeId) -> Option<Arc<Owner>> {
        self.owners.read().unwrap_or_else(PoisonError::into_inner).get(&id)?.upgrade()
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

/// What both ends of a connection must know. It keeps out strangers and nodes of another run; it is sent in the
/// clear, so it is no protection from who can read the network.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub(super) [u8; 32]);

impl Secret {
    /// A secret of the run's own random bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Takes the same time wherever the first difference is.
    pub(super) fn matches(&self, other: &[u8; 32]) -> bool {
        self.0.iter().zip(other).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Bounds on connections and on waits for other nodes.
#[derive(Clone, Copy, Debug)]
pub struct RouterLimits {
    /// Longest frame, in bytes; a task, or an answer, must fit with its key.
    pub frame_bytes: usize,
    /// Requests that may be open at one other node; more are refused as [`QueueFull`](crate::SubmitError::QueueFull).
    pub calls: usize,
    /// Frames that wait to be written to one connection; who has another one waits.
    pub outbox: usize,
    /// Connections that a node accepts.
    pub connections: usize,
    /// For connecting and shaking hands.
    pub connect: Duration,
    /// For writing one batch of frames.
    pub write: Duration,
    /// How long after the deadline an owner may be silent before it is asked, and then before it is given up.
    pub grace: Duration,
    /// How long started tasks may go on after [`shutdown`](crate::Node::shutdown).
    pub shutdown: Duration,
}

impl Default for RouterLimits {
    fn default() -> Self {
        Self {
            frame_bytes: 1 << 20,
            calls: 100_000,
            outbox: 4096,
            connections: 1024,
            connect: Duration::from_secs(2),
            write: Duration::from_secs(5),
            grace: Duration::from_secs(1),
            shutdown: Duration::from_secs(5),
        }
    }
}
