//! Results that are kept in `runs/`: each is what its histories say, as whoever submits one is told before.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn lockbench(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_lockbench")).args(arguments).current_dir(folder).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(told).unwrap())
}

#[test]
fn everything_that_is_kept_is_what_its_histories_say() {
    for entry in fs::read_dir(root().join("runs")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.is_dir() {
            let (code, told) = lockbench(&root(), &["report", "--verify", folder.to_str().unwrap()]);
            assert_eq!(code, 0, "{told}");
        }
    }
}

#[test]
fn the_page_of_results_is_made_of_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("results.md");
    let (code, told) = lockbench(&root(), &["report", "runs", "--results", page.to_str().unwrap()]);
    assert_eq!(code, 0, "{told}");
    let (made, kept) =
        (fs::read_to_string(page).unwrap(), fs::read_to_string(root().join("docs/results.md")).unwrap());
    assert_eq!(made, kept, "lockbench report runs --results docs/results.md");
}

fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut document);
    fs::write(path, serde_json::to_vec_pretty(&document).unwrap()).unwrap();
}

/// The way of a result from whoever ran it to the list, and what is found on it.
#[test]
fn a_batch_is_kept_finished_by_a_person_and_found_out_where_a_digit_was_changed() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path();
    lockbench(
        below,
        &["run", "smoke", "--duration", "1.5", "--blocks", "1", "--seed", "7", "--contenders", "ring-queue"],
    );
    let batch = fs::read_dir(below.join("out")).unwrap().next().unwrap().unwrap().path();
    // As of a clean checkout, and of a machine that had time for it.
    change(&batch.join("manifest.json"), |manifest| {
        manifest["commit"] = json!("0123456789abcdef0123456789abcdef01234567");
        manifest["end"]["exit_code"] = json!(0);
    });
    fs::create_dir(batch.join("logs")).unwrap();
    fs::write(batch.join("logs/a-program-0.log"), "words").unwrap();

    let kept = below.join("runs/2026-12-01-somewhere");
    let name = "runs/2026-12-01-somewhere";
    let (code, told) = lockbench(below, &["report", batch.to_str().unwrap(), "--keep", name]);
    assert_eq!(code, 4, "{told}");
    assert!(told.contains("what came out is (to be written)"), "{told}");
    assert!(!kept.join("logs").exists() && kept.join("1-none/history.ndjson.zst").is_file());
    let (code, told) = lockbench(below, &["report", batch.to_str().unwrap(), "--keep", name]);
    assert!(code == 2 && told.contains("is there already"), "{told}");

    let readme = kept.join("README.md");
    let written = fs::read_to_string(&readme).unwrap();
    let (before, after) = written.split_once("(to be written)").unwrap();
    let after = after.split_once("\n\n").unwrap().1;
    let finished = format!("{before}Asked: all. Came out: something. Doubt: much.\n\n{after}");
    fs::write(&readme, &finished).unwrap();
    let verified = || lockbench(below, &["report", "--verify", name]);
    let (code, told) = verified();
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("every figure and verdict of 5 runs") && told.contains("can be listed"), "{told}");

    let found = |sign: &str| {
        let (code, told) = verified();
        assert!(code == 4 && told.contains(sign), "{sign} is not in {told}");
    };
    fs::write(&readme, finished.replace("| commit | 0123456789", "| commit | ")).unwrap();
    found("the commit is missing: 0123456789abcdef");
    fs::write(&readme, &finished).unwrap();
    let record = kept.join("1-ring-queue/record.json");
    let whole = fs::read(&record).unwrap();
    change(&record, |record| {
        record["tasks"]["completed"] = json!(record["tasks"]["completed"].as_u64().unwrap() - 1);
    });
    found("tasks.completed is ");
    fs::write(&record, whole).unwrap();
    change(&kept.join("manifest.json"), |manifest| manifest["commit"] = json!("0123-dirty"));
    found("a changed checkout");
    change(&kept.join("manifest.json"), |manifest| {
        manifest["commit"] = json!("0123456789abcdef0123456789abcdef01234567");
        manifest["end"] = Value::Null;
    });
    found("it did not end");

    let page = below.join("results.md");
    let (code, told) = lockbench(below, &["report", "runs", "--results", page.to_str().unwrap()]);
    assert_eq!(code, 0, "{told}");
    let page = fs::read_to_string(page).unwrap();
    assert!(
        page.contains("Came out: something.") && page.contains("## smoke, ") && page.contains("ring-queue"),
        "{page}"
    );
}
