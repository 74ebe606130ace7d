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
    /// All that runs on the node's event loop waits, renewals too, while its process and its timers go on; later it goes on.
    Stall,
    /// The copy of a server is cut off from its primary, which goes on alone; then the primary is killed and the copy takes its place.
    /// Later the former primary is the copy.
    Promote {
        /// For how long the copy has heard nothing when the primary dies: what was acknowledged since is lost.
        behind_ns: u64,
    },
    /// The server's clock is set ahead, and later back.
    Jump {
        /// How far.
        ahead_ns: u64,
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
            Self::Pause
            | Self::Kill
            | Self::Stall
            | Self::Leave { .. }
            | Self::Join { .. }
            | Self::Promote { .. }
            | Self::Jump { .. } => false,
            Self::Cut { .. } | Self::Slow { .. } | Self::Reset => true,
        }
    }

    /// Whether it can only be done to a whole server.
    #[must_use]
    pub fn is_of_server(self) -> bool {
        matches!(self, Self::Promote { .. } | Self::Jump { .. })
    }

    /// Whether it changes who owns which key, and breaks nothing.
    #[must_use]
    pub fn is_of_ring(self) -> bool {
        matches!(self, Self::Leave { .. } | Self::Join { .. })
    }
}

/// Steps on the way of a task that changes two things, all or nothing, at which whoever coordinates it may be hit. A mechanism
/// passes some of them, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    /// The first is his; nothing is changed.
    Begun,
    /// One of both is changed.
    FirstChanged,
    /// Both are changed, as far as he can see.
    BothChanged,
    /// One of both has promised to do as he says.
    FirstPrepared,
    /// Both have.
    AllPrepared,
    /// What becomes of it is written down.
    Decided,
    /// One of both has been told that both have promised.
    FirstPreCommitted,
    /// Both have been told so.
    AllPreCommitted,
    /// One of both is done.
    FirstCommitted,
}

impl Point {
    /// All, in their order.
    pub const ALL: [Self; 9] = [
        Self::Begun,
        Self::FirstChanged,
        Self::BothChanged,
        Self::FirstPrepared,
        Self::AllPrepared,
        Self::Decided,
        Self::FirstPreCommitted,
        Self::AllPreCommitted,
        Self::FirstCommitted,
    ];

    /// As scenarios say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::FirstChanged => "first-changed",
            Self::BothChanged => "both-changed",
            Self::FirstPrepared => "first-prepared",
            Self::AllPrepared => "all-prepared",
            Self::Decided => "decided",
            Self::FirstPreCommitted => "first-pre-committed",
            Self::AllPreCommitted => "all-pre-committed",
            Self::FirstCommitted => "first-committed",
        }
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
    /// The node whose task is the first to come to this step after the time has come: it stands there when it is hit.
    At(Point),
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
            Self::Stall => "stall",
            Self::Cut { way: Direction::Both } => "cut",
            Self::Cut { way: Direction::ToServer } => "cut to server",
            Self::Cut { way: Direction::FromServer } => "cut from server",
            Self::Slow { .. } => "slow",
            Self::Reset => "reset",
            Self::Promote { .. } => "promote the copy of",
            Self::Jump { .. } => "set ahead the clock of",
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
            Self::At(point) => write!(f, "at {}", point.name()),
        }
    }
}
