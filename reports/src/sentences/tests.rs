use super::*;
use crate::fixture;

fn text(comparison: &Comparison) -> String {
    let lines = findings(comparison)
        .into_iter()
        .map(|f| format!("{}: {} {}", f.question, f.badge.text, f.sentences.join(" ")));
    lines.collect::<Vec<_>>().join("\n").replace('\u{202f}', " ")
}

#[test]
fn each_question_is_answered_from_the_data() {
    let text = text(&fixture::small());
    for part in [
        "Correctness: 3 exclusion broken redis-naive violated exclusion in 3 of 3 runs. Everything asked holds for ring-queue, while nothing was broken on purpose.",
        "Validity: VALID None of 12 runs has a reason to be set aside.",
        "Controls: CONTROLS HOLD none excludes nothing and was caught in 3 of 3 blocks. noop was programmed to wait 5.00 ms; the measured median, start lag taken off, is ",
        "Cost: 3 blocks At 400 tasks/s offered on 4 nodes, median goodput went from ",
        "Exit code: EXIT 3 redis-naive violated exclusion, which had to hold",
        "Skipped: SKIPPED 1 zk-seq: no ZooKeeper on this machine",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

#[test]
fn a_check_is_named_once_however_many_runs_broke_it() {
    let mut comparison = fixture::small();
    for run in &mut comparison.rows[1].records {
        run.verdicts[1].verdict = run.verdicts[0].verdict.clone();
    }
    let text = text(&comparison);
    assert!(text.contains("redis-naive violated exclusion and lost-update in 3 of 3 runs."), "{text}");
}

#[test]
fn what_differs_from_the_reference_is_told_with_its_interval() {
    let mut comparison = fixture::of_blocks(6);
    for row in &mut comparison.rows {
        let times = if row.contender == "ring-queue" { 1.5 } else { 1.0 };
        row.records.iter_mut().for_each(|run| run.goodput_per_s = times * (100.0 + f64::from(run.block)));
    }
    let text = text(&comparison);
    assert!(
        text.contains("Differences: 6 blocks Goodput, beside redis-naive: 1.50 (1.50–1.50) times as much for ring-queue."),
        "{text}"
    );
}

#[test]
fn no_sentence_ranks() {
    let text = text(&fixture::rich()).to_lowercase();
    for word in ["fastest", "slowest", "best", "worst", "winner", "faster", "slower", "better"] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}

#[test]
fn a_killed_batch_says_so() {
    let mut killed = fixture::small();
    killed.manifest.end = None;
    killed.rows[0].records.pop();
    let text = text(&killed);
    assert!(text.contains("Exit code: NO END The batch still runs or was killed"), "{text}");
    assert!(text.contains("11 of 12 runs were recorded"), "{text}");
    assert!(text.contains("proves nothing here"), "{text}");
}

#[test]
fn an_invalid_run_is_named_with_its_reason() {
    let mut comparison = fixture::small();
    comparison.rows[1].records[2].invalid.push("the generator was late".to_owned());
    assert!(
        text(&comparison).contains("Validity: INVALID 1 of 12 redis-naive, block 3: the generator was late")
    );
}

#[test]
fn an_attempt_that_was_not_counted_is_disclosed() {
    let mut comparison = fixture::small();
    comparison.rows[1].records[2].repeated.push("20 ms late; kept in late/3-redis-naive-1".to_owned());
    let text = text(&comparison);
    assert!(
        text.contains("redis-naive, block 3: 1 attempt before this one not counted: 20 ms late"),
        "{text}"
    );
}
