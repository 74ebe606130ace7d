//! Faults that a scenario can have.

use harness::model::{FaultTarget, LinkTo, Point};
use harness::servers::Topology;

use crate::spec::error::SpecError;
use crate::spec::faults::{FaultSpec, VerbSpec};
use crate::spec::placement::{Members, Placement};
use crate::spec::scenario::Scenario;

pub(super) fn faults(scenario: &Scenario) -> Result<(), SpecError> {
    scenario.spec.faults.iter().try_for_each(|fault| self::fault(scenario, fault))
}

/// Faults of one kind in a run, at most.
const MOST_FAULTS: f64 = 10_000.0;

fn fault(scenario: &Scenario, fault: &FaultSpec) -> Result<(), SpecError> {
    let at_target = |what: String| Err(scenario.error_at(fault.target.span(), what));
    match fault.aim() {
        None => {
            return at_target(format!(
                "unknown target `{}`; there are `holder`, `server`, `leader`, `node-0` to `node-{}`, and {}",
                fault.target.get_ref(),
                scenario.spec.nodes - 1,
                Point::ALL.map(|point| format!("`at-{}`", point.name())).join(", ")
            ));
        }
        Some(FaultTarget::Node(node)) if node.0 >= scenario.spec.nodes => {
            return at_target(format!("there is no node {}: nodes = {}", node.0, scenario.spec.nodes));
        }
        Some(FaultTarget::Leader) if scenario.spec.topology != Topology::Replicated => {
            return at_target(
                "nobody leads a server whose members do not agree: set `topology = \"replicated\"`, or `--topology replicated`"
                    .to_owned(),
            );
        }
        Some(FaultTarget::At(_)) if !matches!(fault.verb, VerbSpec::Pause | VerbSpec::Kill) => {
            return at_target("whoever comes to a step can be paused or killed there".to_owned());
        }
        Some(FaultTarget::Node(_) | FaultTarget::Holder | FaultTarget::At(_))
            if scenario.spec.placement == Placement::Single
                && matches!(fault.verb, VerbSpec::Pause | VerbSpec::Kill | VerbSpec::Stall) =>
        {
            return at_target(format!(
                "to {} a node it must be a process: set `placement = \"process\"`, or `--placement process`",
                fault.fault()
            ));
        }
        Some(target) if fault.fault().is_of_server() && target != FaultTarget::Server => {
            return at_target(format!("to {} something it must be the server", fault.fault()));
        }
        Some(FaultTarget::Server | FaultTarget::Leader) if fault.verb == VerbSpec::Stall => {
            return at_target(
                "a server's event loop is its own: stall a node, or pause the server".to_owned(),
            );
        }
        Some(_) => {}
    }
    if fault.verb == VerbSpec::Promote && scenario.spec.topology != Topology::Copied {
        return at_target(
            "a server without a copy has none to promote: set `topology = \"copied\"`".to_owned(),
        );
    }
    if fault.verb == VerbSpec::Jump && fault.ahead_ms <= 0.0 {
        return at_target("a clock that jumps needs ahead_ms, how far".to_owned());
    }
    if fault.link == LinkTo::Agent {
        agent_link(scenario, fault)?;
    }
    let fine = (0.0..=3_600.0).contains(&fault.every_s)
        && (1.0..=3_600_000.0).contains(&fault.for_ms)
        && (0.0..=3_600.0).contains(&fault.quiet_s)
        && (0.0..=3_600_000.0).contains(&fault.delay_ms)
        && (0.0..=86_400_000.0).contains(&fault.ahead_ms);
    if !fine {
        let what =
            "every_s, quiet_s and delay_ms must be from 0 to an hour, for_ms from 1, ahead_ms to a day";
        return at_target(what.to_owned());
    }
    let window_s = scenario.spec.duration_s.unwrap_or(0.0);
    if window_s / (fault.every_s + fault.for_ms / 1e3) > MOST_FAULTS {
        return at_target("more than 10,000 faults in one run; raise every_s or for_ms".to_owned());
    }
    if fault.link == LinkTo::Nodes
        && (!fault.fault().is_of_link()
            || matches!(fault.aim(), Some(FaultTarget::Server | FaultTarget::Leader)))
    {
        let what = "link = \"nodes\" is for `cut`, `slow` and `reset` of `holder` or a node";
        return at_target(what.to_owned());
    }
    ring_change(scenario, fault)
}

/// A link to the agent is a node's, and there is one only where the agent is in another process.
fn agent_link(scenario: &Scenario, fault: &FaultSpec) -> Result<(), SpecError> {
    let of_node = matches!(fault.aim(), Some(FaultTarget::Node(_) | FaultTarget::Holder));
    let what = if !of_node {
        "`link = \"agent\"` is a node's: the target must be `holder` or a node"
    } else if !fault.fault().is_of_link() {
        "`link = \"agent\"` goes with `cut`, `slow` and `reset`, which are done to links"
    } else if scenario.spec.placement == Placement::Single {
        "to have a link to the agent a node must be a process: set `placement = \"process\"`, or `--placement process`"
    } else {
        return Ok(());
    };
    Err(scenario.error_at(fault.target.span(), what))
}

/// Who joins must be outside, who leaves must not, and somebody must stay.
fn ring_change(scenario: &Scenario, fault: &FaultSpec) -> Result<(), SpecError> {
    let wrong = |what: &str| Err(scenario.error_at(fault.target.span(), what));
    let late = fault.late_node.is_some() || fault.late_ms != 0.0;
    if !fault.fault().is_of_ring() {
        return if late { wrong("late_node and late_ms are for `join` and `leave`") } else { Ok(()) };
    }
    if scenario.spec.membership == Members::Postgres {
        return wrong(
            "with membership = \"postgres\" the nodes find out themselves; `join` and `leave` are told",
        );
    }
    if late && fault.late_node.is_none_or(|node| node >= scenario.spec.nodes) {
        return wrong("late_ms needs a late_node, the number of a node");
    }
    if late && !(fault.late_ms > 0.0 && fault.late_ms < fault.for_ms) {
        return wrong("late_node needs late_ms, greater than 0 and less than for_ms");
    }
    let joining = scenario.spec.faults.iter().filter(|each| each.verb == VerbSpec::Join);
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
            return wrong("this node joins already, and leaves again each time; one of the two is enough");
        }
        _ => {}
    }
    if joining.len() + 1 >= usize::from(scenario.spec.nodes) {
        return wrong("two members must be left while others are outside; raise nodes");
    }
    Ok(())
}
