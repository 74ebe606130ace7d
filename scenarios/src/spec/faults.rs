//! What is broken on purpose, as a scenario says it.

use harness::model::{Direction, Fault, FaultTarget, FaultVerb, Late, LinkTo, NodeId, Point};
use serde::Deserialize;
use toml::Spanned;

use super::units::nanos;

/// A kind of fault, again and again at random distances. Controls are spared, but `none` has those of its nodes:
/// it must be caught under faults too.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// `pause` (and resume), `kill` (and restart), `stall` of a node's event loop; of the target's link to the server: `cut` (and restore), `slow`,
    /// `reset`; of a ring, whose nodes live on: `leave` (and join), or `join` (and leave) of a node that is outside at first; of a
    /// server: `promote` its copy (and start the primary again as the copy), `jump` of its clock (and back).
    pub verb: VerbSpec,
    /// `holder` = the node of whoever is inside just then, `node-0`, `node-1` …, `server`, or `leader` = the member that
    /// leads just then, of a server of several; `at-begun`, `at-first-prepared` … = the node whose task is the next to come to that
    /// step, which only contenders have that go through it.
    pub target: Spanned<String>,
    /// Mean distance from the end of one to the beginning of the next; drawn uniformly from 0 to twice this.
    pub every_s: f64,
    /// How long until it is taken back.
    pub for_ms: f64,
    /// Of a link: the one to the `server`, the one to the `agent`, or the one over which the other `nodes` of a ring reach
    /// the target.
    #[serde(default)]
    pub link: LinkTo,
    /// Of a link: `both` ways, `to-server` (the target, where the nodes' link is meant), or `from-server` (requests arrive,
    /// answers do not); `to-agent` and `from-agent` say the same of a link to the agent.
    #[serde(default)]
    pub way: Direction,
    /// How slow a slow link is, each way that is meant; for how long a copy that is promoted has heard nothing of its primary.
    #[serde(default)]
    pub delay_ms: f64,
    /// How far a clock jumps ahead.
    #[serde(default)]
    pub ahead_ms: f64,
    /// Of a ring: the node that hears of both changes later than all others, so that the nodes' views differ meanwhile.
    pub late_node: Option<u16>,
    /// How much later.
    #[serde(default)]
    pub late_ms: f64,
    /// How many of these must take effect for a verdict to mean anything; `least_faults` where it is not said.
    pub least: Option<u32>,
    /// None in so long a time at the beginning of the run; and none that lasts into so long a time at its end, in which
    /// the system can come back.
    #[serde(default = "one")]
    pub quiet_s: f64,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerbSpec {
    /// SIGSTOP, SIGCONT.
    Pause,
    /// SIGKILL, a new start.
    Kill,
    /// The event loop waits.
    Stall,
    /// Nothing gets through.
    Cut,
    /// Everything takes longer.
    Slow,
    /// Connections end.
    Reset,
    /// A member of the ring is none.
    Leave,
    /// A node outside the ring is a member.
    Join,
    /// SIGKILL of the primary; its copy is the primary.
    Promote,
    /// The clock is set ahead.
    Jump,
}

impl FaultSpec {
    /// What is done, with its details.
    #[must_use]
    pub fn fault(&self) -> FaultVerb {
        let way = self.way;
        let by_ns = (self.late_ms * 1e6) as u64;
        let late = self.late_node.map(|node| Late { node: NodeId(node), by_ns });
        match self.verb {
            VerbSpec::Pause => FaultVerb::Pause,
            VerbSpec::Kill => FaultVerb::Kill,
            VerbSpec::Stall => FaultVerb::Stall,
            VerbSpec::Cut => FaultVerb::Cut { way },
            VerbSpec::Slow => FaultVerb::Slow { way, delay_ns: (self.delay_ms * 1e6) as u64 },
            VerbSpec::Reset => FaultVerb::Reset,
            VerbSpec::Leave => FaultVerb::Leave { late },
            VerbSpec::Join => FaultVerb::Join { late },
            VerbSpec::Promote => FaultVerb::Promote { behind_ns: (self.delay_ms * 1e6) as u64 },
            VerbSpec::Jump => FaultVerb::Jump { ahead_ns: (self.ahead_ms * 1e6) as u64 },
        }
    }

    /// One of these, where there is such a target.
    #[must_use]
    pub fn at(&self, at_ns: u64) -> Option<Fault> {
        let for_ns = nanos(self.for_ms / 1e3);
        Some(Fault { at_ns, for_ns, verb: self.fault(), target: self.aim()?, link: self.link })
    }

    /// Whom it is aimed at; `None`: there is no such target.
    #[must_use]
    pub fn aim(&self) -> Option<FaultTarget> {
        match self.target.get_ref().as_str() {
            "holder" => Some(FaultTarget::Holder),
            "server" => Some(FaultTarget::Server),
            "leader" => Some(FaultTarget::Leader),
            other if other.starts_with("at-") => {
                let named = |point: &Point| other.strip_prefix("at-") == Some(point.name());
                Point::ALL.into_iter().find(named).map(FaultTarget::At)
            }
            other => other.strip_prefix("node-")?.parse().ok().map(|node| FaultTarget::Node(NodeId(node))),
        }
    }
}

fn one() -> f64 {
    1.0
}
