//! Everything that can take part: the classes of mechanisms, each with its contenders.

use harness::record::Role;

use super::contender::Contender;
use super::{client, control, jobs, lock, pooled, ring, transfer};

/// Every class, as what it lists; one line for each file.
const CLASSES: &[fn() -> Vec<Contender>] = &[
    control::contenders,
    client::contenders,
    lock::contenders,
    ring::contenders,
    jobs::contenders,
    transfer::contenders,
    pooled::contenders,
];

/// Every contender, controls first.
#[must_use]
pub fn all() -> Vec<Contender> {
    let listed = CLASSES.iter().flat_map(|contenders| contenders());
    let (mut all, compared): (Vec<_>, Vec<_>) = listed.partition(|contender| contender.role == Role::Control);
    all.extend(compared);
    all
}

#[cfg(test)]
mod tests {
    use harness::model::{Direction, Fault, FaultTarget, FaultVerb, LinkTo, NodeId};

    use super::*;
    use crate::spec::Members;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().iter().map(|contender| contender.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn every_contender_keeps_its_look_in_every_report() {
        let compared = all().into_iter().filter(|contender| contender.role == Role::Contender);
        let strangers: Vec<_> =
            compared.map(|one| one.name).filter(|name| !reports::KNOWN_LOOKS.contains(name)).collect();
        assert_eq!(strangers, [""; 0], "append them to reports/src/chart/look.rs");
    }

    #[test]
    fn every_class_is_registered() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/contenders");
        let places = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = places.map(|place| if place.is_dir() { place.join("mod.rs") } else { place });
        let classes = files.filter(|file| {
            std::fs::read_to_string(file).unwrap().contains("\npub(super) fn contenders() -> Vec<Contender>")
        });
        assert_eq!(classes.count(), CLASSES.len());
    }

    #[test]
    fn nobody_is_hit_by_a_fault_of_what_he_has_not() {
        let all = all();
        let spared = |name: &str, members, verb, target, link| {
            let contender = all.iter().find(|contender| contender.name == name).unwrap().clone();
            contender.with_members(members).is_spared(&Fault { at_ns: 0, for_ns: 1, verb, target, link })
        };
        let (node, server) = (FaultTarget::Node(NodeId(0)), FaultTarget::Server);
        let (join, cut) = (FaultVerb::Join { late: None }, FaultVerb::Cut { way: Direction::Both });
        let (told, table) = (Members::Static, Members::Postgres);
        for (verb, target, link, expected) in [
            // pg-mux, ring-queue that is told its members, ring-queue with a table of them.
            (join, node, LinkTo::Server, [true, false, false]),
            (cut, node, LinkTo::Nodes, [true, false, false]),
            (cut, node, LinkTo::Server, [false, true, false]),
            (FaultVerb::Kill, server, LinkTo::Server, [false, true, false]),
            (FaultVerb::Kill, node, LinkTo::Server, [false, false, false]),
        ] {
            let found = [("pg-mux", told), ("ring-queue", told), ("ring-queue", table)]
                .map(|(name, members)| spared(name, members, verb, target, link));
            assert_eq!(found, expected, "{verb} {target} {link:?}");
            assert!(
                spared("noop", told, verb, target, link) && spared("ring-local", told, verb, target, link)
            );
            let of_its_node = verb == FaultVerb::Kill && target == node;
            assert_eq!(spared("none", told, verb, target, link), !of_its_node, "{verb} {target} {link:?}");
        }
    }

    #[test]
    fn jobs_are_refused_where_they_would_wait_for_each_other_or_share_a_resource() {
        let all = all();
        let refused = |scenario: &str, settings: &[(String, String)]| {
            let spec = crate::catalog::load(scenario, settings).unwrap().spec;
            let jobs = all.iter().filter(|contender| contender.name.starts_with("jobs-"));
            let reasons: Vec<_> = jobs.map(|contender| contender.refuses(&spec)).collect();
            assert_eq!(reasons.len(), 2);
            assert_eq!(reasons[0], reasons[1]);
            reasons[0].clone()
        };
        assert_eq!(refused("virtual-router", &[]), None);
        assert_eq!(refused("hot-key", &[]), None);
        assert!(refused("smoke", &[]).unwrap().contains("router has level 100, not 1"));
        let flat = ["router", "host"].map(|kind| (format!("resources.{kind}.level"), "1".to_owned()));
        assert!(refused("smoke", &flat).unwrap().contains("those of `start-vm`"));
    }

    #[test]
    fn the_catalogue_names_only_contenders_that_exist() {
        let names: Vec<_> = all().iter().map(|contender| contender.name).collect();
        for (scenario, _) in crate::catalog::ALL {
            for contender in crate::catalog::load(scenario, &[]).unwrap().spec.contenders {
                assert!(names.contains(&contender.get_ref().as_str()), "{scenario}: {contender:?}");
            }
        }
    }
}
