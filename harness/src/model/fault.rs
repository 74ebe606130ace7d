//! What is broken on purpose: planned, aimed, injected, and what came of it.
//!
//! Faults that are not aimed mostly hit nobody, and faults at fixed intervals mostly hit the same moment; so a plan's
//! faults are staggered, and may be aimed at whoever is inside.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::id::NodeId;

/// A planned fault and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When, from the start of the run.
    pub at_ns: u64,
    /// How long until it is taken back.
    pub for_ns: u64,
    /// What.
    pub verb: FaultVerb,
    /// To whom.
    pub target: FaultTarget,
    /// To which of his links, where it is done to one.
    #[serde(default)]
    pub link: LinkTo,
}

/// The far end of a link of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkTo {
    /// The contender's server, which the node asks.
    #[default]
    Server,
    /// The other nodes of a ring, which ask the node.
    Nodes,
    /// The agent; only where the node is a process. While it is cut, whoever is inside stays inside, and whoever asks
    /// waits: the agent hears nothing, and all that was said arrives late. Only when the connection closes, as at a
    /// reset, do the node's sections end, as abandoned; then the node dials again.
    Agent,
}

/// Pairs of verbs: each fault is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultVerb {
    /// SIGSTOP, later SIGCONT: the process stands still and does not know.
    Pause,
    /// SIGKILL, later a start of the same: the process forgets.
    Kill,
    /// The link carries nothing, and is later restored.
    Cut {
        /// On which of its ways.
        way: Direction,
    },
    /// The link is slow, and later as it was.
    Slow {
        /// On which of its ways.
        way: Direction,
        /// How long bytes take.
        delay_ns: u64,
    },
    /// The connections over the link are reset; what was on the way is lost.
    Reset,
    /// The node is no member of the ring any more, and later one again. It lives, takes its arrivals and sends them on.
    Leave {
        /// Who hears late of both changes.
        late: Option<Late>,
    },
    /// The node, outside at the start of the run, becomes a member of the ring, and later leaves it again.
    Join {
        /// Who hears late of both changes.
        late: Option<Late>,
    },
}

/// A node that hears late of changes of the ring: meanwhile the nodes' views differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Late {
    /// Which.
    pub node: NodeId,
    /// How much later than all others.
    pub by_ns: u64,
}

/// Ways of a link: between a node and the server or the agent, or between the other nodes and one that serves them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Both.
    #[default]
    Both,
    /// Requests do not arrive.
    #[serde(alias = "to-agent")]
    ToServer,
    /// Requests arrive, answers do not.
    #[serde(alias = "from-agent")]
    FromServer,
}

impl FaultVerb {
    /// Whether it is done to a link, not to a process.
    #[must_use]
    pub fn is_of_link(self) -> bool {
        match self {
            Self::Pause | Self::Kill | Self::Leave { .. } | Self::Join { .. } => false,
            Self::Cut { .. } | Self::Slow { .. } | Self::Reset => true,
        }
    }

    /// Whether it changes who owns which key, and breaks nothing.
    #[must_use]
    pub fn is_of_ring(self) -> bool {
        matches!(self, Self::Leave { .. } | Self::Join { .. })
    }
}

/// Whom a fault is aimed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultTarget {
    /// This node.
    Node(NodeId),
    /// The node of whoever is inside when the time has come.
    Holder,
    /// The server of the contender, with all its members and processes.
    Server,
    /// The member of the contender's server that leads when the time has come.
    Leader,
}

/// What is done, without to whom.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.link, self.verb) {
            (LinkTo::Agent, FaultVerb::Cut { way: Direction::ToServer }) => f.write_str("cut to agent"),
            (LinkTo::Agent, FaultVerb::Cut { way: Direction::FromServer }) => f.write_str("cut from agent"),
            (LinkTo::Agent, verb) if verb.is_of_link() => write!(f, "{verb}, link to agent"),
            (LinkTo::Nodes, verb) if verb.is_of_link() => write!(f, "{verb}, link between nodes"),
            (_, verb) => verb.fmt(f),
        }
    }
}

impl fmt::Display for FaultVerb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pause => "pause",
            Self::Kill => "kill",
            Self::Cut { way: Direction::Both } => "cut",
            Self::Cut { way: Direction::ToServer } => "cut to server",
            Self::Cut { way: Direction::FromServer } => "cut from server",
            Self::Slow { .. } => "slow",
            Self::Reset => "reset",
            Self::Leave { late } => return changes(f, "leave", *late),
            Self::Join { late } => return changes(f, "join", *late),
        })
    }
}

fn changes(f: &mut fmt::Formatter<'_>, verb: &str, late: Option<Late>) -> fmt::Result {
    f.write_str(verb)?;
    late.map_or(Ok(()), |Late { node, by_ns }| {
        write!(f, ", told to node {} {} ms late", node.0, by_ns as f64 / 1e6)
    })
}

impl fmt::Display for FaultTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {}", node.0),
            Self::Holder => f.write_str("holder"),
            Self::Server => f.write_str("server"),
            Self::Leader => f.write_str("leader"),
        }
    }
}
