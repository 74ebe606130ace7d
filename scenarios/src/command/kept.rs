//! Results that are kept for others to check, `runs/<date>-<machine>/`: how a batch or a review gets there, what keeps one from being listed, and
//! what is told of all of them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use harness::record::{MatrixRecord, ReviewRecord, SweepRecord};
use reports::Comparison;

use super::print::print;
use super::verified::{Words, verify};

/// Of one folder, at most: whoever clones the repository has all of them.
const MOST_BYTES: u64 = 20 << 20;

/// What nobody needs to check a batch: logs of programs, and runs that were repeated.
const LEFT_OUT: [&str; 2] = ["logs", "late"];

/// Stands in a README that a person has not finished.
const UNWRITTEN: &str = "(to be written)";

const README: &str = "README.md";
const MANIFEST: &str = "manifest.json";

/// Copies a batch, a review, a sweep or a matrix to where results are kept, begins its README, and checks it. The exit code: 4 where something
/// keeps it from being listed.
pub(super) fn keep(from: &Path, to: &Path) -> anyhow::Result<u8> {
    ensure!(!to.exists(), "{} is there already: give another name", to.display());
    let batches = batches(from)?;
    ensure!(!batches.is_empty(), "{}: there is no batch in it", from.display());
    copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    let readme = readme(to)?;
    fs::write(to.join(README), readme)
        .with_context(|| format!("cannot write {}", to.join(README).display()))?;
    print(&format!("{} is written; what came out is for you to say, in {README}", to.display()));
    check(to)
}

/// Checks a folder of kept results; the exit code.
pub(super) fn check(folder: &Path) -> anyhow::Result<u8> {
    let batches = batches(folder)?;
    let mut against = Vec::new();
    if batches.is_empty() {
        against.push("there is no batch in it".to_owned());
    }
    for batch in &batches {
        // Says itself what differs.
        if verify(&batch.join("report.html"), Some(batch), Words::OfAnyVersion)? != 0 {
            against.push(format!("{} says otherwise than its histories", batch.display()));
        }
        let comparison = reports::load(batch)?;
        against.extend(unfinished(&comparison).map(|what| format!("{}: {what}", batch.display())));
        against.extend(unsaid(folder, &comparison));
    }
    let (bytes, most) = (size(folder)?, MOST_BYTES >> 20);
    if bytes > MOST_BYTES {
        against.push(format!("{} MiB: no more than {most} are kept", bytes.div_ceil(1 << 20)));
    }
    against.dedup();
    against.iter().for_each(|line| print(line));
    let name = folder.display();
    if against.is_empty() {
        print(&format!("{name}: can be listed ({:.1} MiB)", bytes as f64 / f64::from(1 << 20)));
        return Ok(0);
    }
    print(&format!("{name}: NOT PROVEN: cannot be listed as it is"));
    Ok(4)
}

/// Whether somebody has said what is in a folder.
fn is_kept(folder: &Path) -> bool {
    folder.join(README).is_file()
}

/// All that is kept below a folder, as Markdown: what people say of each, then what lockbench does.
pub(super) fn told(runs: &Path) -> anyhow::Result<String> {
    let mut text = "# Results\n\nMade by `lockbench report runs --results docs/results.md` from what is kept in `runs/`; nothing in it is written \
                    by hand but the sentences of each README. [How to check one, and to submit yours](guide/submit.md).\n"
        .to_owned();
    let mut folders: Vec<PathBuf> = subfolders(runs)?.into_iter().filter(|folder| is_kept(folder)).collect();
    // The newest first.
    folders.sort();
    folders.reverse();
    if folders.is_empty() {
        text += "\nNothing is kept yet.\n";
    }
    for folder in folders {
        let readme = read(&folder.join(README))?;
        // Its headings step below ours.
        let below = readme
            .lines()
            .map(|line| if line.starts_with('#') { format!("#{line}") } else { line.to_owned() });
        writeln!(text)?;
        for line in below {
            writeln!(text, "{line}")?;
        }
        for batch in summaries(&folder)? {
            writeln!(text)?;
            for line in read(&batch)?.lines() {
                match line.strip_prefix("# ") {
                    Some(title) => writeln!(text, "### {title}")?,
                    None if line.starts_with('#') => writeln!(text, "##{line}")?,
                    None => writeln!(text, "{line}")?,
                }
            }
        }
    }
    Ok(text)
}

/// The summary of a review, sweep or matrix alone where there is one, since it tells of its batches; otherwise that of each batch.
fn summaries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let own = folder.join("summary.md");
    if own.is_file() {
        return Ok(vec![own]);
    }
    Ok(batches(folder)?
        .into_iter()
        .map(|batch| batch.join("summary.md"))
        .filter(|path| path.is_file())
        .collect())
}

/// The batches of a folder: itself, or those below it, in the order of their names.
fn batches(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if folder.join(MANIFEST).is_file() {
        return Ok(vec![folder.to_owned()]);
    }
    Ok(subfolders(folder)?.into_iter().filter(|below| below.join(MANIFEST).is_file()).collect())
}

fn subfolders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut below = Vec::new();
    for entry in entries {
        let path = entry?.path();
        below.extend(path.is_dir().then_some(path));
    }
    below.sort();
    Ok(below)
}

/// Why a batch proves nothing to others, whatever it says.
fn unfinished(comparison: &Comparison) -> impl Iterator<Item = String> {
    let manifest = &comparison.manifest;
    let ended = match &manifest.end {
        None => Some("it did not end".to_owned()),
        Some(end) if matches!(end.exit_code, 2 | 4 | 130) => {
            Some(format!("it ended with exit code {}: {}", end.exit_code, end.reasons.join("; ")))
        }
        Some(_) => None,
    };
    let commit = match manifest.commit.as_deref() {
        None => Some("nobody knows the commit that it was run with".to_owned()),
        Some(commit) if commit.ends_with("-dirty") => {
            Some(format!("it was run with a changed checkout ({commit}), which nobody else has"))
        }
        Some(_) => None,
    };
    ended.into_iter().chain(commit)
}

/// What the README of a folder does not say of a batch in it.
fn unsaid(folder: &Path, comparison: &Comparison) -> Vec<String> {
    let readme = folder.join(README);
    let Ok(text) = fs::read_to_string(&readme) else {
        return vec![format!("{} is missing", readme.display())];
    };
    let manifest = &comparison.manifest;
    let date = manifest.started_utc.split('T').next().unwrap_or_default();
    let mut all = vec![
        ("the date", date.to_owned()),
        ("the machine", manifest.machine.cpu.clone()),
        ("the command", command(&manifest.command)),
        ("the seed", manifest.seed.to_string()),
    ];
    all.extend(manifest.commit.clone().map(|commit| ("the commit", commit)));
    let missing = all.into_iter().filter(|(_, value)| !text.contains(value.as_str()));
    let mut unsaid: Vec<String> =
        missing.map(|(what, value)| format!("{}: {what} is missing: {value}", readme.display())).collect();
    if text.contains(UNWRITTEN) {
        unsaid.push(format!("{}: what came out is {UNWRITTEN}", readme.display()));
    }
    unsaid
}

/// As it is written again: whatever the program was called.
fn command(words: &[String]) -> String {
    let quoted = |word: &String| match word.contains([' ', '"', '\'', '*', '[', '{']) {
        true => format!("'{}'", word.replace('\'', "'\\''")),
        false => word.clone(),
    };
    std::iter::once("lockbench".to_owned())
        .chain(words.iter().skip(1).map(quoted))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A README to begin with, from the manifests.
fn readme(folder: &Path) -> anyhow::Result<String> {
    let all: Vec<Comparison> =
        batches(folder)?.iter().map(|batch| reports::load(batch)).collect::<Result<_, _>>()?;
    let first = &all.first().context("there is no batch")?.manifest;
    let kind = [
        (ReviewRecord::FILE, "a review of "),
        (SweepRecord::FILE, "a sweep of "),
        (MatrixRecord::FILE, "known failures, "),
    ]
    .into_iter()
    .find(|(file, _)| folder.join(file).is_file())
    .map_or("", |(_, kind)| kind);
    let mut facts: Vec<(&str, String)> = vec![
        ("command", format!("`{}`", command(&first.command))),
        ("began", first.started_utc.clone()),
        ("seed", first.seed.to_string()),
        ("commit", first.commit.clone().unwrap_or_else(|| "unknown".to_owned())),
        ("lockbench", first.lockbench_version.clone()),
        ("machine", first.machine.class()),
        ("system", format!("{}, {}", first.machine.os, first.machine.kernel)),
    ];
    // Phases that begin on another day, or have another seed, are told, too.
    for other in &all[1..] {
        let more = [("began", &other.manifest.started_utc), ("command", &command(&other.manifest.command))]
            .map(|(what, value)| (what, value.clone()));
        let unknown =
            |(_, value): &(&str, String)| !facts.iter().any(|(_, known)| known.contains(value.as_str()));
        let more: Vec<_> = more.into_iter().filter(unknown).collect();
        facts.extend(more);
    }
    let rows: String =
        facts.iter().map(|(what, value)| format!("| {what} | {} |\n", value.replace('|', "\\|"))).collect();
    Ok(format!(
        "# {kind}{}, {}\n\n{UNWRITTEN}: three sentences: what was asked, what came out, what to doubt.\n\n| | |\n|---|---|\n{rows}\nChecked again with \
         `lockbench report --verify {}`.\n",
        first.scenario,
        first.started_utc.split('T').next().unwrap_or_default(),
        folder.display(),
    ))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() {
            if !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                copy(&path, &to.join(name))?;
            }
        } else {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn size(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.path().is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}
