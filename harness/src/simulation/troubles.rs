//! Faults of links and of the server as messages meet them. They may overlap, unlike those of real runs.

use std::ops::Range;

use crate::model::{Direction, Fault, FaultTarget, FaultVerb, LinkTo, NodeId};

/// Of a message between a node and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    There,
    Back,
}

/// What is broken when.
#[derive(Debug, Default)]
pub(super) struct Troubles(Vec<Trouble>);

#[derive(Debug)]
struct Trouble {
    during: Range<u64>,
    fault: Fault,
}

impl Troubles {
    /// Of these faults, whose times count from that stamp.
    pub(super) fn new(origin_ns: u64, faults: &[Fault]) -> Self {
        let during = |fault: &Fault| origin_ns + fault.at_ns..origin_ns + fault.at_ns + fault.for_ns;
        Self(faults.iter().map(|fault| Trouble { during: during(fault), fault: *fault }).collect())
    }

    /// When a message of a node arrives that takes so long; or when it is lost.
    ///
    /// A link that is cut keeps what was said, and lets it through when it is restored; what is on its way when the link is reset is
    /// lost. A server that stands still answers later, one that is down does not answer.
    pub(super) fn arrives_ns(&self, node: NodeId, way: Way, sent_ns: u64, takes_ns: u64) -> Result<u64, u64> {
        let on_its_way = || self.0.iter().filter(move |trouble| trouble.is_on_the_way(node, way));
        let slow = on_its_way().filter(|trouble| trouble.during.contains(&sent_ns));
        let takes_ns = takes_ns + slow.map(|trouble| trouble.delay_ns()).sum::<u64>();
        let mut arrives_ns = sent_ns + takes_ns;
        while let Some(until_ns) = on_its_way()
            .filter(|trouble| trouble.holds_back(arrives_ns))
            .map(|trouble| trouble.during.end)
            .max()
        {
            // With the rest of what was held back, in the order in which it was said.
            arrives_ns = until_ns + takes_ns;
        }
        let lost_ns = on_its_way().filter_map(|trouble| trouble.loses_ns(way, sent_ns..arrives_ns)).min();
        lost_ns.map_or(Ok(arrives_ns), Err)
    }

    /// How far ahead the server's clock has been set.
    pub(super) fn ahead_ns(&self, at_ns: u64) -> u64 {
        let now = self.0.iter().filter(|trouble| trouble.during.contains(&at_ns));
        let ahead = |trouble: &Trouble| match trouble.fault.verb {
            FaultVerb::Jump { ahead_ns } => ahead_ns,
            _ => 0,
        };
        now.map(ahead).sum()
    }

    /// How often the server has been killed by then.
    pub(super) fn server_starts(&self, at_ns: u64) -> usize {
        self.0.iter().filter(|trouble| trouble.kills_server() && trouble.during.start <= at_ns).count()
    }
}

impl Trouble {
    fn kills_server(&self) -> bool {
        (self.fault.verb, self.fault.target) == (FaultVerb::Kill, FaultTarget::Server)
    }

    fn is_on_the_way(&self, node: NodeId, way: Way) -> bool {
        let Fault { verb, target, link, .. } = self.fault;
        let of_the_link = target == FaultTarget::Node(node) && link == LinkTo::Server;
        match verb {
            FaultVerb::Cut { way: direction } | FaultVerb::Slow { way: direction, .. } => {
                of_the_link
                    && match direction {
                        Direction::Both => true,
                        Direction::ToServer => way == Way::There,
                        Direction::FromServer => way == Way::Back,
                    }
            }
            FaultVerb::Reset => of_the_link,
            FaultVerb::Pause | FaultVerb::Kill => target == FaultTarget::Server && way == Way::There,
            _ => false,
        }
    }

    fn delay_ns(&self) -> u64 {
        match self.fault.verb {
            FaultVerb::Slow { delay_ns, .. } => delay_ns,
            _ => 0,
        }
    }

    /// Whether what would arrive then waits for the end.
    fn holds_back(&self, at_ns: u64) -> bool {
        matches!(self.fault.verb, FaultVerb::Cut { .. } | FaultVerb::Pause) && self.during.contains(&at_ns)
    }

    /// When it loses what is on its way so long, if it does.
    fn loses_ns(&self, way: Way, on_its_way: Range<u64>) -> Option<u64> {
        let (at_ns, loses) = match self.fault.verb {
            FaultVerb::Reset => (self.during.start, on_its_way.contains(&self.during.start)),
            FaultVerb::Kill => (on_its_way.end, way == Way::There && self.during.contains(&on_its_way.end)),
            _ => return None,
        };
        loses.then_some(at_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    fn of_link(verb: FaultVerb, at_ns: u64, for_ns: u64) -> Fault {
        Fault { at_ns, for_ns, verb, target: FaultTarget::Node(NODE), link: LinkTo::Server }
    }

    fn of_server(verb: FaultVerb, at_ns: u64, for_ns: u64) -> Fault {
        Fault { target: FaultTarget::Server, ..of_link(verb, at_ns, for_ns) }
    }

    #[test]
    fn a_cut_holds_back_the_ways_that_it_cuts_and_of_its_node_alone() {
        let cut = FaultVerb::Cut { way: Direction::FromServer };
        let troubles = Troubles::new(1_000, &[of_link(cut, 0, 100), of_link(cut, 90, 100)]);
        let arrives = |node, way, sent_ns| troubles.arrives_ns(NodeId(node), way, sent_ns, 5);
        assert_eq!(arrives(1, Way::Back, 1_010), Ok(1_195), "held back by both, one after the other");
        assert_eq!(arrives(1, Way::Back, 1_190), Ok(1_195));
        assert_eq!(arrives(1, Way::Back, 990), Ok(995));
        assert_eq!(arrives(1, Way::There, 1_010), Ok(1_015));
        assert_eq!(arrives(2, Way::Back, 1_010), Ok(1_015));
    }

    #[test]
    fn a_reset_loses_what_is_on_its_way_and_nothing_else() {
        let troubles = Troubles::new(0, &[of_link(FaultVerb::Reset, 100, 1)]);
        let arrives = |sent_ns| troubles.arrives_ns(NODE, Way::There, sent_ns, 5);
        assert_eq!([94, 97, 100, 101].map(arrives), [Ok(99), Err(100), Err(100), Ok(106)]);
    }

    #[test]
    fn a_server_that_stands_still_answers_later_and_one_that_is_down_not_at_all() {
        let troubles =
            Troubles::new(0, &[of_server(FaultVerb::Pause, 10, 10), of_server(FaultVerb::Kill, 100, 10)]);
        let arrives = |sent_ns| troubles.arrives_ns(NODE, Way::There, sent_ns, 5);
        assert_eq!([4, 5, 14, 15].map(arrives), [Ok(9), Ok(25), Ok(25), Ok(20)]);
        assert_eq!([94, 95, 104, 105].map(arrives), [Ok(99), Err(100), Err(109), Ok(110)]);
        assert_eq!(troubles.arrives_ns(NODE, Way::Back, 12, 5), Ok(17), "what it has said is on its way");
        assert_eq!([99, 100, 500].map(|at_ns| troubles.server_starts(at_ns)), [0, 1, 1]);
    }

    #[test]
    fn whoever_is_slow_is_late_and_a_clock_that_jumped_comes_back() {
        let slow = FaultVerb::Slow { way: Direction::Both, delay_ns: 50 };
        let jump = FaultVerb::Jump { ahead_ns: 7 };
        let troubles = Troubles::new(0, &[of_link(slow, 10, 10), of_server(jump, 30, 10)]);
        assert_eq!(
            [9, 10, 20].map(|sent_ns| troubles.arrives_ns(NODE, Way::There, sent_ns, 5)),
            [Ok(14), Ok(65), Ok(25)]
        );
        assert_eq!([29, 30, 39, 40].map(|at_ns| troubles.ahead_ns(at_ns)), [0, 7, 7, 0]);
    }
}
