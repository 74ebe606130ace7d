//! Faults, and histories in which they met something or did not.

use super::*;
use crate::judge::fixture::{Told, completed, granted, left, run, with_a_child};
use crate::model::{Fault, FaultVerb, LinkTo, TaskId, Token};

const MS: u64 = 1_000_000;

fn entered(sequence: u64, value: u64) -> What {
    What::Entered { slot: Some(0), token: Some(Token { generation: 0, sequence }), value }
}

fn told(facts: &Facts, events: &[Event]) -> FaultFacts {
    let Ok(told) = aftermath(facts, events);
    told
}

/// Task 0 is hit at 10 ms for 30 ms.
fn hit(verb: FaultVerb, table: &[(u64, u32, What)]) -> FaultRecord {
    let mut run = run(1, 3, table);
    let hit = Section {
        node: NodeId(0),
        step: StepRef { task: TaskId(0), step: 0 },
        slot: Some(0),
        token: Some(Token { generation: 0, sequence: 1 }),
    };
    let (target, link) = (FaultTarget::Holder, LinkTo::Server);
    let fault = Fault { at_ns: 9_000_000, for_ns: 30_000_000, verb, target, link };
    run.facts.injected.push(Injected {
        fault,
        lasted_ns: Some((10_000_000, 40_000_000)),
        node: Some(NodeId(0)),
        member: None,
        hit: vec![hit],
        misses: 2,
        failure: None,
    });
    told(&run.facts, &run.events).faults.remove(0)
}

/// Something that was broken from 2,000 to 4,000 ms.
fn broken(mut run: Told, target: FaultTarget, verb: FaultVerb) -> FaultFacts {
    let fault = Fault { at_ns: 9, for_ns: 9, verb, target, link: LinkTo::Server };
    let lasted_ns = Some((2_000 * MS, 4_000 * MS));
    let (node, member, hit, misses, failure) = (None, None, Vec::new(), 0, None);
    run.facts.injected.push(Injected { fault, lasted_ns, node, member, hit, misses, failure });
    told(&run.facts, &run.events)
}

fn ended(outcome: Outcome) -> What {
    What::Returned { outcome }
}

#[test]
fn entries_and_completed_tasks_are_told_from_before_and_from_the_first_second_of_a_fault() {
    let at = |ms: u64, task| (ms, task, completed());
    let table = [
        (100, 0, entered(1, 0)),
        at(999, 0),
        at(1_000, 1),
        (1_500, 2, ended(Outcome::TimedOut)),
        (1_999, 3, entered(2, 0)),
        at(1_999, 3),
        (2_000, 4, entered(3, 0)),
        at(2_000, 4),
        at(2_500, 5),
        at(2_999, 6),
        at(3_000, 7),
    ];
    let facts = broken(run(1, 8, &table), FaultTarget::Server, FaultVerb::Kill);
    let fault = &facts.faults[0];
    assert_eq!((facts.entries_before, fault.completed_before, fault.completed_after), (2, 2, 3));
    let nothing_broken = run(1, 8, &table);
    assert_eq!(told(&nothing_broken.facts, &nothing_broken.events).entries_before, 0);
}

#[test]
fn whether_the_system_came_back_is_asked_of_whole_tasks_alone() {
    let table = |root: Outcome| {
        [
            (1, false, ended(root.clone())),
            (2, true, ended(Outcome::Completed)),
            (3, true, ended(Outcome::TimedOut)),
        ]
    };
    let last =
        |table: &[(u64, bool, What)]| broken(with_a_child(table), FaultTarget::Server, FaultVerb::Kill);
    assert!(last(&table(Outcome::Completed)).last_completed);
    assert!(!last(&table(Outcome::TimedOut)[..2]).last_completed);
    let [root, child, _] = table(Outcome::Completed).map(|(at, of_child, what)| (at + 1_500, of_child, what));
    assert_eq!(last(&[root.clone(), child.clone()]).faults[0].completed_before, 1);
    assert_eq!(last(&[child]).faults[0].completed_before, 0);
}

#[test]
fn a_fault_meets_what_is_due_before_its_end_and_returns_from_its_beginning_on() {
    let met = |due_ms: u64, returned_ms: u64| {
        let mut run = run(1, 1, &[(returned_ms, 0, completed())]);
        run.facts.origin_ns = 1_000 * MS;
        let plan = std::sync::Arc::make_mut(&mut run.facts.plan);
        plan.tasks.change(|task| task.arrival_ns = due_ms * MS);
        broken(run, FaultTarget::Server, FaultVerb::Kill).faults[0].effective
    };
    assert!(met(0, 2_000) && !met(0, 1_999));
    assert!(met(2_999, 9_000) && !met(3_000, 9_000));
}

#[test]
fn a_change_of_the_ring_is_effective_where_a_key_moved() {
    let joined = |second: u16| {
        let mut run = run(
            1,
            2,
            &[
                (1, 0, What::Invoked),
                (2, 0, granted(1)),
                (3, 0, entered(1, 0)),
                (9, 0, left(1)),
                (10, 0, completed()),
                (2_500, 1, What::Invoked),
                (2_501, 1, granted(2)),
                (2_502, 1, entered(2, 1)),
            ],
        );
        run.events.iter_mut().filter(|event| event.step.task.0 == 1 && event.node.is_some()).for_each(
            |event| {
                event.node = Some(NodeId(second));
            },
        );
        run.facts.promises.one_owner = true;
        let fault =
            broken(run, FaultTarget::Node(NodeId(0)), FaultVerb::Join { late: None }).faults.remove(0);
        (fault.moved_keys, fault.effective)
    };
    assert_eq!(joined(0), (0, false), "the second task was open, but every key stayed");
    assert_eq!(joined(1), (1, true));
}

#[test]
fn what_others_do_is_not_what_a_section_that_was_hit_does() {
    let lapsed = |token| What::Entered { slot: Some(0), token, value: 0 };
    let own = Some(Token { generation: 0, sequence: 1 });
    let freed = |table: &[(u64, u32, What)]| {
        let record = hit(FaultVerb::Pause, table);
        (record.freed_ns.map(|ns| ns / MS), record.regressions, record.rejections)
    };
    // It enters again itself, or somebody enters another slot: its own is not free.
    assert_eq!(freed(&[(5, 0, entered(1, 0)), (20, 0, entered(3, 0)), (30, 0, left(1))]), (None, 0, 0));
    let elsewhere = What::Entered { slot: Some(1), token: own, value: 0 };
    assert_eq!(freed(&[(5, 0, entered(1, 0)), (20, 1, elsewhere), (30, 0, left(1))]), (None, 0, 0));
    // Somebody enters by the same token: that is none later.
    assert_eq!(freed(&[(5, 0, entered(1, 0)), (20, 1, lapsed(own)), (30, 0, left(1))]), (Some(10), 0, 0));
    // Another leaves without a write, or is refused: it has not.
    let others = [
        (5, 0, entered(1, 0)),
        (20, 1, entered(2, 0)),
        (25, 1, What::Rejected { reason: "superseded".into() }),
        (30, 0, left(1)),
        (35, 1, What::Left { wrote: None }),
    ];
    assert_eq!(freed(&others), (Some(10), 1, 0));
}

#[test]
fn entries_of_other_resources_and_of_bystanders_free_nothing() {
    let mut run =
        with_a_child(&[(5, false, entered(1, 0)), (20, true, entered(2, 0)), (21, true, entered(2, 0))]);
    run.events[2].step.task = TaskId::bystander(NodeId(0), 0);
    let step = StepRef { task: TaskId(0), step: 0 };
    let hit = vec![Section { node: NodeId(0), step, slot: Some(0), token: None }];
    let fault = Fault {
        at_ns: 9,
        for_ns: 9,
        verb: FaultVerb::Pause,
        target: FaultTarget::Holder,
        link: LinkTo::Server,
    };
    let lasted_ns = Some((10 * MS, 40 * MS));
    let (node, member, misses, failure) = (None, None, 0, None);
    run.facts.injected.push(Injected { fault, lasted_ns, node, member, hit, misses, failure });
    let record = told(&run.facts, &run.events).faults.remove(0);
    assert_eq!((record.hits, record.freed_ns), (1, None));
}

#[test]
fn a_write_after_a_later_token_has_entered_is_a_regression() {
    let overlap = [(5, 0, entered(1, 0)), (25, 1, entered(2, 0)), (41, 0, left(1)), (45, 1, left(1))];
    let record = hit(FaultVerb::Pause, &overlap);
    assert_eq!((record.hits, record.regressions, record.rejections), (1, 1, 0));
    assert_eq!(record.freed_ns, Some(15_000_000));
    assert_eq!(record.misses, 2);
}

#[test]
fn the_time_without_service_is_the_longest_between_two_entries_from_the_fault_on() {
    let served = |table: &[(u64, u32, What)]| hit(FaultVerb::Pause, table).unserved_ns.unwrap() / 1_000_000;
    let gap = [(5, 0, entered(1, 0)), (12, 1, entered(2, 0)), (38, 2, entered(3, 0))];
    assert_eq!(served(&gap), 26, "from 12 to 38 ms; the one before the fault does not count");
    let late = [(5, 0, entered(1, 0)), (35, 1, entered(2, 0)), (90, 2, entered(3, 0))];
    assert_eq!(served(&late), 55, "to the first entry after its end at 40 ms");
}

#[test]
fn a_holder_that_nobody_followed_in_time_is_no_regression() {
    let waited = [(5, 0, entered(1, 0)), (41, 0, left(1)), (42, 1, entered(2, 1)), (45, 1, left(2))];
    let record = hit(FaultVerb::Pause, &waited);
    assert_eq!((record.hits, record.regressions), (1, 0));
    assert_eq!(record.freed_ns, Some(32_000_000), "it was waited for");
}

#[test]
fn a_fault_is_effective_where_it_met_something() {
    let effective = |target: FaultTarget, verb, table: &[(u64, u32, What)]| {
        let mut run = run(1, 3, table);
        let fault = Fault { at_ns: 9, for_ns: 9, verb, target, link: LinkTo::Server };
        let lasted_ns = Some((10_000_000, 40_000_000));
        let (node, member, hit, misses, failure) = (None, None, Vec::new(), 0, None);
        run.facts.injected.push(Injected { fault, lasted_ns, node, member, hit, misses, failure });
        told(&run.facts, &run.events).faults[0].effective
    };
    let busy = [(5, 0, entered(1, 0)), (25, 1, entered(2, 0)), (41, 0, left(1)), (45, 1, left(1))];
    assert!(hit(FaultVerb::Pause, &busy).effective, "somebody was inside");
    assert!(!effective(FaultTarget::Holder, FaultVerb::Pause, &busy), "nobody was");
    let server = |table: &[(u64, u32, What)]| effective(FaultTarget::Server, FaultVerb::Kill, table);
    let returned = |at, task| (at, task, What::Returned { outcome: Outcome::Completed });
    assert!(server(&[returned(8, 0), returned(9, 1), returned(11, 2)]), "one task was open");
    assert!(!server(&[returned(7, 0), returned(8, 1), returned(9, 2)]), "all had returned");
    let node = |node| effective(FaultTarget::Node(NodeId(node)), FaultVerb::Kill, &busy);
    assert!(node(0) && !node(1), "all tasks enter at node 0");
}

#[test]
fn a_refused_write_and_a_leave_without_effect_are_no_regressions() {
    let refused = [
        (5, 0, entered(1, 0)),
        (25, 0, What::Superseded),
        (25, 1, entered(2, 0)),
        (41, 0, What::Rejected { reason: "superseded".into() }),
        (41, 0, What::Left { wrote: None }),
    ];
    let record = hit(FaultVerb::Pause, &refused);
    assert_eq!((record.regressions, record.rejections), (0, 1));
}

#[test]
fn a_key_that_nobody_asked_for_tells_nothing_of_when_it_was_free() {
    let freed = |asked_ms: u64| {
        let asked = (asked_ms, 1, What::Invoked);
        let killed = [(5, 0, entered(1, 0)), (11, 0, What::Abandoned), asked, (60, 1, entered(2, 0))];
        hit(FaultVerb::Kill, &killed).freed_ns.map(|ns| ns / MS)
    };
    assert_eq!(freed(8), Some(50), "it was waited for all along");
    assert_eq!(freed(40), Some(50), "it was waited for when it was freed");
    assert_eq!(freed(59), None);
    let after_another = |in_vain_ms: u64| {
        let killed = [
            (5, 0, entered(1, 0)),
            (11, 0, What::Abandoned),
            (in_vain_ms, 2, What::Invoked),
            (in_vain_ms, 2, ended(Outcome::Refused("its owner is down".to_owned()))),
            (59, 1, What::Invoked),
            (60, 1, entered(2, 0)),
        ];
        hit(FaultVerb::Kill, &killed).freed_ns.map(|ns| ns / MS)
    };
    assert_eq!(after_another(52), Some(50), "somebody was told not long before that it is not");
    assert_eq!(after_another(20), None);
}

#[test]
fn a_killed_holder_s_key_is_free_at_the_next_entry() {
    let killed = [(5, 0, entered(1, 0)), (11, 0, What::Abandoned), (30, 1, entered(2, 0))];
    let record = hit(FaultVerb::Kill, &killed);
    assert_eq!((record.regressions, record.freed_ns), (0, Some(20_000_000)));
}
