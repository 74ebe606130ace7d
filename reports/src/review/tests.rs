//! A review as it is read and shown.

use std::fs;
use std::path::Path;

use harness::record::{
    Demand, FaultFacts, FaultRecord, Requirement, ReviewPhase, ReviewRecord, SCHEMA_VERSION, write_json,
};

use super::Review;
use super::answer::Met;
use crate::{Comparison, fixture, write_all};

/// Plain load in six blocks, in which redis-naive lets two in; a phase that has not run; one that was left out.
fn review(dir: &Path, requirements: Vec<Requirement>) -> Review {
    let phase = |name: &str| ReviewPhase {
        name: name.to_owned(),
        question: "What does it cost?".to_owned(),
        spec_toml: "nodes = 3\n".to_owned(),
        capacity_s: None,
        folder: name.to_owned(),
    };
    let record = ReviewRecord {
        schema_version: SCHEMA_VERSION,
        scenario: "hot-volumes".to_owned(),
        seed: 7,
        started_utc: "2026-11-22T20:15:04Z".to_owned(),
        budget_s: 1_200.0,
        contenders: Vec::new(),
        required_by: "mine.toml".to_owned(),
        requirements,
        phases: vec![phase("load"), phase("holder-kill")],
        left_out: vec![("capacity".to_owned(), "the budget leaves 10 s for it".to_owned())],
    };
    fs::create_dir_all(dir.join("load")).unwrap();
    fixture::store(&fixture::of_blocks(6), &dir.join("load"));
    write_json(&dir.join(ReviewRecord::FILE), &record).unwrap();
    Review::load(dir).unwrap()
}

fn require(what: &str, during: &str, demand: Demand) -> Requirement {
    Requirement { what: what.to_owned(), during: during.to_owned(), demand }
}

fn at_most(metric: &str, limit: f64) -> Demand {
    Demand::AtMost { metric: metric.to_owned(), limit }
}

fn holds(check: &str) -> Demand {
    Demand::Holds { check: check.to_owned() }
}

/// The answers about one candidate.
fn met(review: &Review, name: &str) -> Vec<Met> {
    let place = review.candidates().iter().position(|other| *other == name).unwrap();
    review.decision().answers.iter().map(|row| row[place].met).collect()
}

#[test]
fn a_requirement_is_met_broken_untold_or_not_measured() {
    let dir = tempfile::tempdir().unwrap();
    let asked = vec![
        require("generous", "load", at_most("wait_p50", 1e12)),
        require("impossible", "load", at_most("wait_p50", 1.0)),
        require("nobody is let in twice", "load", holds("exclusion")),
        require("capacity", "capacity", Demand::AtLeast { metric: "capacity".to_owned(), limit: 1.0 }),
        require("later", "holder-kill", holds("lost-update")),
    ];
    let review = review(dir.path(), asked);
    use Met::{No, NotMeasured, Yes};
    assert_eq!(met(&review, "ring-queue"), [Yes, No, Yes, NotMeasured, NotMeasured]);
    assert_eq!(met(&review, "redis-naive"), [Yes, No, No, NotMeasured, NotMeasured]);
    let decision = review.decision();
    let why: Vec<&str> = decision.answers[3..].iter().map(|row| row[0].why.as_str()).collect();
    assert_eq!(why, ["capacity was left out: the budget leaves 10 s for it", "holder-kill has not run"]);
}

#[test]
fn a_limit_inside_the_interval_cannot_be_told_and_is_no_pass() {
    let dir = tempfile::tempdir().unwrap();
    let some = review(dir.path(), vec![require("any", "load", at_most("wait_p50", 1e12))]);
    let observed = some.decision().answers[0][0].observed.clone();
    // The middle of what was measured is the limit.
    let runs: Vec<f64> = some.batches[0]
        .as_ref()
        .unwrap()
        .rows
        .iter()
        .find(|row| row.contender == "ring-queue")
        .unwrap()
        .valid()
        .filter_map(|run| harness::record::Metric::named("wait_p50").unwrap().known(run))
        .collect();
    let middle = (runs.iter().map(|ns| ns.ln()).sum::<f64>() / runs.len() as f64).exp();
    let dir = tempfile::tempdir().unwrap();
    let tight = review(dir.path(), vec![require("tight", "load", at_most("wait_p50", middle))]);
    assert_eq!(met(&tight, "ring-queue"), [Met::CannotTell], "{observed}");
}

#[test]
fn whoever_meets_everything_is_named_first_and_the_exit_code_says_whether_anybody_does() {
    let asked = |dir: &Path, check: &str, limit: f64| {
        review(
            dir,
            vec![require("quick", "load", at_most("wait_p50", limit)), require("safe", "load", holds(check))],
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let fit = asked(dir.path(), "exclusion", 1e12);
    let decision = fit.decision();
    assert_eq!(decision.sentences[0], "All 2 requirements are met by ring-queue.");
    assert_eq!(decision.sentences[1], "redis-naive does not meet: safe.");
    assert_eq!(fit.exit_code(), 0);
    let dir = tempfile::tempdir().unwrap();
    let asked_more = vec![
        require("quick", "load", at_most("wait_p50", 1e12)),
        require("later", "holder-kill", holds("exclusion")),
    ];
    assert_eq!(review(dir.path(), asked_more).exit_code(), 5, "what was not measured is not met");
    let dir = tempfile::tempdir().unwrap();
    let none = asked(dir.path(), "exclusion", 1.0);
    assert_eq!(none.decision().sentences[0], "Nobody is shown to meet all of 2 requirements.");
    assert_eq!(none.exit_code(), 1);
}

#[test]
fn the_page_shows_each_answer_with_its_number_and_the_way_to_its_phase() {
    let dir = tempfile::tempdir().unwrap();
    review(dir.path(), vec![require("quick <b>", "load", at_most("wait_p50", 1e12))]);
    let files = write_all(dir.path()).unwrap();
    assert_eq!(files.len(), 2);
    let html = fs::read_to_string(&files[0]).unwrap();
    for part in [
        "href=\"load/report.html\"",
        "quick &#60;b&#62;",
        "the whole interval keeps the limit",
        "capacity: the budget leaves",
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    for part in ["<script", "src=", "http://", "https://", "@import", "url(", "<link"] {
        assert!(!html.contains(part), "{part}");
    }
}

/// A check in a phase whose faults are aimed at holders, of which so many let somebody in meanwhile, and so many afterwards; and with so
/// many who were inside beside others.
fn aimed(meanwhile: usize, after: usize, beside: u64) -> Met {
    let dir = tempfile::tempdir().unwrap();
    review(dir.path(), vec![require("safe", "holder-kill", holds("lost-update"))]);
    let Comparison { manifest, rows, .. } = fixture::faulted();
    let fault = rows[0].records[0].faults.faults[0].clone();
    let of = |freed_ns: u64| FaultRecord { regressions: 0, freed_ns: Some(freed_ns), ..fault.clone() };
    let faults: Vec<_> =
        (0..meanwhile).map(|_| of(1_000_000_000)).chain((0..after).map(|_| of(3_100_000_000))).collect();
    let mut records: Vec<_> = rows.into_iter().flat_map(|row| row.records).collect();
    for run in records.iter_mut().filter(|run| run.contender == "ring-queue") {
        run.faults =
            FaultFacts { planned: faults.len() as u64, faults: faults.clone(), ..FaultFacts::default() };
        for answer in run.verdicts.iter_mut().filter(|answer| answer.check == "exclusion") {
            answer.violations = beside;
        }
    }
    fs::create_dir_all(dir.path().join("holder-kill")).unwrap();
    fixture::store(&Comparison::new(manifest, records), &dir.path().join("holder-kill"));
    met(&Review::load(dir.path()).unwrap(), "ring-queue")[0]
}

#[test]
fn a_check_that_held_while_nobody_came_to_the_key_of_the_holder_proves_nothing() {
    assert_eq!(aimed(3, 0, 0), Met::Yes, "others were let in, and nothing was broken");
    assert_eq!(aimed(0, 3, 0), Met::Yes, "others were made to wait");
    assert_eq!(aimed(2, 4, 0), Met::CannotTell);
    assert_eq!(aimed(0, 2, 0), Met::CannotTell);
    assert_eq!(aimed(1, 4, 3), Met::Yes, "others were in at other keys of the same node");
    assert_eq!(aimed(1, 4, 2), Met::CannotTell);
    assert_eq!(aimed(1, 1, 9), Met::CannotTell, "of two faults, however many overlaps they made");
}
