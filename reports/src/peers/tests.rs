//! Questions as they are read and shown.

use std::fs;
use std::path::Path;

use harness::record::{PeersQuestion, PeersRecord, SCHEMA_VERSION, write_json};

use super::Peers;
use crate::comparison::Comparison;
use crate::{fixture, write_all};

/// Two questions, of which one has run, and somebody who could not be built.
fn peers(dir: &Path) {
    let question = |name: &str| PeersQuestion {
        name: name.to_owned(),
        question: "what | does it take?".to_owned(),
        spec_toml: "nodes = 3\n".to_owned(),
        folder: name.to_owned(),
    };
    let record = PeersRecord {
        schema_version: SCHEMA_VERSION,
        seed: 7,
        started_utc: "2026-11-22T20:15:04Z".to_owned(),
        command: "lockbench peers --seed 7".to_owned(),
        with: vec!["clients/redisson".to_owned()],
        left_out: vec![(
            "redisson".to_owned(),
            "`mvn` is not on this machine: apt-get install <maven>".to_owned(),
        )],
        questions: vec![question("pair"), question("later")],
    };
    let Comparison { mut manifest, rows, .. } = fixture::faulted();
    manifest.programs.insert("redis-naive".to_owned(), "00112233aabbccdd".to_owned());
    let records = rows.into_iter().flat_map(|row| row.records).collect();
    fs::create_dir_all(dir.join("pair")).unwrap();
    fixture::store(&Comparison::new(manifest, records), &dir.join("pair"));
    write_json(&dir.join(PeersRecord::FILE), &record).unwrap();
}

#[test]
fn the_document_has_who_took_part_each_question_and_whoever_was_left_out() {
    let dir = tempfile::tempdir().unwrap();
    peers(dir.path());
    let files = write_all(dir.path()).unwrap();
    assert_eq!(files.len(), 2);
    let [html, document] =
        ["report.html", "peers.md"].map(|file| fs::read_to_string(dir.path().join(file)).unwrap());
    for told in [
        "Printed by `lockbench peers --seed 7`",
        "00112233aabbccdd",
        "## pair: what \\| does it take?",
        "Not run.",
    ] {
        assert!(document.contains(told), "{told}: {document}");
    }
    // What was broken, and what that came to.
    assert!(
        document.contains("What was broken on purpose:") && document.contains("| redis-naive |"),
        "{document}"
    );
    for told in
        ["apt-get install", "00112233aabbccdd", "pair/report.html", "Not run.", "lockbench peers --seed 7"]
    {
        assert!(html.contains(told), "{told}");
    }
    assert!(!html.contains("<maven>") && !document.contains("<maven>"), "what others wrote is text");
    let terminal = Peers::load(dir.path()).unwrap().terminal();
    assert!(
        terminal.contains("pair: what | does it take?") && terminal.contains("left out: redisson"),
        "{terminal}"
    );
}

#[test]
fn a_question_whose_folder_is_elsewhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    peers(dir.path());
    let mut record = Peers::load(dir.path()).unwrap().record;
    record.questions[1].folder = "../elsewhere".to_owned();
    write_json(&dir.path().join(PeersRecord::FILE), &record).unwrap();
    assert!(Peers::load(dir.path()).unwrap_err().to_string().contains("elsewhere"));
}
