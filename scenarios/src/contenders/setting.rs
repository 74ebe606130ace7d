//! What a mechanism is made for, and where.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use harness::engine::Clock;
use harness::model::{NodeId, Plan};
use harness::secret::Secret;
use harness::servers::Endpoint;
use serde::{Deserialize, Serialize};

/// What a mechanism is made for.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The plan that it will run.
    pub plan: Arc<Plan>,
    /// The run's clock.
    pub clock: Clock,
    /// Address of the server, where it needs one.
    pub endpoint: Option<Endpoint>,
    /// Time to live, session timeout, membership suspicion.
    pub detect: Duration,
    /// Delay of the control `noop`.
    pub noop_delay: Duration,
    /// Unique per run: part of owner ids.
    pub run_seed: u64,
    /// By which the ring's nodes know each other. Fresh, not drawn from a seed that others are shown.
    pub ring_secret: Secret,
    /// Where programs that speak over the port write their logs; `None`: to files that are gone with them.
    pub logs: Option<PathBuf>,
    /// Which nodes live in this process.
    pub here: Here,
}

impl Setting {
    /// All nodes of the plan in this process, without a server; leases of 10 s. What else is wanted is set on it.
    #[must_use]
    pub fn alone(plan: Arc<Plan>, clock: Clock) -> Self {
        Self {
            here: Here::all(&plan),
            run_seed: plan.settings.seed,
            plan,
            clock,
            endpoint: None,
            detect: Duration::from_secs(10),
            noop_delay: Duration::ZERO,
            ring_secret: Secret::fresh(),
            logs: None,
        }
    }
}

/// The nodes that live in one process.
#[derive(Debug, Clone)]
pub struct Here {
    /// Their numbers.
    pub nodes: Vec<NodeId>,
    /// How often they were started before in this run.
    pub incarnation: u32,
    /// What their mechanism introduced itself with then: others still know it by that.
    pub former: Option<String>,
    /// Where nodes in other processes reach them.
    pub address: IpAddr,
    /// What lies between: the server as each node of the run reaches it over its own link, and how links between nodes
    /// are. None where nothing lies between.
    pub between: Option<LinksBetween>,
}

/// Links that can be slow or broken.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LinksBetween {
    /// The server's endpoint for each node, by number; empty where there is no server.
    pub endpoints: Vec<Endpoint>,
    /// Delay of each way between nodes.
    pub one_way: Duration,
}

impl Here {
    /// All nodes of the plan, in this process.
    #[must_use]
    pub fn all(plan: &Plan) -> Self {
        Self {
            nodes: (0..plan.settings.nodes).map(NodeId).collect(),
            incarnation: 0,
            former: None,
            address: Ipv4Addr::LOCALHOST.into(),
            between: None,
        }
    }
}
