//! What so many nodes burden a design with before the first task, and where it stops.

use super::terms::{OfContender, RouteWord};

/// The work of the database for a heartbeat of a member, and for each member that it reads: assumed.
const HEARTBEAT_NS: f64 = 200_000.0;
const READ_NS: f64 = 1_000.0;

/// Heartbeats of a member until it is suspected.
const HEARTBEATS: f64 = 6.0;

/// What so many nodes come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Burden {
    /// Connections at the server, or of each node of a ring.
    pub connections: f64,
    /// Of those, in the whole system.
    pub connections_in_all: f64,
    /// Share of the server that goes to leases, or of the database that goes to the heartbeats of a ring; above 1 there is not enough.
    pub background: f64,
    /// What stops it there; `None`: nothing that is known.
    pub stops: Option<String>,
}

/// The burden of so many nodes, of which one is suspected after that time.
#[must_use]
pub fn burden(of: &OfContender, nodes: u16, detect_s: f64) -> Burden {
    let count = f64::from(nodes);
    let (connections, in_all, background) = match of.route {
        RouteWord::Lock => {
            let connections = count * of.connections.value;
            (connections, connections, of.background(u32::from(nodes)))
        }
        RouteWord::Owner => {
            // Each dials each other one once; each reads all, every time.
            let a_heartbeat_ns = HEARTBEAT_NS + count * READ_NS;
            let background = count * HEARTBEATS / detect_s * a_heartbeat_ns / 1e9;
            (count - 1.0, count * (count - 1.0) / 2.0, background)
        }
    };
    let most = of.most_connections.value;
    let stops = match of.route {
        _ if connections > most => {
            Some(format!("{connections:.0} connections, of which there can be {most:.0}"))
        }
        RouteWord::Lock if background >= 1.0 => Some("keeping leases takes the whole server".to_owned()),
        RouteWord::Owner if background >= 1.0 => {
            Some("heartbeats, each of which reads all members, take the whole database".to_owned())
        }
        _ => None,
    };
    Burden { connections, connections_in_all: in_all, background, stops }
}
