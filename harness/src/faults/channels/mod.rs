//! The channels over which faults are injected: a file each, and one line in [`ALL`]. What a channel has to say is in
//! [`Channel`].

mod process;
mod server;
mod link;
mod ring;

use super::channel::Channel;
use crate::model::Fault;

/// Every channel.
const ALL: &[&dyn Channel] = &[&process::Process, &server::Server, &link::Link, &ring::Ring];

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
    use crate::model::{Direction, FaultTarget, FaultVerb, LinkTo, NodeId};

    #[test]
    fn exactly_one_channel_answers_for_each_fault() {
        use FaultVerb::{Cut, Join, Kill, Leave, Pause, Reset, Slow};
        let way = Direction::Both;
        let verbs = [
            Pause,
            Kill,
            Cut { way },
            Slow { way, delay_ns: 1 },
            Reset,
            Leave { late: None },
            Join { late: None },
        ];
        let targets =
            [FaultTarget::Node(NodeId(0)), FaultTarget::Holder, FaultTarget::Server, FaultTarget::Leader];
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
