//! A review as a shell runs it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SCENARIO: &str = r#"
name = "ours"
summary = "Ours."
nodes = 3
rate_per_s = 100.0
duration_s = 1.0
deadline_ms = 5000.0
detect_ms = 1000.0
noop_delay_ms = 5.0
contenders = ["noop", "none", "ring-queue"]

[resources]
vm = { count = 5, level = 1 }

[[tasks]]
name = "change-vm"
weight = 1.0
step = { resource = "vm", hold_s = 0.005 }

[[faults]]
verb = "reset"
target = "node-0"
link = "nodes"
every_s = 1.0
for_ms = 10.0
"#;

const REQUIREMENTS: &str = r#"
[[require]]
what = "one at a time"
check = "exclusion"

[[require]]
metric = "response_p99"
max = "10 s"

[[require]]
what = "no update is lost when a holder dies"
check = "lost-update"
during = "holder-kill"
"#;

fn lockbench(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockbench")).args(arguments).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_the_budget_does_not_hold_is_left_out_and_said_and_the_rest_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("ours.toml"), SCENARIO).unwrap();
    fs::write(folder.path().join("must.toml"), REQUIREMENTS).unwrap();
    let asked = ["review", "ours.toml", "--requirements", "must.toml", "--budget", "60s", "--seed", "7"];
    let output = lockbench(folder.path(), &asked);
    // 5: something was not measured, so that nobody passes. 4: a busy machine makes a run INVALID.
    assert!(matches!(output.status.code(), Some(4 | 5)), "{}", said(&output));
    let told = said(&output);
    assert!(told.contains("left out: capacity: the budget leaves "), "{told}");
    assert!(told.contains("left out: holder-kill"), "{told}");
    let review = fs::read_dir(folder.path().join("out")).unwrap().next().unwrap().unwrap().path();
    assert!(review.file_name().unwrap().to_str().unwrap().starts_with("ours-review-"));
    let summary = fs::read_to_string(review.join("summary.md")).unwrap();
    let line =
        |what: &str| summary.lines().find(|line| line.starts_with(&format!("| {what}"))).unwrap().to_owned();
    if told.contains("Everything that was measured is met by ring-queue") {
        assert!(line("one at a time").contains("✓ met"), "{summary}");
        assert!(line("response").contains("✓ met"), "{summary}");
    }
    assert!(line("no update is lost").contains("not measured"), "{summary}");
    let manifest = fs::read_to_string(review.join("load/manifest.json")).unwrap();
    assert!(manifest.contains("faults = []"), "plain load is without the scenario's own faults: {manifest}");

    let again = lockbench(folder.path(), &["review", "--resume", review.to_str().unwrap()]);
    assert_eq!(again.status.code(), output.status.code(), "what is done is not run again: {}", said(&again));
}

#[test]
fn a_wrong_requirement_is_refused_with_file_and_line_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("must.toml"), "[[require]]\nmetric = \"response_p9\"\nmax = \"1 ms\"\n")
        .unwrap();
    let output = lockbench(folder.path(), &["review", "smoke", "--requirements", "must.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let told = said(&output);
    assert!(told.contains("must.toml, line 2") && told.contains("did you mean `response_p99`"), "{told}");
    assert!(!folder.path().join("out").exists());
    let output = lockbench(folder.path(), &["review", "smoke", "--budget", "soon"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("90s, 10m or 1h"), "{}", said(&output));
}
