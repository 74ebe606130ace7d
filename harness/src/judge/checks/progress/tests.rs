//! Histories that the check accepts, and those that it rejects.

use super::*;
use crate::judge::checks::Judgement;
use crate::judge::fixture::Told;
use crate::judge::fixture::{completed, entered, figure, granted, held, left, run, witness};
use crate::model::{Closed, Fault, FaultTarget, FaultVerb, Injected, LinkTo, Outage, Promises, Standstill};
use crate::record::{Amount, Verdict};

fn judge(told: &Told) -> Judgement {
    told.judged_by(&CHECK)
}

const MS: u64 = 1_000_000;

fn free_within(ms: u64, tasks: u32, table: &[(u64, u32, What)]) -> Told {
    let mut run = run(1, tasks, table);
    run.facts.promises = Promises { free_within_ns: Some(ms * MS), ..Promises::default() };
    run.facts.end_ns = table.last().map_or(1, |(ms, ..)| ms * MS);
    run
}

fn outage(node: u16, state: Standstill, from_ms: u64, until_ms: u64) -> Vec<Outage> {
    let (from_ns, until_ns) = (from_ms * MS, until_ms.saturating_mul(MS));
    vec![Outage { node: NodeId(node), from_ns, until_ns, state, unplanned: None }]
}

/// A server is killed, or its member that leads.
fn killed(member: Option<usize>, from_ms: u64, until_ms: u64) -> Vec<Injected> {
    let target = if member.is_some() { FaultTarget::Leader } else { FaultTarget::Server };
    let link = LinkTo::default();
    let fault =
        Fault { at_ns: from_ms * MS, for_ns: (until_ms - from_ms) * MS, verb: FaultVerb::Kill, target, link };
    let lasted_ns = Some((from_ms * MS, until_ms * MS));
    vec![Injected { fault, lasted_ns, node: None, member, hit: Vec::new(), misses: 0, failure: None }]
}

/// Task 0 is inside from 1 to 2 ms; task 1 waits from 1 ms and is let in at `next_ms`.
fn hand_over(next_ms: u64) -> Vec<(u64, u32, What)> {
    vec![
        (1, 0, What::Invoked),
        (1, 0, granted(1)),
        (1, 0, entered(0, 0)),
        (1, 1, What::Invoked),
        (2, 0, left(1)),
        (next_ms, 1, entered(0, 1)),
    ]
}

#[test]
fn accepts_a_key_that_is_taken_within_the_bound_and_one_that_nobody_wants() {
    let mut table = hand_over(7);
    table.extend([(8, 1, left(2)), (90, 2, What::Invoked), (91, 2, entered(0, 2))]);
    let judgement = judge(&free_within(5, 3, &table));
    assert_eq!(held(&judgement), (Verdict::Holds, 3, 0));
    assert_eq!(figure(&judgement, "longest free while waited for"), Amount::Ns(5 * MS));
}

#[test]
fn rejects_a_key_that_stays_free_while_somebody_waits() {
    let witness = witness(judge(&free_within(5, 2, &hand_over(8))));
    assert_eq!(witness.last().unwrap(), "free and waited for over 6.000 ms, promised within 5.000 ms");
}

#[test]
fn rejects_a_key_that_is_never_taken_again() {
    let table = [(1, 0, What::Invoked), (9, 1, What::Invoked)];
    assert_eq!(judge(&free_within(5, 2, &table)).violations, 1);
}

#[test]
fn a_stall_ends_before_the_bound_begins_and_a_kill_begins_it() {
    let mut run = free_within(5, 2, &hand_over(20));
    run.facts.injected = killed(None, 3, 16);
    assert_eq!(judge(&run).verdict, Verdict::Holds);
    run.facts.injected.clear();
    run.facts.outages = outage(1, Standstill::Down, 3, 16);
    assert_eq!(judge(&run).violations, 1);
}

/// Task 0 is inside at node 0 from 1 ms on; task 1 waits at node 1 from 1 ms and is let in at `next_ms`.
fn paused_holder(next_ms: u64, until_ms: u64) -> Told {
    let table = [
        (1, 0, What::Invoked),
        (1, 0, granted(1)),
        (1, 0, entered(0, 0)),
        (1, 1, What::Invoked),
        (next_ms, 1, entered(0, 1)),
    ];
    let mut run = free_within(5, 2, &table);
    run.events[3].node = Some(NodeId(1));
    run.facts.outages = outage(0, Standstill::Paused, 3, until_ms);
    run
}

#[test]
fn the_lease_of_a_holder_that_stands_still_must_free_its_key_within_the_bound() {
    assert_eq!(judge(&paused_holder(8, 90)).verdict, Verdict::Holds);
    let late = judge(&paused_holder(9, 90));
    assert_eq!(late.violations, 1, "6 ms after it stood still, long before it went on");
    assert_eq!(witness(late).last().unwrap(), "free and waited for over 6.000 ms, promised within 5.000 ms");
}

#[test]
fn a_holder_that_goes_on_in_time_is_inside_again_and_who_waits_at_a_still_node_waits_for_nothing() {
    assert_eq!(judge(&paused_holder(60, 7)).verdict, Verdict::Holds, "it went on after 4 ms");
    let mut run = paused_holder(60, 59);
    run.facts.outages.extend(outage(1, Standstill::Paused, 3, 56));
    assert_eq!(judge(&run).verdict, Verdict::Holds, "nobody waited until 56 ms");
}

#[test]
fn a_standstill_excuses_no_key_that_it_does_not_touch() {
    let mut run = free_within(5, 2, &hand_over(20));
    for event in run.events.iter_mut().filter(|event| event.node.is_some()) {
        event.node = Some(NodeId(1));
    }
    run.facts.outages = outage(0, Standstill::Paused, 3, 16);
    assert_eq!(judge(&run).violations, 1);
}

#[test]
fn a_lost_leader_is_no_excuse_once_the_others_have_promised_to_serve() {
    let mut run = free_within(5, 2, &hand_over(20));
    run.facts.injected = killed(Some(0), 3, 90);
    assert_eq!(judge(&run).verdict, Verdict::Holds, "nothing was promised");
    run.facts.promises.led_within_ns = Some(12 * MS);
    assert_eq!(judge(&run).verdict, Verdict::Holds, "5 ms after 3 + 12 ms");
    run.facts.promises.led_within_ns = Some(11 * MS);
    assert_eq!(judge(&run).violations, 1);
}

#[test]
fn recovery_is_from_the_fault_to_the_next_entry_of_the_slot() {
    let mut run = free_within(50, 2, &hand_over(20));
    run.events.retain(|event| !matches!(event.what, What::Left { .. }));
    let mut abandoned = run.events.last().unwrap().clone();
    (abandoned.at_ns, abandoned.step.task, abandoned.what) = (4 * MS, TaskId(0), What::Abandoned);
    run.events.insert(4, abandoned);
    run.facts.outages = outage(0, Standstill::Paused, 3, 4);
    let judgement = judge(&run);
    assert_eq!(figure(&judgement, "recoveries"), Amount::Count(1));
    assert_eq!(figure(&judgement, "longest recovery"), Amount::Ns(17 * MS));
}

#[test]
fn those_who_waited_at_a_killed_node_wait_no_longer() {
    let mut run = free_within(5, 2, &[(1, 0, What::Invoked), (90, 1, What::Invoked)]);
    run.facts.outages = outage(0, Standstill::Down, 2, u64::MAX);
    run.events.last_mut().unwrap().node = Some(NodeId(1));
    run.facts.end_ns = 91 * MS;
    let judgement = judge(&run);
    assert_eq!(figure(&judgement, "longest free while waited for"), Amount::Ns(MS));
    assert_eq!(judgement.verdict, Verdict::Holds);
}

#[test]
fn rejects_a_step_that_is_forgotten_unless_its_node_was_hit() {
    let table = [(1, 0, What::Invoked), (1, 1, What::Invoked), (2, 1, completed())];
    let mut run = run(1, 2, &table);
    run.facts.end_ns = GRACE_NS;
    assert_eq!(judge(&run).verdict, Verdict::Holds, "its deadline may only just be over");
    run.facts.end_ns = GRACE_NS + 2;
    let judgement = judge(&run);
    assert_eq!(judgement.violations, 1);
    let witness = witness(judgement);
    assert!(
        witness[0].contains("task 0") && witness[1].starts_with("neither let in nor told"),
        "{witness:?}"
    );
    run.facts.outages = outage(0, Standstill::Paused, 0, 1);
    assert_eq!(judge(&run).verdict, Verdict::Holds);
}

#[test]
fn a_deadline_counts_from_the_arrival_of_the_task_in_its_run() {
    let mut run = run(1, 1, &[(10, 0, What::Invoked)]);
    let plan = std::sync::Arc::make_mut(&mut run.facts.plan);
    plan.tasks.change(|task| task.arrival_ns = 3 * MS);
    plan.settings.deadline_ns = 20 * MS;
    run.facts.origin_ns = 7 * MS;
    run.facts.end_ns = 30 * MS + GRACE_NS;
    assert_eq!(judge(&run).verdict, Verdict::Holds);
    run.facts.end_ns += 1;
    assert_eq!(judge(&run).violations, 1);
}

#[test]
fn a_step_is_at_the_node_where_it_was_let_in_not_where_it_was_asked_for() {
    let mut run = paused_holder(9, 90);
    run.events[1].node = Some(NodeId(2));
    assert_eq!(judge(&run).verdict, Verdict::Holds, "its node goes on");
    run.facts.outages = outage(2, Standstill::Paused, 3, 90);
    assert_eq!(judge(&run).violations, 1);
}

#[test]
fn a_holder_elsewhere_is_inside_while_a_node_stands_still() {
    let mut run = paused_holder(60, 90);
    run.facts.outages = outage(3, Standstill::Paused, 3, 90);
    assert_eq!(judge(&run).verdict, Verdict::Holds);
}

#[test]
fn a_killed_holder_is_inside_until_the_agent_has_seen_its_end() {
    let mut table = hand_over(12);
    table[4] = (9, 0, What::Abandoned);
    let mut run = free_within(5, 2, &table);
    run.events[3].node = Some(NodeId(1));
    run.facts.outages = outage(0, Standstill::Down, 3, u64::MAX);
    let judgement = judge(&run);
    assert_eq!(figure(&judgement, "longest free while waited for"), Amount::Ns(3 * MS));
    assert_eq!(judgement.verdict, Verdict::Holds);
}

#[test]
fn an_entry_that_was_on_its_way_when_its_node_stood_still_takes_no_key() {
    let table = [(1, 0, What::Invoked), (1, 1, What::Invoked), (4, 0, entered(0, 0)), (12, 1, entered(0, 0))];
    let mut run = free_within(5, 2, &table);
    run.events[1].node = Some(NodeId(1));
    run.facts.outages = outage(0, Standstill::Paused, 3, 90);
    assert_eq!(judge(&run).violations, 1, "free for 9 ms after the node stood still");
}

#[test]
fn a_leave_that_was_on_its_way_when_its_node_stood_still_is_the_end_of_its_section() {
    let mut table = hand_over(20);
    table[4].0 = 5;
    let mut run = free_within(5, 2, &table);
    run.events[3].node = Some(NodeId(1));
    run.facts.outages = outage(0, Standstill::Paused, 3, 6);
    assert_eq!(judge(&run).violations, 1, "it was not inside again when its node went on");
}

#[test]
fn who_gives_up_waits_no_longer() {
    let table = [(1, 0, What::Invoked), (3, 0, completed()), (90, 1, What::Invoked)];
    let judgement = judge(&free_within(5, 2, &table));
    assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
}

#[test]
fn what_is_told_twice_or_out_of_place_counts_once() {
    let mut table = hand_over(7);
    // Asked for again while it is inside, let in twice, gone twice, and told of its end after that.
    table.splice(3..3, [(1, 0, What::Invoked), (1, 0, entered(0, 0))]);
    table.splice(7..7, [(2, 0, left(1)), (2, 0, What::Abandoned), (2, 0, completed())]);
    let judgement = judge(&free_within(5, 2, &table));
    assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
    assert_eq!(figure(&judgement, "longest free while waited for"), Amount::Ns(5 * MS));
}

#[test]
fn the_witness_leaves_out_releases_and_outcomes() {
    let mut table = hand_over(8);
    table.splice(5..5, [(2, 0, What::ReleaseSent), (3, 0, completed())]);
    assert_eq!(witness(judge(&free_within(5, 2, &table))).len(), 7, "all but those, and what is wrong");
}

#[test]
fn in_a_closed_loop_a_deadline_counts_from_the_asking() {
    let mut run = run(1, 1, &[(50, 0, What::Invoked)]);
    let plan = std::sync::Arc::make_mut(&mut run.facts.plan);
    plan.closed = Some(Closed { callers: 1, think_ns: 0 });
    plan.settings.deadline_ns = 20 * MS;
    run.facts.end_ns = 70 * MS + GRACE_NS;
    assert_eq!(judge(&run).verdict, Verdict::Holds);
    run.facts.end_ns += 1;
    assert_eq!(judge(&run).violations, 1);
}
