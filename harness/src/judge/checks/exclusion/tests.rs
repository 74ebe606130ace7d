//! Histories that the check accepts, and those that it rejects.

use super::*;
use crate::judge::checks::Judgement;
use crate::judge::fixture::Told;
use crate::judge::fixture::{completed, entered, figure, granted, held, left, run, run_of, witness};
use crate::model::Mode::{Exclusive, Shared};
use crate::model::{NodeId, Outage, Standstill};
use crate::record::{Amount, Verdict};

fn judge(told: &Told) -> Judgement {
    told.judged_by(&CHECK)
}

#[test]
fn accepts_sections_one_after_the_other() {
    let history =
        run(1, 2, &[(1, 0, entered(0, 0)), (2, 0, left(1)), (2, 1, entered(0, 1)), (3, 1, left(2))]);
    let judgement = judge(&history);
    assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
    assert_eq!(figure(&judgement, "physical overlaps"), Amount::Count(0));
}

#[test]
fn rejects_an_overlap_and_shows_it() {
    let history =
        run(1, 2, &[(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (4, 1, left(1))]);
    let judgement = judge(&history);
    assert_eq!(judgement.violations, 1);
    assert_eq!(figure(&judgement, "overlapping in all"), Amount::Ns(1_000_000));
    let witness = witness(judgement);
    assert_eq!(witness.len(), 3);
    assert!(witness[0].contains("1.000 ms  vm-7  task 0"), "{witness:?}");
    assert_eq!(witness[2], "2 inside, level 1");
}

#[test]
fn the_witness_leaves_out_those_who_have_left() {
    let history =
        run(1, 3, &[(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 1, entered(0, 1)), (4, 2, entered(0, 1))]);
    assert_eq!(witness(judge(&history)).len(), 3);
}

#[test]
fn counts_up_to_the_level_and_not_beyond() {
    let two = [(1, 0, entered(0, 0)), (1, 1, entered(1, 0))];
    assert_eq!(judge(&run(2, 2, &two)).verdict, Verdict::Holds);
    let three = [(1, 0, entered(0, 0)), (1, 1, entered(1, 0)), (1, 2, entered(2, 0))];
    assert_eq!(judge(&run(2, 3, &three)).violations, 1);
}

#[test]
fn two_in_one_slot_are_too_many_also_where_another_is_free() {
    let table = [(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (4, 1, left(1))];
    let judgement = judge(&run(2, 2, &table));
    assert_eq!(judgement.violations, 1);
    assert_eq!(witness(judgement).last().unwrap(), "2 inside slot 0");
    let after = [(1, 0, entered(0, 0)), (2, 0, left(1)), (3, 1, entered(0, 1)), (3, 2, entered(1, 0))];
    assert_eq!(judge(&run(2, 3, &after)).verdict, Verdict::Holds);
}

#[test]
fn shared_sections_exclude_others_and_not_each_other() {
    let modes = [Shared, Shared, Exclusive];
    let mut table = vec![(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(0)), (4, 1, left(0))];
    assert_eq!(judge(&run_of(1, &modes, &table)).verdict, Verdict::Holds);
    table.insert(3, (3, 2, entered(0, 0)));
    let judgement = judge(&run_of(1, &modes, &table));
    assert_eq!((judgement.violations, figure(&judgement, "overlapping in all")), (1, Amount::Ns(1_000_000)));
}

#[test]
fn a_step_that_is_inside_twice_counts_twice() {
    let history = run(1, 1, &[(1, 0, entered(0, 0)), (2, 0, entered(0, 0))]);
    assert_eq!(judge(&history).violations, 1);
}

#[test]
fn who_is_not_inside_is_neither_superseded_nor_leaves() {
    let table = [
        (1, 0, What::Superseded),
        (1, 0, What::Abandoned),
        (2, 0, entered(0, 0)),
        (3, 0, left(1)),
        (3, 0, left(1)),
        (4, 1, entered(0, 1)),
        (5, 1, What::Superseded),
        (6, 1, What::Left { wrote: None }),
        (6, 1, What::Abandoned),
        (7, 1, entered(0, 1)),
        (8, 1, left(2)),
        (9, 2, entered(0, 2)),
    ];
    let judgement = judge(&run(1, 3, &table));
    assert_eq!(held(&judgement), (Verdict::Holds, 4, 0));
    assert_eq!(figure(&judgement, "physical overlaps"), Amount::Count(0));
}

#[test]
fn overlaps_that_last_to_the_end_of_the_run_are_added_to_those_before() {
    let table = [(1, 0, entered(0, 0)), (2, 1, entered(0, 0)), (3, 0, left(1)), (5, 2, entered(0, 1))];
    let mut told = run(1, 3, &table);
    told.facts.end_ns = 9_000_000;
    assert_eq!(figure(&judge(&told), "overlapping in all"), Amount::Ns(5_000_000));
}

#[test]
fn superseded_sections_do_not_count_but_overlap_physically() {
    let history = run(
        1,
        2,
        &[
            (1, 0, entered(0, 0)),
            (2, 0, What::Superseded),
            (2, 1, entered(0, 0)),
            (5, 0, What::Left { wrote: None }),
            (9, 1, left(1)),
        ],
    );
    let judgement = judge(&history);
    assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
    assert_eq!(figure(&judgement, "physical overlaps"), Amount::Count(1));
    assert_eq!(figure(&judgement, "overlapping in all"), Amount::Ns(3_000_000));
}

/// Task 0 is inside at node 0, which dies; that is noticed at 9 ms, after task 1 was let in.
fn died(level: u32, also: &[(u64, u32, What)]) -> Told {
    let mut table = vec![
        (1, 0, granted(1)),
        (1, 0, entered(0, 0)),
        (5, 1, entered(0, 0)),
        (9, 0, What::Abandoned),
        (10, 1, left(1)),
    ];
    table.extend_from_slice(also);
    table.sort_by_key(|(ms, ..)| *ms);
    let mut told = run(level, 3, &table);
    let (node, from_ns, unplanned) = (NodeId(0), 9_000_000, Some("signal: 9".to_owned()));
    let state = Standstill::Down;
    told.facts.outages = vec![Outage { node, from_ns, until_ns: u64::MAX, state, unplanned }];
    told
}

const IN_DOUBT: &str = "seen only with a section whose node had died";

#[test]
fn a_section_whose_node_had_died_unplanned_is_no_witness() {
    for level in [1, 2] {
        let judgement = judge(&died(level, &[]));
        assert_eq!(held(&judgement), (Verdict::Holds, 2, 0));
        assert_eq!(figure(&judgement, IN_DOUBT), Amount::Count(1));
    }
    let mut unheard = died(1, &[]);
    unheard.events.remove(0);
    assert_eq!(judge(&unheard).verdict, Verdict::Holds, "its last events died with it");
}

#[test]
fn a_section_whose_node_lived_on_is_a_witness() {
    let signs = [granted(2), What::Lost, What::ReleaseSent];
    for sign in signs {
        assert_eq!(judge(&died(1, &[(5, 2, sign)])).violations, 1);
    }
    // Before the entry, or written for the dead node by the driver, or at a node that lives.
    for also in [(4, 2, granted(2)), (5, 2, What::Invoked), (9, 0, completed())] {
        assert_eq!(judge(&died(1, &[also])).violations, 0);
    }
    let mut elsewhere = died(1, &[(5, 2, granted(2))]);
    elsewhere.events.iter_mut().filter(|event| event.at_ns == 5_000_000).for_each(|event| {
        event.node = event.node.map(|_| NodeId(1));
    });
    assert_eq!(judge(&elsewhere).violations, 0);
}

#[test]
fn deaths_that_were_planned_and_connections_that_broke_leave_no_doubt() {
    let mut planned = died(1, &[]);
    planned.facts.outages[0].unplanned = None;
    assert_eq!(judge(&planned).violations, 1);
    let mut of_another = died(1, &[]);
    of_another.facts.outages[0].node = NodeId(1);
    assert_eq!(judge(&of_another).violations, 1);
    // Of three in two slots, those two who are in one.
    let mut slots = died(2, &[(4, 2, entered(1, 0))]);
    slots.facts.outages[0].node = NodeId(1);
    let judgement = judge(&slots);
    assert_eq!(judgement.violations, 2, "in the slot, and in all");
    assert_eq!(witness(judgement).last().unwrap(), "2 inside slot 0");
}

#[test]
fn a_step_that_runs_again_after_its_node_died_is_a_witness() {
    let again = [(11, 0, entered(0, 1)), (12, 2, entered(0, 1))];
    let judgement = judge(&died(1, &again));
    assert_eq!((judgement.violations, figure(&judgement, IN_DOUBT)), (1, Amount::Count(1)));
}

#[test]
fn two_who_live_are_too_many_whoever_else_has_died() {
    let judgement = judge(&died(1, &[(6, 2, entered(0, 0))]));
    assert_eq!((judgement.violations, figure(&judgement, IN_DOUBT)), (1, Amount::Count(1)));
    assert_eq!(witness(judgement).last().unwrap(), "2 inside, level 1");
}

#[test]
fn says_nothing_about_nothing() {
    assert!(matches!(judge(&run(1, 0, &[])).verdict, Verdict::NotApplicable { .. }));
    assert!(matches!(judge(&run(0, 1, &[(1, 0, entered(0, 0))])).verdict, Verdict::NotApplicable { .. }));
}
