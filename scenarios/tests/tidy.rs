//! The rules of the house that a compiler does not know.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Who may import whom, other than for tests.
const ARROWS: &[(&str, &str)] = &[
    ("reports", "harness"),
    ("scenarios", "harness"),
    ("scenarios", "lock-backends"),
    ("scenarios", "queue-lockfree"),
    ("scenarios", "reports"),
];

#[test]
fn the_crates_import_each_other_as_the_architecture_says() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let mut edges = BTreeSet::new();
    for package in packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            if ours.contains(name) && dependency["kind"].as_str() != Some("dev") {
                edges.insert((package["name"].as_str().unwrap(), name));
            }
        }
    }
    assert_eq!(edges, ARROWS.iter().copied().collect());
}

#[test]
fn reports_reads_nothing_of_harness_but_its_records() {
    for (file, text) in sources("reports/src") {
        for (number, line) in text.lines().enumerate() {
            let foreign = line
                .match_indices("harness::")
                // Its tests also damage records as those of other readers do.
                .any(|(at, path)| {
                    !["record", "damage"].iter().any(|name| line[at + path.len()..].starts_with(name))
                });
            assert!(!foreign, "{}:{}: {line}", file.display(), number + 1);
        }
    }
}

#[test]
fn tests_are_sentences() {
    for crate_folder in ["harness", "lock-backends", "queue-lockfree", "reports", "scenarios"] {
        for (file, text) in sources(crate_folder) {
            let prefixed = text.lines().find(|line| line.trim_start().starts_with("fn test_"));
            assert_eq!(prefixed, None, "{}", file.display());
        }
    }
}

#[test]
fn every_path_that_the_architecture_names_is_there() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let crates = ["harness/", "lock-backends/", "queue-lockfree/", "reports/", "scenarios/"];
    let paths: Vec<&str> = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| {
            crates.iter().any(|folder| quoted.starts_with(folder)) && !quoted.contains(['<', '*'])
        })
        .collect();
    assert!(paths.len() > 20, "{paths:?}");
    let missing: Vec<_> = paths.into_iter().filter(|path| !root().join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    let mut folders = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}
