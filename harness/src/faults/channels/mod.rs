//! The channels over which faults are injected: a file each, and one line in [`ALL`]. What a channel has to say is in
//! [`Channel`].

mod process;
mod event_loop;
mod server;
mod link;
mod ring;
mod promotion;
mod clock;

use super::channel::Channel;
use crate::model::Fault;

/// Every channel.
const ALL: &[&dyn Channel] = &[
    &process::Process,
    &event_loop::EventLoop,
    &server::Server,
    &link::Link,
    &ring::Ring,
    &promotion::Promotion,
    &clock::Clock,
];

/// The channel over which a fault is injected.
pub(super) fn of(fault: &Fault) -> Result<&'static dyn Channel, String> {
    let mut all = ALL.iter().copied();
    all.find(|channel| channel.answers_for(fault))
        .ok_or_else(|| format!("no channel answers for {fault} of {}", fault.target))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{Direction, FaultTarget, FaultVerb, LinkTo, NodeId, Point};

    #[test]
    fn exactly_one_channel_answers_for_each_fault() {
        use FaultVerb::{Cut, Join, Jump, Kill, Leave, Pause, Promote, Reset, Slow, Stall};
        let way = Direction::Both;
        let verbs = [
            Pause,
            Kill,
            Stall,
            Cut { way },
            Slow { way, delay_ns: 1 },
            Reset,
            Leave { late: None },
            Join { late: None },
            Promote { behind_ns: 1 },
            Jump { ahead_ns: 1 },
        ];
        let targets =
            [FaultTarget::Node(NodeId(0)), FaultTarget::Holder, FaultTarget::Server, FaultTarget::Leader];
        // Who stands at a step is a node's process, and nothing else of it is hit there.
        for verb in [Pause, Kill] {
            let target = FaultTarget::At(Point::Begun);
            let fault = Fault { at_ns: 0, for_ns: 1, verb, target, link: LinkTo::Server };
            let answers = ALL.iter().filter(|channel| channel.answers_for(&fault));
            assert_eq!(answers.map(|channel| channel.name()).collect::<Vec<_>>(), ["process"]);
        }
        let mut answered = BTreeSet::new();
        for verb in verbs {
            for target in targets {
                for link in [LinkTo::Server, LinkTo::Nodes, LinkTo::Agent] {
                    let fault = Fault { at_ns: 0, for_ns: 1, verb, target, link };
                    let answers = ALL.iter().filter(|channel| channel.answers_for(&fault));
                    let answers: Vec<_> = answers.map(|channel| channel.name()).collect();
                    assert_eq!(answers.len(), 1, "{fault:?}: {answers:?}");
                    answered.extend(answers);
                }
            }
        }
        assert_eq!(answered.len(), ALL.len(), "every channel answers for something");
    }

    #[test]
    fn every_file_is_registered_under_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/faults/channels");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .filter(|file| file != "mod")
            .collect();
        let names: BTreeSet<String> = ALL.iter().map(|channel| channel.name().to_owned()).collect();
        assert_eq!(files, names);
        assert_eq!(names.len(), ALL.len());
    }
}
