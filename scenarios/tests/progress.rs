//! What is shown while batches run, in each of its forms, and what shells and the manual are told of the command line.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::Path;
use std::process::{Command, Output};

use boon::{Compiler, Schemas};
use serde_json::Value;

/// The control that excludes nobody, and one that does, for some seconds each, without a server.
const RUN: [&str; 10] =
    ["run", "smoke", "--contenders", "ring-queue", "--duration", "3", "--blocks", "1", "--seed", "7"];

fn lockbench(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
    command.args(arguments).current_dir(folder).output().unwrap()
}

/// Standard error of a run, its progress in this form.
fn told(form: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = lockbench(folder.path(), &[&RUN[..], &["--progress", form]].concat());
    assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn for_programs_each_line_is_an_object_under_the_schema_and_every_run_is_looked_at_each_second() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schemas/progress.json");
    let text = std::fs::read_to_string(path).unwrap();
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    compiler.add_resource("schema.json", serde_json::from_str(&text).unwrap()).unwrap();
    let schema = compiler.compile("schema.json", &mut schemas).unwrap();
    let told = told("json");
    let lines: Vec<Value> = told
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            schemas.validate(&line, schema).unwrap_or_else(|error| panic!("{line}: {error:#}"));
            line
        })
        .collect();
    let of = |event: &str, run: &str| -> Vec<&Value> {
        let wanted = |line: &&Value| {
            line["event"] == event && line["run"].as_str().is_none_or(|name| name.contains(run))
        };
        lines.iter().filter(wanted).collect()
    };
    let (begun, ended) = (of("run-begins", ""), of("run-ends", ""));
    assert_eq!(begun.len(), ended.len());
    assert!(begun.iter().all(|run| run["window_s"] == 3.0), "{told}");
    for run in ["none", "ring-queue"] {
        let ticks = of("tick", run);
        assert!(ticks.len() >= 3, "{run}: one at once, and one each second of three\n{told}");
        let last = ticks.last().unwrap();
        assert_eq!(last["tasks"], of("run-begins", run)[0]["tasks"]);
        assert!(last["returned"].as_u64() > ticks[0]["returned"].as_u64(), "{told}");
        assert!(ticks.iter().any(|tick| tick["offered_per_s"].as_f64() > Some(0.0)), "{told}");
        assert!(ticks.iter().any(|tick| tick["all_left_s"].is_number()), "{told}");
    }
    let wrong = |run: &str| {
        let last = *of("tick", run).last().unwrap();
        (last["overlaps"].as_u64().unwrap(), last["lost_updates"].as_u64().unwrap(), &last["control"])
    };
    let (overlaps, lost, control) = wrong("none");
    assert!(overlaps > 0 && lost > 0 && *control == true, "the control lets several in\n{told}");
    assert_eq!(wrong("ring-queue"), (0, 0, &Value::Bool(false)));
    assert!(lines.iter().any(|line| line["event"] == "line"), "{told}");
}

#[test]
fn a_log_has_a_line_for_each_run_and_no_control_character() {
    let (auto, plain) = (told("auto"), told("plain"));
    for told in [&auto, &plain] {
        assert!(!told.contains(['\x1b', '\r']), "{told:?}");
        // Some run more than once where the machine has other work.
        let ended = |run: &str| {
            let title = format!("block 1/1 {run} ");
            told.lines().any(|line| line.starts_with(&title) && line.contains(" completed"))
        };
        for run in ["noop", "none", "local-mutex", "ring-local", "ring-queue"] {
            assert!(ended(run), "{run}: {told}");
        }
    }
}

#[test]
fn nothing_is_shown_but_what_came_out_where_that_is_wanted() {
    let told = told("none");
    assert!(!told.contains("block 1/1") && !told.contains("seed 7"), "{told}");
}

/// What a terminal is sent, as `script` (of every Debian and Ubuntu) has one.
fn on_a_terminal(colours: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("stty rows 50 cols 200; {} {}", env!("CARGO_BIN_EXE_lockbench"), RUN.join(" "));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(folder.path());
    command.env("TERM", "xterm").env_remove("NO_COLOR");
    if let Some(value) = colours {
        command.env("NO_COLOR", value);
    }
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

#[test]
fn a_terminal_has_a_line_that_is_drawn_again_and_no_colours_where_none_are_wanted() {
    let plain = on_a_terminal(Some("1"));
    for words in [
        "block 1/1 ring-queue",
        "offered ",
        " in flight, p99 ",
        "overlaps of a control",
        "0 violations",
        "of all",
    ] {
        assert!(plain.contains(words), "{words}: {plain}");
    }
    assert!(plain.contains("\x1b[2K") || plain.contains('\r'), "it is drawn over: {plain:?}");
    let coloured = |sent: &str| ["\x1b[31m", "\x1b[33m", "\x1b[1m"].iter().any(|code| sent.contains(code));
    assert!(!coloured(&plain), "{plain:?}");
}

#[test]
fn shells_complete_every_verb_and_the_manual_has_a_page_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let verbs = ["run", "capacity", "matrix", "review", "gate", "compare", "explain", "init", "completions"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = String::from_utf8(lockbench(folder.path(), &["completions", shell]).stdout).unwrap();
        assert!(verbs.iter().all(|verb| script.contains(verb)), "{shell}");
        assert!(script.contains("progress"), "{shell}: the options of a verb");
    }
    // As bash itself would complete it.
    let complete = r#"source <("$0" completions bash); COMP_WORDS=(lockbench rev); COMP_CWORD=1
        _lockbench lockbench rev lockbench; echo "${COMPREPLY[@]}""#;
    let bash = Command::new("bash").args(["-c", complete, env!("CARGO_BIN_EXE_lockbench")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&bash.stdout).trim(), "review", "{bash:?}");

    let pages = folder.path().join("man/man1");
    let written = lockbench(folder.path(), &["man", "man/man1"]);
    assert!(written.status.success(), "{written:?}");
    for verb in verbs {
        let page = std::fs::read_to_string(pages.join(format!("lockbench-{verb}.1"))).unwrap();
        assert!(
            page.contains(".TH") && page.contains("Examples:") && !page.contains('\x1b'),
            "{verb}: {page}"
        );
    }
    assert!(std::fs::read_to_string(pages.join("lockbench.1")).unwrap().contains("lockbench\\-review(1)"));
}
