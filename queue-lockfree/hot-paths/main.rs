//! What the hot paths cost in instructions, and whether one costs more than it did.
//!
//! Each path runs in a process of its own under valgrind, on one thread, with so many operations and with twice as many: the
//! difference is theirs alone, whatever the start takes. Instructions do not depend on who else is at work on the machine, so
//! a gate over them may be narrow where one over time may not; what they do not see is waiting and the cache.
//!
//! ```text
//! hot_paths             each path beside its baseline; exit 1 if one takes over 5 % more, 5 if nothing can be told
//! hot_paths --renew     writes the baseline
//! ```
//!
//! A baseline holds for one compiler: beside another's it says nothing, and that is said.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program tells what it found")]

mod paths;

use std::fmt::Write as _;
use std::process::{Command, ExitCode};

use paths::PATHS;

/// A path may take so much more than its baseline.
const MARGIN: f64 = 0.05;
const BASELINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hot-paths/baseline.txt");
const UNTOLD: u8 = 5;

/// The C library chooses among its copies of `memcpy` by the processor: everywhere the same ones.
const SAME_EVERYWHERE: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX512F,-AVX512VL,-ERMS,-FSRM,-EVEX");

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["run", name, operations] => run(name, operations),
        [] => told(compare()),
        ["--renew"] => told(renew()),
        _ => told(Err("usage: hot_paths [--renew]".to_owned())),
    }
}

fn told(outcome: Result<ExitCode, String>) -> ExitCode {
    outcome.unwrap_or_else(|error| {
        eprintln!("hot_paths: {error}");
        ExitCode::from(2)
    })
}

/// In the process that valgrind counts.
fn run(name: &str, operations: &str) -> ExitCode {
    let path = PATHS.iter().find(|path| path.name == name);
    match (path, operations.parse()) {
        (Some(path), Ok(operations)) => {
            (path.run)(operations);
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}

/// Instructions of a process that does so many operations of a path.
fn instructions(name: &str, operations: u64) -> Result<f64, String> {
    let itself = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(itself)
        .args(["run", name, &operations.to_string()])
        .env(SAME_EVERYWHERE.0, SAME_EVERYWHERE.1)
        .output()
        .map_err(|error| format!("valgrind: {error}; Debian's package `valgrind` has it"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{name} under valgrind: {}\n{text}", output.status));
    }
    let count = text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.ok_or_else(|| format!("{name}: valgrind told no count:\n{text}"))
}

/// Instructions of one operation of each path, with what is beside it in the table.
fn measure() -> Result<Vec<(&'static str, f64)>, String> {
    let each = |path: &paths::Path| {
        let [once, twice] =
            [path.operations, 2 * path.operations].map(|count| instructions(path.name, count));
        Ok((path.name, (twice? - once?) / path.operations as f64))
    };
    PATHS.iter().map(each).collect()
}

fn compiler() -> Result<String, String> {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let output =
        Command::new(&rustc).arg("--version").output().map_err(|error| format!("{rustc}: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn renew() -> Result<ExitCode, String> {
    let mut text = format!("{}\n", compiler()?);
    for (name, count) in measure()? {
        println!("{name:<24}{count:>10.0}");
        writeln!(text, "{name} {count:.0}").map_err(|error| error.to_string())?;
    }
    std::fs::write(BASELINE, text).map_err(|error| format!("{BASELINE}: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

fn compare() -> Result<ExitCode, String> {
    let text = std::fs::read_to_string(BASELINE)
        .map_err(|error| format!("{BASELINE}: {error}; --renew writes it"))?;
    let mut lines = text.lines();
    let (of, here) = (lines.next().unwrap_or_default(), compiler()?);
    let baseline: Vec<(&str, f64)> = lines
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(name, count)| Some((name, count.parse().ok()?)))
        .collect();
    println!("{:<24}{:>10}{:>10}{:>9}", "instructions", "baseline", "now", "more");
    let mut over = Vec::new();
    for (name, now) in measure()? {
        let Some((_, was)) = baseline.iter().find(|(known, _)| *known == name) else {
            return Err(format!("{name} has no baseline; --renew writes it"));
        };
        let more = now / was - 1.0;
        println!("{name:<24}{was:>10.0}{now:>10.0}{:>8.1}%", more * 100.0);
        if more > MARGIN {
            over.push(name);
        }
    }
    if of != here {
        println!("The baseline is of {of}, this is {here}: cannot tell; --renew writes a new one.");
        return Ok(ExitCode::from(UNTOLD));
    }
    if over.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "Over {:.0} % more: {}. If that is what it costs, --renew says so.",
        MARGIN * 100.0,
        over.join(", ")
    );
    Ok(ExitCode::from(1))
}
