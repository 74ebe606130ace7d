//! What came of the faults of a run, read off its history.

use super::moved::{Move, Moved, moves};
use crate::model::{Event, Facts, FaultTarget, Injected, NodeId, Outcome, Section, StepRef, What};
use crate::record::{FaultFacts, FaultRecord};

/// The facts about a run's faults; empty where none was planned.
#[must_use]
pub fn aftermath(facts: &Facts, events: &[Event]) -> FaultFacts {
    let first_ns =
        facts.injected.iter().filter_map(|fault| fault.lasted_ns).map(|(from_ns, _)| from_ns).min();
    let entries = events.iter().filter(|event| matches!(event.what, What::Entered { .. }));
    let last = events.iter().rev().find_map(|event| match &event.what {
        What::Returned { outcome } if event.step.step == 0 => Some(outcome),
        _ => None,
    });
    let moves = if facts.promises.one_owner { moves(facts, events) } else { Vec::new() };
    let mut faults = facts.injected.iter().peekable();
    let mut records = Vec::new();
    while let Some(injected) = faults.next() {
        let next_ns = faults.peek().and_then(|next| next.lasted_ns).map_or(u64::MAX, |(from_ns, _)| from_ns);
        records.push(record(facts, events, injected, &moves, next_ns));
    }
    FaultFacts {
        planned: facts.plan.faults.len() as u64,
        faults: records,
        entries_before: first_ns
            .map_or(0, |first_ns| entries.filter(|event| event.at_ns < first_ns).count() as u64),
        last_completed: last == Some(&Outcome::Completed),
        least: Vec::new(),
        least_share: None,
        freed_bound_ns: None,
    }
}

/// Keys that move before the next fault moved because of this one.
fn record(facts: &Facts, events: &[Event], injected: &Injected, moves: &[Move], next_ns: u64) -> FaultRecord {
    let since = |at_ns: u64| at_ns.saturating_sub(facts.origin_ns);
    let mut record = FaultRecord {
        verb: injected.fault.to_string(),
        target: injected.fault.target.to_string(),
        node: injected.node.map(|node| node.0),
        member: injected.member.map(|place| place as u32),
        planned_ns: injected.fault.at_ns,
        from_ns: injected.lasted_ns.map(|(from_ns, _)| since(from_ns)),
        until_ns: injected.lasted_ns.map(|(_, until_ns)| since(until_ns)),
        misses: injected.misses,
        hits: 0,
        regressions: 0,
        rejections: 0,
        freed_ns: None,
        unserved_ns: injected.lasted_ns.map(|lasted_ns| unserved_ns(facts, events, lasted_ns)),
        moved_keys: 0,
        stall_ns: None,
        completed_before: 0,
        completed_after: 0,
        effective: false,
        failure: injected.failure.clone(),
    };
    let Some((from_ns, until_ns)) = injected.lasted_ns else { return record };
    record.completed_before = completed(events, from_ns.saturating_sub(SECOND_NS), from_ns);
    record.completed_after = completed(events, from_ns, from_ns + SECOND_NS);
    let moved = Moved::within(moves, from_ns, next_ns);
    (record.moved_keys, record.stall_ns) = (moved.resources.len() as u64, moved.stall_ns);
    let mut hit = injected.hit.clone();
    if injected.fault.verb.is_of_ring() {
        let moved = Moved::within(moves, from_ns, until_ns).resources;
        hit.retain(|section| moved.contains(&facts.plan.step(section.step).resource));
    }
    record.hits = hit.len() as u64;
    for section in &hit {
        let after = after(facts, events, section, from_ns);
        record.regressions += u64::from(after.regressed);
        record.rejections += u64::from(after.rejected);
        record.freed_ns = record.freed_ns.max(after.freed_ns);
    }
    record.effective = match injected.fault.target {
        FaultTarget::Holder => record.hits > 0,
        _ if injected.fault.verb.is_of_ring() => record.moved_keys > 0,
        FaultTarget::Node(node) => open(facts, events, |entry| entry == node, (from_ns, until_ns)),
        FaultTarget::Server | FaultTarget::Leader => open(facts, events, |_| true, (from_ns, until_ns)),
    };
    record
}

/// Whether a task was open while a fault lasted, that had entered at one of the nodes that it concerned.
fn open(facts: &Facts, events: &[Event], concerns: impl Fn(NodeId) -> bool, lasted_ns: (u64, u64)) -> bool {
    let (from_ns, until_ns) = lasted_ns;
    let due = facts.plan.tasks.iter().filter(|task| facts.origin_ns + task.arrival_ns < until_ns);
    let returned = events.iter().filter(|event| {
        event.at_ns < from_ns && event.step.step == 0 && matches!(event.what, What::Returned { .. })
    });
    let entry = |event: &Event| facts.plan.tasks[event.step.task.0 as usize].entry;
    due.filter(|task| concerns(task.entry)).count() > returned.filter(|event| concerns(entry(event))).count()
}

/// The longest time without an entry, from the fault until the first entry after it was taken back.
fn unserved_ns(facts: &Facts, events: &[Event], (from_ns, until_ns): (u64, u64)) -> u64 {
    let entered =
        |event: &&Event| matches!(event.what, What::Entered { .. }) && !event.step.task.is_bystander();
    let (mut longest_ns, mut last_ns) = (0, from_ns);
    for event in events.iter().filter(entered).filter(|event| event.at_ns >= from_ns) {
        longest_ns = longest_ns.max(event.at_ns - last_ns);
        last_ns = event.at_ns;
        if last_ns >= until_ns {
            return longest_ns;
        }
    }
    longest_ns.max(facts.end_ns.saturating_sub(last_ns))
}

const SECOND_NS: u64 = 1_000_000_000;

/// Tasks that completed from one stamp to another.
fn completed(events: &[Event], from_ns: u64, to_ns: u64) -> u64 {
    let returned = |what: &What| matches!(what, What::Returned { outcome: Outcome::Completed });
    let within = events.iter().filter(|event| (from_ns..to_ns).contains(&event.at_ns));
    within.filter(|event| event.step.step == 0 && returned(&event.what)).count() as u64
}

#[derive(Debug, Default)]
struct After {
    /// It wrote although a later token had entered its slot.
    regressed: bool,
    /// Its write was refused.
    rejected: bool,
    /// From the fault to the next entry of its slot.
    freed_ns: Option<u64>,
}

/// What became of a section that was hit, and of its slot.
fn after(facts: &Facts, events: &[Event], hit: &Section, from_ns: u64) -> After {
    let resource = facts.plan.step(hit.step).resource;
    let same = |step: StepRef| !step.task.is_bystander() && facts.plan.step(step).resource == resource;
    let mut after = After::default();
    let (mut later, mut gone) = (false, false);
    for event in events.iter().filter(|event| event.at_ns >= from_ns && same(event.step)) {
        match &event.what {
            What::Entered { slot, token, .. } if *slot == hit.slot && event.step != hit.step => {
                after.freed_ns.get_or_insert(event.at_ns - from_ns);
                later |= *token > hit.token;
                if gone {
                    break;
                }
            }
            What::Rejected { .. } if event.step == hit.step => after.rejected = true,
            What::Left { wrote } if event.step == hit.step => {
                after.regressed = later && wrote.is_some();
                gone = true;
            }
            _ => {}
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::{left, run};
    use crate::model::{Fault, FaultVerb, LinkTo, TaskId, Token};

    fn entered(sequence: u64, value: u64) -> What {
        What::Entered { slot: Some(0), token: Some(Token { generation: 0, sequence }), value }
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
        aftermath(&run.facts, &run.events).faults.remove(0)
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
        let served =
            |table: &[(u64, u32, What)]| hit(FaultVerb::Pause, table).unserved_ns.unwrap() / 1_000_000;
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
            aftermath(&run.facts, &run.events).faults[0].effective
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
    fn a_killed_holder_s_key_is_free_at_the_next_entry() {
        let killed = [(5, 0, entered(1, 0)), (11, 0, What::Abandoned), (30, 1, entered(2, 0))];
        let record = hit(FaultVerb::Kill, &killed);
        assert_eq!((record.regressions, record.freed_ns), (0, Some(20_000_000)));
    }
}
