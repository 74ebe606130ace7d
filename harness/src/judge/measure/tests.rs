//! Figures of histories written as tables.

use std::sync::Arc;

use super::*;
use crate::judge::fixture::{Told, completed, entered, left, run, with_a_child};
use crate::model::{Closed, Outcome, Plan};
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

/// Tasks that are due so many ms after the origin.
fn due(due_ms: &[u64], window_ms: u64, table: &[(u64, u32, What)]) -> Told {
    let mut told = run(1, due_ms.len() as u32, table);
    let plan = Arc::make_mut(&mut told.facts.plan);
    (plan.settings.window_ns, plan.settings.deadline_ns) = (window_ms * MS, 10_000 * MS);
    let mut due_ms = due_ms.iter();
    plan.tasks.change(|task| task.arrival_ns = due_ms.next().unwrap() * MS);
    told.facts.end_ns = 10_000 * MS;
    told
}

/// Each asked for and returned, in the order of time.
fn asked_and_returned(each: &[(u64, u64, Outcome)]) -> Vec<(u64, u32, What)> {
    let mut table = Vec::new();
    for (task, (asked, returned, outcome)) in each.iter().enumerate() {
        table.push((*asked, task as u32, What::Invoked));
        table.push((*returned, task as u32, ended(outcome.clone())));
    }
    table.sort_by_key(|(at, ..)| *at);
    table
}

/// Those in a histogram, from the shortest to the longest, as far as it tells them apart.
fn is(histogram: &Histogram, ms: &[u64]) {
    let near = |q: f64, ms: u64| {
        histogram.quantile_ns(q).is_some_and(|ns| ns.abs_diff(ms * MS) < MS / 10 + ms * MS / 500)
    };
    assert_eq!(histogram.count(), ms.len() as u64);
    assert!(ms.is_empty() || near(0.0, ms[0]) && near(1.0, ms[ms.len() - 1]), "{:?}", histogram.max_ns());
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

#[test]
fn what_returns_at_the_middle_or_the_end_of_the_window_is_no_backlog_of_it() {
    // The window is from 100 to 2,100 ms.
    let table = asked_and_returned(&[
        (105, 1_100, Outcome::Completed),
        (600, 1_101, Outcome::Completed),
        (1_000, 2_100, Outcome::Completed),
    ]);
    let mut told = due(&[0, 500, 900], 2_000, &table);
    told.facts.origin_ns = 100 * MS;
    let figures = figures(&told);
    assert_eq!(figures.backlog, Some(Backlog { middle: 2, end: 0 }));
    assert!((figures.goodput_per_s - 1.5).abs() < 1e-9, "{}", figures.goodput_per_s);
    is(&figures.latency.lag, &[0, 0, 5]);
    is(&figures.latency.response, &[501, 1_000, 1_100]);
}

#[test]
fn completed_tasks_are_counted_by_the_slice_in_which_they_returned() {
    let at = |ms| (0, ms, Outcome::Completed);
    let figures = figures(&due(&[0; 4], 1_000, &asked_and_returned(&[at(99), at(100), at(199), at(301)])));
    assert_eq!(figures.completed_per_slice, [1, 2, 0, 1]);
}

#[test]
fn a_burst_is_served_when_the_last_of_its_tasks_that_completed_has_returned() {
    let table = asked_and_returned(&[
        // Three at once, of which one failed; one alone; two, the later of which returns first; two that failed.
        (50, 60, Outcome::Completed),
        (50, 80, Outcome::Completed),
        (50, 140, Outcome::TimedOut),
        (150, 155, Outcome::Completed),
        (250, 290, Outcome::Completed),
        (250, 270, Outcome::Completed),
        (350, 360, Outcome::TimedOut),
        (350, 360, Outcome::TimedOut),
    ]);
    let mut told = due(&[0, 0, 0, 100, 200, 200, 300, 300], 0, &table);
    told.facts.origin_ns = 50 * MS;
    let figures = figures(&told);
    is(&figures.latency.burst, &[30, 40]);
    // Five completed, the last of them 240 ms after the origin.
    assert!((figures.goodput_per_s - 5.0 / 0.24).abs() < 1e-9, "{}", figures.goodput_per_s);
    assert_eq!(figures.backlog, None);
}

#[test]
fn on_time_is_what_was_due_early_enough_and_what_of_all_took_no_longer_than_its_limit() {
    let table = asked_and_returned(&[
        (0, 140, Outcome::Completed),
        (10, 500, Outcome::TimedOut),
        (20, 150, Outcome::Completed),
        (849, 1_000, Outcome::Completed),
        (850, 1_001, Outcome::Completed),
        (851, 1_001, Outcome::Completed),
    ]);
    let mut told = due(&[0, 10, 20, 849, 850, 851], 1_000, &table);
    assert_eq!(figures(&told).on_time, None, "nobody asked");
    told.facts.limit_ns = Some(100 * MS);
    // With 50 ms of work and the limit, whoever is due after 850 ms cannot be done within the second.
    Arc::make_mut(&mut told.facts.plan).tasks.change(|task| task.steps[0].hold_ns = 50 * MS);
    let on_time = OnTime { within: 3, due: 5, completed: 3 };
    assert_eq!(figures(&told).on_time, Some(on_time));
}

#[test]
fn what_has_not_ended_has_lasted_until_the_end_of_the_run_and_what_was_not_due_by_then_has_not() {
    let mut told = due(&[0, 400, 1_000, 1_200], 2_000, &[(0, 0, What::Invoked)]);
    told.facts.end_ns = 1_000 * MS;
    Arc::make_mut(&mut told.facts.plan).tasks.change(|task| task.steps[0].hold_ns = 50 * MS);
    let figures = figures(&told);
    assert_eq!((figures.tasks.unfinished, figures.tasks.not_offered), (1, 3));
    is(&figures.latency.excess, &[550, 950]);
    assert_eq!(figures.latency.excess.censored(), 2);
}

#[test]
fn who_was_due_when_a_slot_was_left_was_not_yet_waiting_for_it() {
    let first = [(0, 0, What::Invoked), (0, 0, entered(0, 0)), (20, 0, left(1)), (21, 0, completed())];
    let second = [(21, 1, What::Invoked), (25, 1, entered(0, 0))];
    let hand_over = |second_due| {
        let told = due(&[0, second_due], 1_000, &[&first[..], &second].concat());
        figures(&told).latency.hand_over
    };
    is(&hand_over(19), &[5]);
    is(&hand_over(20), &[]);
}

#[test]
fn a_slot_that_one_step_holds_twice_is_free_when_it_has_left_twice() {
    let table = [
        (0, 0, What::Invoked),
        (0, 1, What::Invoked),
        (1, 0, entered(0, 0)),
        (2, 0, entered(0, 0)),
        (3, 0, left(1)),
        (4, 0, completed()),
        (8, 0, left(1)),
        (10, 1, entered(0, 0)),
    ];
    is(&told(&table, 2).latency.hand_over, &[2]);
}

#[test]
fn a_step_that_is_over_and_run_again_has_nothing_to_release_until_it_enters() {
    let over = [(1, 0, What::Invoked), (2, 0, entered(0, 0))];
    let again = [(7, 0, What::Invoked), (9, 0, ended(Outcome::Refused("full".into())))];
    let release = |end: [(u64, u32, What); 2]| told(&[&over[..], &end, &again].concat(), 1).latency.release;
    is(&release([(3, 0, left(1)), (5, 0, completed())]), &[2]);
    is(&release([(4, 0, completed()), (6, 0, left(1))]), &[]);
}

#[test]
fn steps_that_need_no_slot_and_never_entered_did_not_wait_either() {
    let mut told = due(&[0], 1_000, &[(1, 0, What::Invoked)]);
    assert_eq!(figures(&told).latency.wait.censored(), 1);
    let plan = Arc::make_mut(&mut told.facts.plan);
    let free = crate::model::Resource { id: 8, level: 0, ..plan.resources[0] };
    plan.resources.push(free);
    let place = plan.resources.len() as u32 - 1;
    plan.tasks.change(|task| task.steps[0].resource = place);
    assert_eq!(figures(&told).latency.wait.censored(), 0);
}

#[test]
fn a_task_of_which_nobody_knows_is_partial_where_only_a_child_wrote() {
    let outcome = |wrote: bool| {
        let child = What::Left { wrote: wrote.then_some(1) };
        let table = [
            (1, false, What::Invoked),
            (2, false, entered(0, 0)),
            (3, true, What::Invoked),
            (4, true, entered(0, 0)),
            (5, true, child),
            (6, true, completed()),
            (7, false, ended(Outcome::Unknown("cut".into()))),
        ];
        figures(&with_a_child(&table)).tasks
    };
    assert_eq!((outcome(true).partial, outcome(true).unknown), (1, 0));
    assert_eq!((outcome(false).partial, outcome(false).unknown), (0, 1));
}

#[test]
fn little_s_law_has_a_hundredth_or_a_millisecond_of_room() {
    // A task took so long; a second begin that no end follows is open for the rest of the run.
    let plausible = |took_ms: u64, rest_ms: u64| {
        let table = [(0, 0, What::Invoked), (took_ms, 0, completed()), (took_ms, 0, What::Invoked)];
        let mut told = due(&[0], 1_000, &table);
        told.facts.end_ns = (took_ms + rest_ms) * MS;
        figures(&told).implausible.is_empty()
    };
    assert!(plausible(1, 1) && !plausible(1, 2));
    assert!(plausible(1_000, 10) && !plausible(1_000, 11));
}

#[test]
fn what_is_over_is_held_in_brief() {
    let mut table = Vec::new();
    for task in 0..100 {
        let at = u64::from(task);
        table.extend([(at, task, What::Invoked), (at, task, entered(0, 0))]);
        table.extend([(at, task, left(1)), (at, task, completed())]);
    }
    let told = due(&(0..100).collect::<Vec<_>>(), 1_000, &table);
    let mut measuring = Measuring::new(&told.facts);
    told.events.iter().for_each(|event| measuring.see(event));
    assert!(measuring.lives.whole().count() <= 2, "steps");
    assert!(measuring.ends.whole().len() <= 2, "tasks");
    assert_eq!(measuring.ends.get(99).asked.ns(), Some(99 * MS));
}

/// A caller asks twice, another once, and nobody comes to the fourth task.
#[test]
fn in_a_closed_loop_what_nobody_came_to_is_none_of_it_and_latency_is_from_the_asking() {
    let each = [(0, 30, Outcome::Completed), (10, 50, Outcome::Completed), (40, 100, Outcome::Completed)];
    let mut told = due(&[0, 0, 0, 0], 200, &asked_and_returned(&each));
    Arc::make_mut(&mut told.facts.plan).closed = Some(Closed { callers: 2, think_ns: 0 });
    let seen = figures(&told);
    assert_eq!((seen.tasks.planned, seen.tasks.completed, seen.tasks.not_offered), (3, 3, 0));
    is(&seen.latency.response, &[30, 40, 60]);
    assert_eq!((seen.latency.lag.count(), seen.backlog, seen.latency.burst.count()), (0, None, 0));
    assert_eq!(seen.latency.wait.count() - seen.latency.wait.censored(), 0);
    assert_eq!(seen.latency.wait.censored(), 3, "they returned without having been let in");
    // Three in the window of 200 ms.
    assert!((seen.goodput_per_s - 15.0).abs() < 1e-9);
    assert_eq!(seen.implausible, Vec::<String>::new());
    // Where they come to the last, they ask no more after that.
    let each = [(0, 30, Outcome::Completed), (10, 50, Outcome::Completed), (40, 100, Outcome::Completed)];
    let mut told = due(&[0, 0, 0], 200, &asked_and_returned(&each));
    Arc::make_mut(&mut told.facts.plan).closed = Some(Closed { callers: 2, think_ns: 0 });
    assert!((figures(&told).goodput_per_s - 30.0).abs() < 1e-9, "100 ms took all of them");
}
