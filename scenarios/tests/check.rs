//! `lockbench check` as a user meets it: verdicts, witness, exit codes, and what is refused.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::Path;

use assert_cmd::Command;

/// Exit code, standard output and standard error.
fn check(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::cargo_bin("lockbench").unwrap();
    let output = command.current_dir(folder).arg("check").args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

const HOLDS: &str = "INFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - 0\t:ok\t:write\t1\n";
const VIOLATED: &str = "[{:process 0, :type :invoke, :f :acquire}\n{:process 0, :type :ok, :f :acquire}\n\
                        {:process 0, :type :invoke, :f :release}\n{:process 1, :type :invoke, :f :acquire}\n\
                        {:process 1, :type :ok, :f :acquire}\n{:process 0, :type :fail, :f :release}]";

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a.log", HOLDS), ("b.edn", VIOLATED), ("empty.log", ""), ("bad.log", "what\n")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn one_line_a_file_then_the_witness() {
    let folder = folder();
    let (code, out, error) = check(folder.path(), &["a.log", "b.edn"]);
    assert_eq!(code, Some(3), "{out}{error}");
    let lines: Vec<_> = out.lines().collect();
    let fields = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(fields(lines[0])[..2], ["a.log", "holds"]);
    assert_eq!(fields(lines[1])[..2], ["b.edn", "violated"]);
    assert!(fields(lines[0])[2].parse::<f64>().unwrap() >= 0.0);
    let witness = [
        "  no order of these 2 operations explains their answers (mutex), whichever of the 0 others happened",
        "  lines 1–2  process 0  acquire: ok",
        "  lines 4–5  process 1  acquire: ok",
        "  these count as not done (--failed-release held):",
        "  lines 3–6  process 0  release: failed",
    ];
    assert_eq!(lines[2..], witness);
    assert!(error.contains("judged as mutex (guessed)") && error.contains("2 holds"), "{error}");
    assert!(error.contains("0 overlaps"), "{error}");
    let (code, out, _) = check(folder.path(), &["--failed-release", "released", "b.edn"]);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{out}");
}

#[test]
fn the_exit_code_is_that_of_the_worst_file_and_every_file_is_judged() {
    let folder = folder();
    for (files, expected) in [
        (&["a.log"][..], 0),
        (&["a.log", "empty.log"], 5),
        (&["empty.log", "b.edn"], 3),
        (&["bad.log", "b.edn", "a.log"], 2),
        (&["missing.log", "a.log"], 2),
    ] {
        let (code, out, error) = check(folder.path(), files);
        assert_eq!(code, Some(expected), "{files:?}: {out}{error}");
        for file in files.iter().filter(|file| !["bad.log", "missing.log"].contains(file)) {
            assert!(out.lines().any(|line| line.starts_with(&format!("{file}\t"))), "{out}");
        }
    }
    let (_, _, error) = check(folder.path(), &["bad.log"]);
    assert!(error.contains("bad.log, line 1: not a history; give lines of a Jepsen log"), "{error}");
    let (code, _, error) = check(folder.path(), &["--model", "semaphore=0", "a.log"]);
    assert!(code == Some(2) && error.contains("semaphore=N with N ≥ 1"), "{error}");
    let (code, _, error) = check(folder.path(), &["--model", "kv", "b.edn"]);
    assert!(code == Some(2) && error.contains("b.edn, line 1: `acquire` is no operation of a kv"), "{error}");
}

#[test]
fn a_run_s_own_history_is_judged_where_it_lies() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::cargo_bin("lockbench").unwrap();
    let run =
        ["run", "smoke", "--blocks", "1", "--duration", "1", "--seed", "3", "--contenders", "ring-queue"];
    command.current_dir(folder.path()).args(run).output().unwrap();
    let batch = std::fs::read_dir(folder.path().join("out")).unwrap().next().unwrap().unwrap().path();
    let history = |run: &str| batch.join(run).join("history.ndjson.zst").to_str().unwrap().to_owned();
    let (code, out, error) = check(folder.path(), &[&history("1-ring-queue"), &history("1-local-mutex")]);
    assert_eq!(code, Some(0), "{out}{error}");
    let (code, out, error) = check(folder.path(), &[&history("1-none")]);
    assert!(code == Some(3) && out.contains("acquire: ok") && out.contains("of `"), "{out}{error}");
    // Elsewhere nothing says which resource a step has.
    std::fs::copy(history("1-none"), folder.path().join("history.ndjson.zst")).unwrap();
    let (code, _, error) = check(folder.path(), &["history.ndjson.zst"]);
    assert!(code == Some(2) && error.contains("where its run left it"), "{error}");
}
