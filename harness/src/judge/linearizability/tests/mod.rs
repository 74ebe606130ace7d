//! Real histories, and random ones against oracles.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::{Path, PathBuf};

use super::*;

mod models;
mod oracle;
mod steps;
mod readers;
mod forms;
mod verdicts;

/// The outside test data, or `None` with the reason printed.
fn data(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/histories").join(folder);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is not there", path.display());
    None
}

fn read_file(path: &Path) -> History {
    let bytes = std::fs::read(path).unwrap();
    let format = read::format(&bytes).unwrap();
    read::clients(&bytes, format).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn answer(path: &Path, failed_release: FailedRelease) -> (ModelKind, Judged) {
    let history = read_file(path);
    let kind = ModelKind::guess(&history);
    (kind, judge(&history, kind, failed_release, Budget::default()).unwrap())
}

#[test]
fn every_register_history_is_decided_as_expected() {
    let Some(folder) = data("etcd-register") else { return };
    let expected = std::fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let mut decided = 0;
    for line in expected.lines() {
        let (file, expected) = line.split_once('\t').unwrap();
        let (kind, judged) = answer(&folder.join(file), FailedRelease::Held);
        assert_eq!(kind, ModelKind::Register);
        match expected {
            "linearizable" => assert_eq!(judged.answer, Answer::Holds, "{file}"),
            _ => assert!(matches!(judged.answer, Answer::Violated(_)), "{file}: {:?}", judged.answer),
        }
        decided += 1;
    }
    assert_eq!(decided, 52);
}

#[test]
fn every_key_value_history_is_decided_as_its_name_says() {
    let Some(folder) = data("kv-append") else { return };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (kind, judged) = answer(&path, FailedRelease::Held);
        assert_eq!(kind, ModelKind::KeyValue);
        let ok = path.to_str().unwrap().contains("ok");
        assert_eq!(judged.answer == Answer::Holds, ok, "{}", path.display());
        assert_eq!(matches!(judged.answer, Answer::Violated(_)), !ok, "{}", path.display());
    }
}

#[test]
fn a_real_lock_history_has_three_answers() {
    let Some(folder) = data("mutex") else { return };
    let path = folder.join("etcd.edn");
    let (kind, held) = answer(&path, FailedRelease::Held);
    assert_eq!(kind, ModelKind::Mutex);
    let Answer::Violated(violation) = held.answer else { panic!("not caught") };
    let witness = violation.describe(&read_file(&path), Budget::default());
    assert_eq!(
        witness[1..],
        [
            "lines 1095–1110  process 3  acquire: ok",
            "lines 1096–1120  process 0  acquire: ok",
            "these count as not done (--failed-release held):",
            "lines 1116–1121  process 3  release: failed",
        ]
    );
    let (_, released) = answer(&path, FailedRelease::Released);
    assert_eq!(released.answer, Answer::Holds);
    assert_eq!(released.overlaps, Some(Overlaps { holds: 132, overlaps: 0 }));
}
