//! Known failures as a shell runs them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn lockbench(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockbench")).args(arguments).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_row_that_there_is_not_is_refused_with_those_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let output = lockbench(folder.path(), &["matrix", "--rows", "holder-paus"]);
    assert_eq!(output.status.code(), Some(2));
    let told = said(&output);
    assert!(told.contains("`holder-paus`") && told.contains("did you mean `holder-pause`"), "{told}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

#[test]
fn the_rows_are_listed_and_the_quick_matrix_has_fewer() {
    let folder = tempfile::tempdir().unwrap();
    let listed = |arguments: &[&str]| -> Vec<String> {
        let output = lockbench(folder.path(), &[&["matrix", "--list"], arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    };
    let (all, quick) = (listed(&[]), listed(&["--quick"]));
    assert!(all.len() > quick.len() && !quick.is_empty(), "{all:?} {quick:?}");
    assert!(quick.iter().all(|row| all.contains(row)));
}

#[test]
fn a_ring_that_moves_keys_at_once_does_in_the_matrix_what_is_foretold_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let asked = ["matrix", "--quick", "--rows", "ring-join", "--contenders", "ring-queue", "--seed", "7"];
    let output = lockbench(folder.path(), &asked);
    // A busy machine may make the bench's own cost too high to be proven; nothing else may happen.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", said(&output));
    let matrix = fs::read_dir(folder.path().join("out")).unwrap().next().unwrap().unwrap().path();
    let summary = fs::read_to_string(matrix.join("summary.md")).unwrap();
    assert!(summary.contains("foretold)") && summary.contains("✓ yes"), "{summary}");
    assert!(summary.contains("--seed 7"), "{summary}");
    let record = matrix.join("ring-join/1-ring-queue/record.json");
    let before = fs::metadata(&record).unwrap().modified().unwrap();

    let again = lockbench(folder.path(), &["matrix", "--resume", matrix.to_str().unwrap()]);
    assert_eq!(again.status.code(), output.status.code(), "{}", said(&again));
    assert_eq!(fs::metadata(&record).unwrap().modified().unwrap(), before, "what is done is not run again");
}

/// Each channel is shown on a contender that it can break: all its faults came about, were taken back, and met something.
#[test]
fn copies_clocks_and_event_loops_are_broken_as_the_scenarios_say() {
    for (scenario, contender) in
        [("promotion", "redis-poll"), ("clock-jump", "redis-poll"), ("holder-stall", "redis-fenced")]
    {
        let folder = tempfile::tempdir().unwrap();
        let output = lockbench(
            folder.path(),
            &["run", scenario, "--contenders", contender, "--set", "duration_s=20.0", "--seed", "7"],
        );
        let told = said(&output);
        if told.contains("libfaketime") && std::env::var_os("CI").is_none() {
            eprintln!("skipped: {told}");
            continue;
        }
        let batch = fs::read_dir(folder.path().join("out")).unwrap().next().expect(&told).unwrap().path();
        let record = fs::read_to_string(batch.join(format!("1-{contender}/record.json"))).expect(&told);
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let faults = record["faults"]["faults"].as_array().unwrap();
        let effective = faults.iter().filter(|fault| fault["effective"] == true).count();
        assert!(effective >= 2, "{scenario}: {faults:?}\n{told}");
        assert!(faults.iter().all(|fault| fault["failure"].is_null()), "{scenario}: {faults:?}");
        if scenario == "holder-stall" {
            assert!(faults.iter().any(|fault| fault["regressions"].as_u64() > Some(0)), "{faults:?}");
        }
    }
}
