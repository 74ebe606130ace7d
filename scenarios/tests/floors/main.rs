//! The floors of the house: within a crate, `mod` lines stand from the ground up, and an import goes only to a module
//! that stands above its own line in the list where their paths part. A folder's own file stands below what is in it
//! (vocabulary and registry: it names them in `mod`, re-exports and constants alone), or above it, never both.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod house;

use std::path::{Path, PathBuf};

use house::House;

/// No file is longer, tests aside.
const LINES_MOST: usize = 450;

const CRATES: [&str; 5] = ["harness", "lock-backends", "queue-lockfree", "reports", "scenarios"];

fn houses() -> impl Iterator<Item = House> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    CRATES.iter().map(move |name| House::read(&root.join(name)))
}

#[test]
fn no_import_goes_up_a_floor_or_round_in_a_circle() {
    let faults: Vec<String> =
        houses().flat_map(|house| house.faults()).map(|fault| fault.to_string()).collect();
    assert!(faults.is_empty(), "{} imports:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    for house in houses() {
        for (file, lines) in house.files() {
            assert!(lines <= LINES_MOST, "{}: {lines} lines", file.display());
        }
    }
}

/// A crate of these files.
fn built(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<(PathBuf, usize)>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join("src").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let faults = House::read(folder.path()).faults().into_iter();
    let source = folder.path().join("src");
    let faults =
        faults.map(|fault| (fault.file.strip_prefix(&source).unwrap().to_owned(), fault.line)).collect();
    (folder, faults)
}

#[test]
fn an_import_up_a_floor_is_found_in_uses_in_code_and_in_macros() {
    let (_folder, faults) = built(&[
        ("lib.rs", "mod ground;\nmod upper;\n"),
        (
            "ground.rs",
            "use std::fmt;\n\nuse crate::upper::{self, High};\n\nfn f() { let _ = crate::upper::go(); }\n\nfn g() { println!(\"{}\", super::upper::go()); }\n",
        ),
        ("upper.rs", "use crate::ground::f;\n\npub struct High;\npub fn go() -> u8 { f(); 7 }\n"),
    ]);
    let ground = PathBuf::from("ground.rs");
    assert_eq!(faults, [3, 5, 7].map(|line| (ground.clone(), line)));
}

#[test]
fn a_reexport_does_not_hide_who_is_imported() {
    let (_folder, faults) = built(&[
        ("lib.rs", "mod shapes;\n"),
        ("shapes/mod.rs", "mod round;\nmod square;\n\npub use round::Round;\npub use square::Square;\n"),
        ("shapes/round.rs", "use super::Square;\n\npub struct Round(Square);\n"),
        ("shapes/square.rs", "use super::Round;\n\npub struct Square(Box<Round>);\n"),
    ]);
    assert_eq!(faults, [(PathBuf::from("shapes/round.rs"), 1)]);
}

#[test]
fn a_folders_file_is_below_or_above_what_is_in_it_never_both() {
    let registry = (
        "shapes/mod.rs",
        "mod round;\n\npub trait Shape {}\npub const ALL: &[&dyn Shape] = &[&round::Round];\n",
    );
    let round = ("shapes/round.rs", "use super::Shape;\n\npub struct Round;\nimpl Shape for Round {}\n");
    let (_folder, faults) = built(&[("lib.rs", "mod shapes;\n"), registry, round]);
    assert_eq!(faults, []);

    let both = (
        "shapes/mod.rs",
        "mod round;\n\npub trait Shape {}\npub fn one() -> round::Round { round::Round }\n",
    );
    let (_folder, faults) = built(&[("lib.rs", "mod shapes;\n"), both, round]);
    assert_eq!(faults, [(PathBuf::from("shapes/mod.rs"), 4), (PathBuf::from("shapes/round.rs"), 1)]);
}

#[test]
fn tests_within_a_module_may_import_anything() {
    let (_folder, faults) = built(&[
        ("lib.rs", "mod ground;\nmod upper;\n"),
        ("ground.rs", "#[cfg(test)]\nmod tests {\n    use crate::upper::go;\n}\n"),
        ("upper.rs", "pub fn go() {}\n"),
    ]);
    assert_eq!(faults, []);
}
