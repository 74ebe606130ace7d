//! What a batch amounts to, bent in one place at a time.

use harness::record::{Deed, Expected, Histogram, Skipped, TOO_BUSY, Verdict};

use super::*;
use crate::fixture;

fn deed(check: &str, times: u64, foretold: bool) -> Deed {
    Deed { check: check.to_owned(), counted: format!("{check} broken"), times, foretold }
}

fn standing(comparison: &Comparison, name: &str) -> Standing {
    comparison.standing_of(row(comparison, name))
}

fn row<'a>(comparison: &'a Comparison, name: &str) -> &'a Row {
    comparison.rows.iter().find(|row| row.contender == name).unwrap()
}

#[test]
fn a_violation_outweighs_everything() {
    let comparison = fixture::small();
    assert_eq!(standing(&comparison, "redis-naive"), Standing::Violated(vec![deed("exclusion", 3, false)]));
    assert_eq!(standing(&comparison, "ring-queue"), Standing::Pass);
    assert_eq!(comparison.conclusion().standing, Standing::Violated(vec![deed("exclusion", 3, false)]));
    assert_eq!(comparison.conclusion().exit_code, 3);
}

#[test]
fn controls_are_judged_by_what_they_must_show() {
    let comparison = fixture::small();
    assert_eq!(standing(&comparison, "none"), Standing::Caught(3, 3));
    assert_eq!(standing(&comparison, "noop"), Standing::Exact(3, 3));
}

#[test]
fn a_control_that_escapes_leaves_a_pass_unproven() {
    let mut comparison = fixture::small();
    let none = comparison.rows.iter_mut().find(|row| row.contender == "none").unwrap();
    for answer in &mut none.records[1].verdicts {
        answer.verdict = Verdict::Holds;
    }
    assert_eq!(standing(&comparison, "none"), Standing::Caught(2, 3));
    assert_eq!(standing(&comparison, "ring-queue"), Standing::NotProven);
}

#[test]
fn a_control_that_is_off_by_more_than_a_tenth_leaves_a_pass_unproven() {
    let mut comparison = fixture::small();
    let noop = comparison.rows.iter_mut().find(|row| row.contender == "noop").unwrap();
    noop.records[0].programmed_delay_ns = Some(4_000_000);
    assert_eq!(standing(&comparison, "noop"), Standing::Exact(2, 3));
    assert_eq!(standing(&comparison, "ring-queue"), Standing::NotProven);
}

#[test]
fn a_control_whose_tail_is_off_leaves_a_pass_unproven() {
    let with_tail = |tail_ns| {
        let mut comparison = fixture::small();
        let noop = comparison.rows.iter_mut().find(|row| row.contender == "noop").unwrap();
        let mut wait = Histogram::default();
        (0..1000).for_each(|task| wait.record_ns(if task < 970 { 5_000_000 } else { tail_ns }));
        noop.records[0].latency.wait = wait;
        standing(&comparison, "noop")
    };
    assert_eq!(with_tail(9_000_000), Standing::Exact(3, 3));
    assert_eq!(with_tail(15_000_000), Standing::Exact(2, 3));
}

#[test]
fn an_invalid_run_or_a_killed_batch_proves_nothing() {
    let mut comparison = fixture::small();
    comparison.rows[0].records[0].invalid.push("generator saturated".to_owned());
    assert_eq!(comparison.standing_of(&comparison.rows[0]), Standing::NotProven);
    let mut killed = fixture::small();
    killed.manifest.end = None;
    assert_eq!(killed.standing_of(&killed.rows[0]), Standing::NotProven);
}

#[test]
fn a_batch_that_was_interrupted_or_had_no_server_says_that_first() {
    let ended = |exit_code, reason: &str| {
        let mut comparison = fixture::small();
        let end = comparison.manifest.end.as_mut().unwrap();
        (end.exit_code, end.reasons) = (exit_code, vec![reason.to_owned()]);
        let conclusion = comparison.conclusion();
        (conclusion.exit_code, conclusion.reasons[0].clone(), standing(&comparison, "ring-queue"))
    };
    assert_eq!(ended(130, "interrupted"), (130, "interrupted".to_owned(), Standing::NotProven));
    assert_eq!(ended(2, "no Redis"), (2, "no Redis".to_owned(), Standing::NotProven));
    assert_eq!(ended(0, "pass").2, Standing::Pass);
}

#[test]
fn a_contender_that_could_not_go_on_does_not_pass_by_what_it_had_done() {
    let mut comparison = fixture::small();
    let reason = "could not be run in block 3: no session".to_owned();
    comparison.manifest.failed.push(Skipped { contender: "ring-queue".to_owned(), reason });
    assert_eq!(standing(&comparison, "ring-queue"), Standing::NotProven);
    let conclusion = comparison.conclusion();
    assert!(conclusion.reasons.iter().any(|reason| reason.starts_with("ring-queue: could not")));
    comparison.manifest.failed[0].contender = "another".to_owned();
    assert_eq!(standing(&comparison, "ring-queue"), Standing::Pass);
}

#[test]
fn a_promised_violation_that_does_not_show_is_not_a_pass() {
    let mut comparison = fixture::small();
    comparison.rows[0].records[0].verdicts[0].expected = Expected::Violated;
    assert_eq!(comparison.standing_of(&comparison.rows[0]), Standing::Held(1));
}

#[test]
fn without_any_answer_nothing_passes() {
    let mut comparison = fixture::small();
    comparison.rows[0].records.iter_mut().for_each(|run| run.verdicts.clear());
    assert_eq!(comparison.standing_of(&comparison.rows[0]), Standing::NotProven);
    let noop = comparison.rows.iter_mut().find(|row| row.contender == "noop").unwrap();
    for run in &mut noop.records {
        run.verdicts.clear();
        run.programmed_delay_ns = Some(0);
    }
    assert_eq!(standing(&comparison, "noop"), Standing::NotJudged);
    assert!(comparison.conclusion().controls_hold);
}

#[test]
fn where_nothing_has_to_be_kept_apart_no_control_must_be_caught() {
    let mut comparison = fixture::small();
    comparison.rows.retain(|row| row.contender != "none");
    assert!(!comparison.conclusion().controls_hold);
    comparison.manifest.plan.unlimited = true;
    assert!(comparison.conclusion().controls_hold);
}

#[test]
fn a_control_that_loses_tasks_is_not_excused_by_being_caught() {
    let mut comparison = fixture::small();
    let none = comparison.rows.iter_mut().find(|row| row.contender == "none").unwrap();
    let conservation = none.records[0].verdicts.last_mut().unwrap();
    conservation.verdict = Verdict::Violated { witness: Vec::new() };
    conservation.violations = 4;
    assert_eq!(
        standing(&comparison, "none"),
        Standing::Violated(vec![
            deed("conservation", 4, false),
            deed("exclusion", 336, true),
            deed("lost-update", 291, true)
        ])
    );
    assert!(!comparison.conclusion().controls_hold);
}

#[test]
fn who_did_what_was_foretold_does_not_pass_and_breaks_no_promise() {
    let mut comparison = fixture::small();
    let naive = comparison.rows.iter_mut().find(|row| row.contender == "redis-naive").unwrap();
    for answer in naive.records.iter_mut().flat_map(|run| &mut run.verdicts) {
        if answer.check == "exclusion" {
            answer.expected = Expected::Violated;
        }
    }
    let foretold = Standing::Foretold(vec![deed("exclusion", 3, true)]);
    assert_eq!(standing(&comparison, "redis-naive"), foretold);
    let conclusion = comparison.conclusion();
    assert_eq!((conclusion.exit_code, conclusion.standing), (0, foretold), "{:?}", conclusion.reasons);
}

#[test]
fn controls_alone_prove_nothing() {
    let mut comparison = fixture::small();
    comparison.rows.retain(|row| row.role == harness::record::Role::Control);
    let conclusion = comparison.conclusion();
    assert_eq!((conclusion.exit_code, conclusion.standing), (4, Standing::NotProven));
    assert_eq!(conclusion.reasons, ["the batch is not proven", "no contender ran"]);
}

#[test]
fn a_busy_machine_is_told_apart_from_a_bench_that_is_not_proven() {
    let mut comparison = fixture::small();
    comparison.rows.retain(|row| row.contender != "redis-naive");
    let run = &mut comparison.rows[0].records[0];
    run.invalid.push(format!("{TOO_BUSY} (3.0 % stolen, 0.0 % used by others' processes): late"));
    let busy = comparison.conclusion();
    assert_eq!(busy.exit_code, 4);
    assert!(busy.reasons[0].starts_with(TOO_BUSY), "{:?}", busy.reasons);
    comparison.rows[0].records[1].invalid.push("no task completed".to_owned());
    let both = comparison.conclusion();
    assert_eq!((both.exit_code, &*both.reasons[0]), (4, "the batch is not proven"));
    assert!(both.reasons[1].contains("no task completed"), "what the machine cannot excuse comes first");
}

/// Over everything that the fixtures can be bent to: nobody passes beside an exit code, and the other way round.
#[test]
fn the_exit_code_and_the_standing_never_disagree() {
    let mut bent = vec![fixture::small(), fixture::rich(), fixture::faulted()];
    for expected in [Expected::Holds, Expected::Violated, Expected::Either] {
        for verdict in [
            Verdict::Holds,
            Verdict::Violated { witness: Vec::new() },
            Verdict::Unknown { reason: "too few".to_owned() },
            Verdict::NotApplicable { reason: "level 0".to_owned() },
        ] {
            for of in 0..4 {
                let mut comparison = fixture::small();
                let answer = &mut comparison.rows[of].records[1].verdicts[0];
                (answer.expected, answer.verdict) = (expected, verdict.clone());
                bent.push(comparison);
            }
        }
    }
    for comparison in bent {
        let Conclusion { exit_code, reasons, standing, .. } = comparison.conclusion();
        let agree = match standing {
            Standing::Pass | Standing::Foretold(_) => exit_code == 0 && reasons.is_empty(),
            Standing::Violated(_) | Standing::Held(_) => exit_code == 3,
            Standing::Unknown | Standing::NotProven => exit_code == 4,
            Standing::NotJudged | Standing::Caught(..) | Standing::Exact(..) => false,
        };
        assert!(agree, "exit {exit_code} beside {standing:?}: {reasons:?}");
    }
}
