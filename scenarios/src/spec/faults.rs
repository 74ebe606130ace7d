//! What is broken on purpose, as a scenario says it.

use harness::model::{Direction, FaultTarget, FaultVerb, Late, LinkTo, NodeId};
use serde::Deserialize;
use toml::Spanned;

use super::{Members, Placement, Scenario, SpecError, Topology};

/// A kind of fault, again and again at random distances; controls are spared.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// `pause` (and resume), `kill` (and restart); of the target's link to the server: `cut` (and restore), `slow`,
    /// `reset`; of a ring, whose nodes live on: `leave` (and join), or `join` (and leave) of a node that is outside at first.
    pub verb: VerbSpec,
    /// `holder` = the node of whoever is inside just then, `node-0`, `node-1` …, `server`, or `leader` = the member that
    /// leads just then, of a server of several.
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
    /// How slow a slow link is, each way that is meant.
    #[serde(default)]
    pub delay_ms: f64,
    /// Of a ring: the node that hears of both changes later than all others, so that the nodes' views differ meanwhile.
    pub late_node: Option<u16>,
    /// How much later.
    #[serde(default)]
    pub late_ms: f64,
    /// None in so long a time at the beginning of the run; and none that lasts into so long a time at its end, in which
    /// the system can come back.
    #[serde(default = "super::one_f64")]
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
            VerbSpec::Cut => FaultVerb::Cut { way },
            VerbSpec::Slow => FaultVerb::Slow { way, delay_ns: (self.delay_ms * 1e6) as u64 },
            VerbSpec::Reset => FaultVerb::Reset,
            VerbSpec::Leave => FaultVerb::Leave { late },
            VerbSpec::Join => FaultVerb::Join { late },
        }
    }

    /// Whom it is aimed at; `None`: there is no such target.
    #[must_use]
    pub fn aim(&self) -> Option<FaultTarget> {
        match self.target.get_ref().as_str() {
            "holder" => Some(FaultTarget::Holder),
            "server" => Some(FaultTarget::Server),
            "leader" => Some(FaultTarget::Leader),
            other => other.strip_prefix("node-")?.parse().ok().map(|node| FaultTarget::Node(NodeId(node))),
        }
    }
}

impl Scenario {
    pub(super) fn validate_faults(&self) -> Result<(), SpecError> {
        self.spec.faults.iter().try_for_each(|fault| self.validate_fault(fault))
    }

    fn validate_fault(&self, fault: &FaultSpec) -> Result<(), SpecError> {
        let at_target = |what: String| Err(self.error_at(fault.target.span(), what));
        match fault.aim() {
            None => {
                return at_target(format!(
                    "unknown target `{}`; there are `holder`, `server`, `leader` and `node-0` to `node-{}`",
                    fault.target.get_ref(),
                    self.spec.nodes - 1
                ));
            }
            Some(FaultTarget::Node(node)) if node.0 >= self.spec.nodes => {
                return at_target(format!("there is no node {}: nodes = {}", node.0, self.spec.nodes));
            }
            Some(FaultTarget::Leader) if self.spec.topology == Topology::Single => {
                return at_target(
                    "nobody leads a server of one member: set `topology = \"replicated\"`, or `--topology replicated`"
                        .to_owned(),
                );
            }
            Some(FaultTarget::Node(_) | FaultTarget::Holder)
                if self.spec.placement == Placement::Single
                    && matches!(fault.verb, VerbSpec::Pause | VerbSpec::Kill) =>
            {
                return at_target(format!(
                    "to {} a node it must be a process: set `placement = \"process\"`, or `--placement process`",
                    fault.fault()
                ));
            }
            Some(_) => {}
        }
        if fault.link == LinkTo::Agent {
            self.validate_agent_link(fault)?;
        }
        let fine = (0.0..=3_600.0).contains(&fault.every_s)
            && (1.0..=3_600_000.0).contains(&fault.for_ms)
            && (0.0..=3_600.0).contains(&fault.quiet_s)
            && (0.0..=3_600_000.0).contains(&fault.delay_ms);
        if !fine {
            let what = "every_s, quiet_s and delay_ms must be from 0 to an hour, for_ms from 1";
            return at_target(what.to_owned());
        }
        if fault.link == LinkTo::Nodes
            && (!fault.fault().is_of_link()
                || matches!(fault.aim(), Some(FaultTarget::Server | FaultTarget::Leader)))
        {
            let what = "link = \"nodes\" is for `cut`, `slow` and `reset` of `holder` or a node";
            return at_target(what.to_owned());
        }
        self.validate_ring_change(fault)
    }

    /// A link to the agent is a node's, and there is one only where the agent is in another process.
    fn validate_agent_link(&self, fault: &FaultSpec) -> Result<(), SpecError> {
        let of_node = matches!(fault.aim(), Some(FaultTarget::Node(_) | FaultTarget::Holder));
        let what = if !of_node {
            "`link = \"agent\"` is a node's: the target must be `holder` or a node"
        } else if !fault.fault().is_of_link() {
            "`link = \"agent\"` goes with `cut`, `slow` and `reset`, which are done to links"
        } else if self.spec.placement == Placement::Single {
            "to have a link to the agent a node must be a process: set `placement = \"process\"`, or `--placement process`"
        } else {
            return Ok(());
        };
        Err(self.error_at(fault.target.span(), what))
    }

    /// Who joins must be outside, who leaves must not, and somebody must stay.
    fn validate_ring_change(&self, fault: &FaultSpec) -> Result<(), SpecError> {
        let wrong = |what: &str| Err(self.error_at(fault.target.span(), what));
        let late = fault.late_node.is_some() || fault.late_ms != 0.0;
        if !fault.fault().is_of_ring() {
            return if late { wrong("late_node and late_ms are for `join` and `leave`") } else { Ok(()) };
        }
        if self.spec.membership == Members::Postgres {
            return wrong(
                "with membership = \"postgres\" the nodes find out themselves; `join` and `leave` are told",
            );
        }
        if late && fault.late_node.is_none_or(|node| node >= self.spec.nodes) {
            return wrong("late_ms needs a late_node, the number of a node");
        }
        if late && !(fault.late_ms > 0.0 && fault.late_ms < fault.for_ms) {
            return wrong("late_node needs late_ms, greater than 0 and less than for_ms");
        }
        let joining = self.spec.faults.iter().filter(|each| each.verb == VerbSpec::Join);
        let mut joining: Vec<_> = joining.filter_map(FaultSpec::aim).collect();
        joining.dedup();
        match (fault.verb, fault.aim()) {
            (VerbSpec::Join, Some(FaultTarget::Node(_))) => {}
            (VerbSpec::Join, _) => {
                return wrong("only a named node, `node-0` …, can be outside at first and join");
            }
            (_, Some(FaultTarget::Server | FaultTarget::Leader)) => {
                return wrong("a server is no member of the ring");
            }
            (_, Some(target)) if joining.contains(&target) => {
                return wrong(
                    "this node joins already, and leaves again each time; one of the two is enough",
                );
            }
            _ => {}
        }
        if joining.len() + 1 >= usize::from(self.spec.nodes) {
            return wrong("two members must be left while others are outside; raise nodes");
        }
        Ok(())
    }
}
