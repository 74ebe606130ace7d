//! What `lockbench port new` writes, as a new user has it: it passes the suite for authors, and takes part.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use harness::record::RunRecord;
use harness::servers::{Finding, ServerKind, find};

fn lockbench(below: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockbench")).args(arguments).current_dir(below).output().unwrap()
}

/// From `port new` to a record; nothing where what it takes is missing here.
fn begins(language: &str, tool: &str) {
    if Command::new(tool).arg("version").output().is_err() {
        return eprintln!("skipped: {tool} is not on this machine");
    }
    if let Finding::Missing { remedy } = find(ServerKind::named("redis")) {
        assert!(std::env::var_os("CI").is_none(), "missing in CI: {remedy}");
        return eprintln!("skipped: {remedy}");
    }
    let folder = tempfile::tempdir().unwrap();
    // Programs of others are not run as root, and must be able to read themselves.
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let name = format!("in-{language}");
    let written = lockbench(folder.path(), &["port", "new", "--language", language, &name]);
    assert!(written.status.success(), "{written:?}");
    let readme = std::fs::read_to_string(folder.path().join(&name).join("README.md")).unwrap();
    assert!(readme.contains(&format!("--with ./{name}")), "{readme}");
    let tried = lockbench(folder.path(), &["port", "test", &name]);
    let told = [tried.stdout, tried.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(tried.status.success(), "{told}");
    assert!(told.contains("shown:        counts, lease, waits"), "{told}");
    let arguments =
        ["run", "smoke", "--contenders", "local-mutex", "--blocks", "1", "--duration", "2", "--with", &name];
    let ran = lockbench(folder.path(), &arguments);
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    let batch = std::fs::read_dir(folder.path().join("out")).expect(&told).next().unwrap().unwrap().path();
    let record = std::fs::read(batch.join(format!("1-{name}/record.json"))).expect(&told);
    let record: RunRecord = serde_json::from_slice(&record).unwrap();
    // Interpreters beside other tests come late with some.
    assert!(record.tasks.completed * 2 > record.tasks.planned, "{:?}\n{told}", record.tasks);
    assert!(record.operations.unwrap().total() > record.grants, "{:?}", record.operations);
    // A name is nobody else's, and what is there is left as it is.
    assert_eq!(
        lockbench(folder.path(), &["port", "new", "--language", language, &name]).status.code(),
        Some(2)
    );
    assert_eq!(
        lockbench(folder.path(), &["port", "new", "--language", language, "No Name"]).status.code(),
        Some(2)
    );
}

#[test]
fn one_in_python_works_as_it_is_written() {
    begins("python", "python3");
}

#[test]
fn one_in_go_works_as_it_is_written() {
    begins("go", "go");
}

#[test]
fn one_in_java_works_as_it_is_written() {
    begins("java", "javac");
}

#[test]
fn one_in_javascript_works_as_it_is_written() {
    begins("node", "node");
}

#[test]
fn one_in_rust_works_as_it_is_written() {
    begins("rust", "cargo");
}
