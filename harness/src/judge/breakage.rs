//! What was broken in a run, on purpose or not: what a check must know to tell a fault from a failure.

use crate::model::{Facts, FaultVerb, NodeId, Standstill};

/// A time at which something was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Breakage {
    /// The node that was hit; `None`: a server, or a link.
    pub(crate) node: Option<NodeId>,
    /// What was done.
    pub(crate) blow: Blow,
    /// Stamp of its start.
    pub(crate) from_ns: u64,
    /// Stamp of its end (resumed, restarted, restored); `None`: it outlasted the run.
    pub(crate) until_ns: Option<u64>,
}

/// What a fault does to whom it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// All that it knew is gone, and those who waited there wait no longer.
    Kill,
    /// It goes on afterwards, as if nothing had happened.
    Stall,
    /// The member of a server that led is gone or stands still; those that are left go on without it.
    Leader,
}

/// Outages of nodes, and the faults of servers and links, by start.
pub(crate) fn breakages(facts: &Facts) -> Vec<Breakage> {
    let of_nodes = facts.outages.iter().map(|outage| Breakage {
        node: Some(outage.node),
        blow: if outage.state == Standstill::Down { Blow::Kill } else { Blow::Stall },
        from_ns: outage.from_ns,
        until_ns: Some(outage.until_ns).filter(|until_ns| *until_ns != u64::MAX),
    });
    let others = facts.injected.iter().filter(|each| each.node.is_none() || each.fault.verb.is_of_link());
    // A change of the ring breaks nothing: nobody may be served later for it.
    let others = others.filter(|each| !each.fault.verb.is_of_ring());
    let others = others.filter_map(|each| {
        let (from_ns, until_ns) = each.lasted_ns?;
        let blow = match each.fault.verb {
            FaultVerb::Pause | FaultVerb::Kill if each.member.is_some() => Blow::Leader,
            FaultVerb::Kill => Blow::Kill,
            _ => Blow::Stall,
        };
        Some(Breakage { node: None, blow, from_ns, until_ns: Some(until_ns) })
    });
    let mut all: Vec<_> = of_nodes.chain(others).collect();
    all.sort_by_key(|breakage| breakage.from_ns);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::run;
    use crate::model::{Direction, Fault, FaultTarget, Injected, LinkTo};

    #[test]
    fn servers_are_killed_or_stand_still_or_go_on_without_their_leader() {
        let blow = |verb, member: Option<usize>| {
            let mut facts = run(1, 1, &[]).facts;
            let fault =
                Fault { at_ns: 0, for_ns: 9, verb, target: FaultTarget::Server, link: LinkTo::Server };
            let (lasted_ns, node, hit, misses, failure) = (Some((5, 14)), None, Vec::new(), 0, None);
            facts.injected.push(Injected { fault, lasted_ns, node, member, hit, misses, failure });
            let all = breakages(&facts);
            assert_eq!((all.len(), all[0].node, all[0].from_ns, all[0].until_ns), (1, None, 5, Some(14)));
            all[0].blow
        };
        assert_eq!(blow(FaultVerb::Kill, None), Blow::Kill);
        assert_eq!(blow(FaultVerb::Pause, None), Blow::Stall);
        assert_eq!(blow(FaultVerb::Kill, Some(0)), Blow::Leader);
        assert_eq!(blow(FaultVerb::Pause, Some(2)), Blow::Leader);
        assert_eq!(blow(FaultVerb::Cut { way: Direction::Both }, None), Blow::Stall);
    }
}
