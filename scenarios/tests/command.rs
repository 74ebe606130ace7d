//! The command as a user meets it: the main path without servers, and every kind of bad input.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::Path;

use assert_cmd::Command;

fn lockbench(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("lockbench").unwrap();
    command.current_dir(folder);
    command
}

/// Standard error of a command that must end with exit 2 and leave nothing behind.
fn refused(arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = lockbench(folder.path()).args(arguments).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(!folder.path().join("out").exists(), "a refused run leaves nothing behind");
    error
}

#[test]
fn smoke_runs_without_servers_and_leaves_a_whole_batch() {
    let folder = tempfile::tempdir().unwrap();
    let output = lockbench(folder.path())
        .args(["run", "smoke", "--duration", "1.5", "--blocks", "1", "--seed", "7"])
        .output()
        .unwrap();
    let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(error.contains("smoke, seed 7"), "{error}");
    // A machine that is busy with other tests may be too late for a valid run, but never wrong.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{error}");
    for name in ["ring-queue", "noop", "none", "local-mutex", "ring-local"] {
        assert!(told.contains(name), "{told}");
    }
    let batch = std::fs::read_dir(folder.path().join("out")).unwrap().next().unwrap().unwrap().path();
    for file in [
        "manifest.json",
        "report.html",
        "summary.md",
        "runs.csv",
        "junit.xml",
        "1-ring-queue/record.json",
        "1-none/history.ndjson.zst",
    ] {
        assert!(batch.join(file).is_file(), "{file}");
    }
    let page = std::fs::read(batch.join("report.html")).unwrap();
    std::fs::remove_file(batch.join("report.html")).unwrap();
    lockbench(folder.path()).arg("report").arg(&batch).assert().success();
    assert_eq!(
        std::fs::read(batch.join("report.html")).unwrap(),
        page,
        "rendering again gives the same page"
    );
}

#[test]
fn the_help_lists_verbs_by_what_a_person_wants() {
    let folder = tempfile::tempdir().unwrap();
    let output = lockbench(folder.path()).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let mut listed = Vec::new();
    for line in help.lines() {
        let word = line.split_whitespace().next().unwrap_or_default();
        if ["Measure:", "Judge:", "Look:", "Foresee:", "Extend:", "Place:"].contains(&line)
            || line.starts_with("  ")
        {
            listed.push(word);
        }
    }
    let expected = [
        "Measure:",
        "run",
        "capacity",
        "matrix",
        "review",
        "peers",
        "floors",
        "Judge:",
        "check",
        "compare",
        "gate",
        "calibrate",
        "Look:",
        "report",
        "history",
        "list",
        "explain",
        "ring",
        "doctor",
        "completions",
        "man",
        "Foresee:",
        "predict",
        "explore",
        "Extend:",
        "init",
        "port",
        "Place:",
        "keys",
        "fetch",
        "hosts",
        "kubernetes",
        "node",
        "-h,",
        "-V,",
    ];
    assert_eq!(listed, expected, "{help}");
    // Without a verb there is nothing to do: the same help, as an error.
    assert_eq!(refused(&[]), help);
}

/// What is printed by a command that must succeed.
fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = lockbench(folder).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_would_run_is_explained_and_nothing_runs() {
    let folder = tempfile::tempdir().unwrap();
    let told =
        printed(folder.path(), &["explain", "owner-pause", "--seed", "7", "--contenders", "ring-queue"]);
    for part in [
        "vm for 50 ms",
        "6 of kind vm, one at a time",
        "pause holder for 4 s",
        "3 must take effect",
        "ring-queue will violate exclusion",
        "none: must be caught letting two in",
        "3 runs",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let fenced = printed(
        folder.path(),
        &["explain", "owner-pause", "--set", "fencing=true", "--contenders", "ring-queue"],
    );
    assert!(!fenced.contains("will violate") && fenced.contains("refuse writes"), "{fenced}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_scenario_of_ones_own_is_written_once_and_can_be_run() {
    let folder = tempfile::tempdir().unwrap();
    let asked = [
        "init",
        "ours.toml",
        "--nodes",
        "5",
        "--rate",
        "40",
        "--hold",
        "2.5",
        "--skew",
        "0",
        "--detect",
        "1000",
    ];
    printed(folder.path(), &asked);
    let told = printed(folder.path(), &["explain", "ours.toml", "--contenders", "ring-queue"]);
    assert!(told.contains("on 5 nodes") && told.contains("vm for 2.5 ms (one in a hundred 10 ms)"), "{told}");
    let text = std::fs::read_to_string(folder.path().join("ours.toml")).unwrap();
    // What is commented out is valid too.
    let uncommented = text.replace("# [[faults]]\n# ", "[[faults]]\n").replace("\n# target", "\ntarget");
    let uncommented = uncommented.replace("\n# every_s", "\nevery_s").replace("\n# for_ms", "\nfor_ms");
    std::fs::write(folder.path().join("faults.toml"), uncommented).unwrap();
    let asked = ["explain", "faults.toml", "--contenders", "ring-queue", "--placement", "process"];
    let asked = [&asked[..], &["--duration", "60"]].concat();
    assert!(printed(folder.path(), &asked).contains("pause holder for 2.5 s"));

    let again = lockbench(folder.path()).args(["init", "ours.toml"]).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
    assert!(String::from_utf8(again.stderr).unwrap().contains("is there already"));
    assert_eq!(std::fs::read_to_string(folder.path().join("ours.toml")).unwrap(), text);
    let wrong = lockbench(folder.path()).args(["init", "none.toml", "--nodes", "0"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "a scenario that cannot run is not written");
    assert!(!folder.path().join("none.toml").exists());
}

#[test]
fn an_unknown_scenario_is_refused_with_the_names_there_are() {
    let error = refused(&["run", "smokey"]);
    assert!(
        error.contains("unknown scenario (did you mean `smoke`?); there are smoke, vm-lifecycle"),
        "{error}"
    );
}

#[test]
fn an_unknown_contender_is_refused_with_the_names_there_are() {
    assert!(
        refused(&["run", "smoke", "--contenders", "redis"])
            .contains("unknown contender `redis`; there are noop")
    );
}

#[test]
fn switches_of_the_agents_that_contradict_each_other_are_refused_with_the_way_out() {
    let error = refused(&["run", "smoke", "--set", "fencing=true", "--set", "when_busy=serialise"]);
    assert!(error.contains("`when_busy`: `serialise` and `fencing = true` exclude each other"), "{error}");
    assert!(error.contains("use `refuse` or `admit`"), "{error}");
    assert!(refused(&["run", "smoke", "--set", "when_busy=queue"]).contains("admit"));
}

/// The switch reaches the agents, and the control that must be caught is caught all the same.
#[test]
fn agents_that_let_overlaps_wait_do_not_hide_the_control_that_excludes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["run", "smoke", "--duration", "1.5", "--blocks", "1", "--seed", "7", "--contenders", "noop,none"];
    let output = lockbench(folder.path()).args(arguments).args(["--set", "when_busy=serialise"]).output();
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{error}");
    let batch = std::fs::read_dir(folder.path().join("out")).unwrap().next().unwrap().unwrap().path();
    let exclusion = |contender: &str| {
        let record = std::fs::read(batch.join(format!("1-{contender}/record.json"))).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        record["verdicts"][0].clone()
    };
    assert!(exclusion("none")["violations"].as_u64().unwrap() > 0);
    assert_eq!(exclusion("noop")["violations"], 0, "its agent lets them wait");
    assert!(std::fs::read_to_string(batch.join("report.html")).unwrap().contains("when_busy"));
}

#[test]
fn an_unknown_key_or_a_wrong_type_is_refused_by_name() {
    assert!(refused(&["run", "smoke", "--set", "ndoes=3"]).contains("ndoes"));
    assert!(refused(&["run", "smoke", "--set", "nodes=many"]).contains("nodes"));
    assert!(refused(&["run", "smoke", "--nodes", "0"]).contains("`nodes`: must be from 1 to 1000"));
    assert!(refused(&["run", "smoke", "--set", "nodes"]).contains("KEY=VALUE"));
}

#[test]
fn bad_toml_is_refused_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.toml");
    std::fs::write(&file, "name = \"mine\"\nsummary = 5\n").unwrap();
    let error = refused(&["run", file.to_str().unwrap()]);
    assert!(error.contains("mine.toml") && error.contains("line 2"), "{error}");
}

#[test]
fn an_undeclared_overload_is_refused_with_the_resource_and_the_remedy() {
    let error = refused(&["run", "hot-key", "--rate", "600"]);
    assert!(error.contains("vm-0 would be loaded to") && error.contains("saturating = true"), "{error}");
}

#[test]
fn a_server_that_does_not_answer_is_named_without_its_password() {
    let error = refused(&["run", "vm-lifecycle", "--redis", "redis://:hunter2@127.0.0.1:1"]);
    assert!(error.contains("127.0.0.1:1") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_report_of_a_folder_without_a_batch_names_the_missing_file() {
    let folder = tempfile::tempdir().unwrap();
    assert!(refused(&["report", folder.path().to_str().unwrap()]).contains("manifest.json"));
}

#[test]
fn floors_measures_every_lock_variant_beside_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        lockbench(folder.path()).args(["floors", "--seconds", "0.1", "--seed", "7"]).output().unwrap();
    let (table, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // On a machine that is busy with other tests a floor may be none, but never in silence.
    let invalid = table.starts_with("**INVALID");
    assert_eq!(output.status.code(), Some(if invalid { 4 } else { 0 }), "{error}\n{table}");
    assert!(error.contains("floors, seed 7") && table.contains("--seed 7"), "{error}\n{table}");
    for variant in lock_backends::backends::all().filter(|variant| !variant.is_unsafe()) {
        let row = table.lines().find(|line| line.starts_with(&format!("| `{}` |", variant.name)));
        let missing = lock_backends::server_of(variant).is_some() && error.contains("skipped");
        assert!(row.is_some() || (missing && std::env::var_os("CI").is_none()), "{}: {error}", variant.name);
    }
    refused(&["floors", "--seconds", "0"]);
}

/// A folder with a program of this name that answers `--version` as the real one and cannot start.
#[cfg(unix)]
fn broken(name: &str) -> Option<tempfile::TempDir> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = std::env::var_os("PATH").unwrap();
    let Some(real) = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
    else {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing in CI");
        eprintln!("skipped: {name} is missing");
        return None;
    };
    let folder = tempfile::tempdir().unwrap();
    let script =
        format!("#!/bin/sh\ncase \"$1\" in *version|-v) exec {} --version;; esac\nexit 1\n", real.display());
    let file = folder.path().join(name);
    std::fs::write(&file, script).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    Some(folder)
}

#[test]
fn a_contender_whose_server_does_not_start_costs_its_own_rows_alone() {
    let Some(programs) = broken("redis-server") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    let output = lockbench(folder.path())
        .env("PATH", path)
        .args(["run", "smoke", "--duration", "1", "--blocks", "2", "--contenders", "redis-fenced,ring-queue"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{told}");
    assert!(told.contains("redis-fenced: could not be run"), "{told}");
    let batch = std::fs::read_dir(folder.path().join("out")).unwrap().next().unwrap().unwrap().path();
    for run in ["1-ring-queue", "2-ring-queue", "1-none", "2-none"] {
        assert!(batch.join(run).join("record.json").is_file(), "{run}: {told}");
    }
    for file in ["report.html", "junit.xml"] {
        let page = std::fs::read_to_string(batch.join(file)).unwrap();
        assert!(page.contains("could not be run"), "{file}");
    }
}
