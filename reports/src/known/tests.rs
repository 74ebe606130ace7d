//! Known failures as they are read and shown.

use std::fs;
use std::path::Path;

use harness::record::{Expected, MatrixRecord, MatrixRow, SCHEMA_VERSION, Verdict, write_json};

use super::KnownFailures;
use crate::comparison::Comparison;
use crate::{fixture, format, write_all};

/// Three rows: one in which redis-naive let two in, which nobody foretold; the same foretold; one that has not run.
fn matrix(dir: &Path) {
    let row = |name: &str| MatrixRow {
        name: name.to_owned(),
        failure: "a holder stands still".to_owned(),
        published: vec!["https://example.org/a".to_owned(), "javascript:alert(1)".to_owned()],
        scenario: "holder-pause".to_owned(),
        spec_toml: "nodes = 3\n".to_owned(),
        command: "lockbench run holder-pause --seed 7".to_owned(),
        folder: name.to_owned(),
        guarded: name == "foretold",
        takes_s: 60.0,
        fewer: None,
    };
    let record = MatrixRecord {
        schema_version: SCHEMA_VERSION,
        seed: 7,
        started_utc: "2026-11-22T20:15:04Z".to_owned(),
        quick: true,
        contenders: Vec::new(),
        rows: vec![row("unforetold"), row("foretold"), row("later")],
    };
    for name in ["unforetold", "foretold"] {
        let Comparison { manifest, rows, .. } = fixture::faulted();
        let mut records: Vec<_> = rows.into_iter().flat_map(|row| row.records).collect();
        for answer in records.iter_mut().flat_map(|run| &mut run.verdicts) {
            if matches!(answer.verdict, Verdict::Violated { .. }) && name == "foretold" {
                answer.expected = Expected::Violated;
            }
        }
        fs::create_dir_all(dir.join(name)).unwrap();
        fixture::store(&Comparison::new(manifest, records), &dir.join(name));
    }
    write_json(&dir.join(MatrixRecord::FILE), &record).unwrap();
}

#[test]
fn a_violation_stands_as_one_also_where_it_was_foretold() {
    let dir = tempfile::tempdir().unwrap();
    matrix(dir.path());
    let told = KnownFailures::load(dir.path()).unwrap().terminal();
    let line = |row: &str| {
        let told = format!("\n{told}");
        let of_row = &told[told.find(&format!("\n{row}: ")).unwrap()..];
        of_row.lines().find(|line| line.starts_with("redis-naive")).unwrap().to_owned()
    };
    let (unforetold, foretold) = (line("unforetold"), line("foretold"));
    assert!(unforetold.contains("✗ NO") && unforetold.contains(" holds "), "{unforetold}");
    assert!(foretold.contains("(foretold)") && foretold.contains("✓ yes"), "{foretold}");
    assert!(foretold.contains("violates exclusion"), "{foretold}");
    assert!(told.contains("later: a holder stands still\nnot run"), "{told}");
}

#[test]
fn every_row_says_which_faults_hit_and_how_to_run_it_again() {
    let dir = tempfile::tempdir().unwrap();
    matrix(dir.path());
    let files = write_all(dir.path()).unwrap();
    let [html, summary] =
        ["report.html", "summary.md"].map(|file| fs::read_to_string(dir.path().join(file)).unwrap());
    assert_eq!(files.len(), 3);
    for text in [&html, &summary] {
        assert!(text.contains("1 of 2"), "faults that hit: {text}");
        assert!(text.contains("lockbench run holder-pause --seed 7"), "{text}");
        assert!(text.contains(&format::duration(2e9)), "the longest without service: {text}");
    }
    assert!(html.contains("href=\"https://example.org/a\"") && !html.contains("javascript:"), "{html}");
    for part in ["<script", "src=", "http://", "@import", "url(", "<link"] {
        assert!(!html.contains(part), "{part}");
    }
}

#[test]
fn a_row_outside_of_its_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    matrix(dir.path());
    let path = dir.path().join(MatrixRecord::FILE);
    let text = fs::read_to_string(&path).unwrap().replace("\"folder\":\"later\"", "\"folder\":\"../later\"");
    let text = text.replace("\"folder\": \"later\"", "\"folder\": \"../later\"");
    fs::write(&path, text).unwrap();
    let refused = KnownFailures::load(dir.path()).unwrap_err().to_string();
    assert!(refused.contains("../later"), "{refused}");
}

#[test]
fn what_is_claimed_stands_beside_what_was_done_in_either_setting() {
    let dir = tempfile::tempdir().unwrap();
    matrix(dir.path());
    write_all(dir.path()).unwrap();
    let told = fs::read_to_string(dir.path().join("guarantees.md")).unwrap();
    let of_naive = &told[told.find("## redis-naive").unwrap()..];
    assert!(of_naive.contains("claimed: At any moment one client holds the lock"), "{told}");
    let two_inside = of_naive.lines().find(|line| line.starts_with("| two inside |")).unwrap();
    // Once as it comes, once guarded, each with the row that runs it again.
    let [bare, guarded] = ["in unforetold", "in foretold"].map(|row| two_inside.find(row).unwrap());
    assert!(bare < guarded, "{two_inside}");
    assert!(told.contains("**later**") && told.contains("`lockbench run holder-pause --seed 7`"), "{told}");
}
