//! Figures of histories written as tables.

use super::*;
use crate::judge::fixture::{Told, completed, entered, left, run};
use crate::model::Plan;
use crate::record::Quantile;

const MS: u64 = 1_000_000;

fn told(table: &[(u64, u32, What)], tasks: u32) -> Figures {
    figures(&run(1, tasks, table))
}

fn figures(told: &Told) -> Figures {
    let Ok(figures) = measure(&told.facts, &told.events[..]);
    figures
}

fn windowed(ms: u64, table: &[(u64, u32, What)], tasks: u32) -> Figures {
    let mut told = run(1, tasks, table);
    let mut plan = Plan::clone(&told.facts.plan);
    plan.settings.window_ns = ms * MS;
    plan.settings.deadline_ns = 10_000 * MS;
    told.facts.plan = plan.into();
    figures(&told)
}

fn ended(outcome: Outcome) -> What {
    What::Returned { outcome }
}

#[test]
fn goodput_is_what_completed_within_the_window_and_the_rest_is_backlog() {
    let each = |task: u32, at| [(1, task, What::Invoked), (at, task, completed())];
    let table: Vec<_> = [each(0, 100), each(1, 450), each(2, 950), each(3, 3_000)].concat();
    let mut table = table;
    table.sort_by_key(|(at, ..)| *at);
    let figures = windowed(1_000, &table, 4);
    assert!((figures.goodput_per_s - 3.0).abs() < 1e-9, "{}", figures.goodput_per_s);
    assert_eq!(figures.backlog, Some(Backlog { middle: 2, end: 1 }));
    assert_eq!(figures.tasks.completed, 4, "also the one that the drain completed");
}

#[test]
fn waits_lag_release_and_hand_over_count_from_where_they_begin() {
    let granted = || What::Granted { slot: Some(0), token: None, valid_until_ns: None };
    let table = [
        (107, 0, What::Invoked),
        (108, 1, What::Invoked),
        (110, 0, granted()),
        (112, 0, entered(0, 0)),
        (120, 0, left(1)),
        (123, 1, granted()),
        (125, 1, entered(0, 1)),
        (126, 0, completed()),
        (130, 1, left(2)),
        (131, 1, completed()),
        (140, 2, What::Invoked),
        (141, 2, entered(0, 2)),
    ];
    let mut told = run(1, 3, &table);
    told.facts.origin_ns = 100 * MS;
    told.facts.end_ns = 200 * MS;
    let figures = figures(&told);
    let is = |histogram: &crate::record::Histogram, ms: &[u64]| {
        let near =
            |q: f64, ms: u64| histogram.quantile_ns(q).is_some_and(|ns| ns.abs_diff(ms * MS) < MS / 10);
        assert_eq!(histogram.count(), ms.len() as u64);
        assert!(near(0.0, ms[0]) && near(1.0, ms[ms.len() - 1]));
    };
    let Latency { wait, lag, release, hand_over, .. } = &figures.latency;
    // From the intended start, which is the origin of the run for all three.
    is(wait, &[12, 25, 41]);
    is(lag, &[7, 8, 40]);
    is(release, &[1, 6]);
    // The third was due when the second left.
    is(hand_over, &[5, 11]);
    assert_eq!(figures.grants, 2);
    assert_eq!(figures.implausible, Vec::<String>::new());
}

#[test]
fn steps_that_need_no_slot_do_not_wait_where_others_do() {
    let mut told =
        run(1, 1, &[(1, 0, What::Invoked), (2, 0, entered(0, 0)), (3, 0, left(1)), (4, 0, completed())]);
    let counted = |told: &Told| figures(told).latency;
    assert_eq!((counted(&told).wait.count(), counted(&told).release.count()), (1, 1));
    let plan = std::sync::Arc::make_mut(&mut told.facts.plan);
    let free = crate::model::Resource { id: 8, level: 0, ..plan.resources[0] };
    plan.resources.push(free);
    let place = plan.resources.len() as u32 - 1;
    plan.tasks.change(|task| task.steps[0].resource = place);
    assert_eq!((counted(&told).wait.count(), counted(&told).release.count()), (0, 0));
}

#[test]
fn what_did_not_complete_is_in_the_quantiles_with_its_deadline() {
    let table = [
        (1, 0, What::Invoked),
        (1, 1, What::Invoked),
        (2, 0, entered(0, 0)),
        (3, 0, left(1)),
        (4, 0, completed()),
        (900, 1, ended(Outcome::TimedOut)),
    ];
    let figures = windowed(1_000, &table, 3);
    let Latency { response, wait, .. } = &figures.latency;
    assert_eq!((response.count(), response.censored()), (3, 2), "one timed out, one was never offered");
    let Some(Quantile::AtLeast(ns)) = response.quantile(0.5) else { panic!("{response:?}") };
    assert!(ns >= 9_990 * MS, "{ns}");
    assert_eq!((wait.count(), wait.censored()), (3, 2));
}

#[test]
fn a_task_that_ended_early_after_a_step_wrote_is_partial() {
    let outcome = |outcome: Outcome, wrote: bool| {
        let mut table = vec![(1, 0, What::Invoked), (2, 0, entered(0, 0))];
        table.push((3, 0, if wrote { left(1) } else { What::Left { wrote: None } }));
        table.push((4, 0, ended(outcome)));
        told(&table, 1).tasks
    };
    assert_eq!(outcome(Outcome::TimedOut, true).partial, 1);
    assert_eq!(outcome(Outcome::TimedOut, false).timed_out, 1);
    assert_eq!(outcome(Outcome::Failed("it".into()), true).partial, 1);
    assert_eq!(outcome(Outcome::Unknown("it".into()), true).unknown, 1, "its root may have done all");
}

#[test]
fn events_that_were_lost_or_doubled_are_not_plausible() {
    let honest =
        [(1, 0, What::Invoked), (100, 0, completed()), (200, 1, What::Invoked), (300, 1, completed())];
    assert_eq!(told(&honest, 2).implausible, Vec::<String>::new());
    let mut doubled = honest.to_vec();
    doubled.insert(1, (50, 0, What::Invoked));
    assert!(
        told(&doubled, 2).implausible[0].starts_with("Little's law"),
        "{:?}",
        told(&doubled, 2).implausible
    );
    let lost = &honest[1..];
    let reasons = told(lost, 2).implausible;
    assert!(reasons.iter().any(|reason| reason.contains("no node told")), "{reasons:?}");
}

#[test]
fn a_section_of_which_no_node_told_is_counted() {
    let table = [(1, 0, What::Invoked), (2, 0, entered(0, 0)), (3, 1, entered(0, 0))];
    assert_eq!(told(&table, 2).untold, 1);
}
