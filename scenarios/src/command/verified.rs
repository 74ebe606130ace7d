//! Whether a report is as it was written, and says what the histories of its batch say.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use harness::record::{Manifest, RunRecord};
use reports::{Comparison, Sealed, Stored};
use serde_json::Value;

use super::print::print;
use crate::batch::again;

/// No report is longer.
const MOST_BYTES: u64 = 64 << 20;

/// Differences that are told of one run; there may be one for each slice of it.
const MOST_TOLD: usize = 8;

/// What is asked of the words of a page, beside its figures and verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Words {
    /// This lockbench writes the same page, byte by byte.
    OfThisVersion,
    /// Another version may have written it; where this one did, it writes the same.
    OfAnyVersion,
}

/// Puts a report to the histories in a batch directory, if one is given; the exit code.
pub(super) fn verify(page: &Path, histories: Option<&Path>, words: Words) -> anyhow::Result<u8> {
    let (name, text) = (page.display(), read(page)?);
    let sealed = match Sealed::open(&text) {
        Ok(sealed) => sealed,
        Err(what) => {
            print(&format!("{name}: NOT PROVEN: {what}"));
            return Ok(4);
        }
    };
    let Some(folder) = histories else {
        print(&format!(
            "{name}: consistent with itself only, in {} runs; --histories DIR works every figure and verdict out again",
            sealed.runs.len()
        ));
        return Ok(0);
    };
    let judged = Judged::of(reports::stored(folder)?);
    let mut against = judged.against;
    let comparison = judged.comparison;
    against.extend(comparison.records().chain(&comparison.probes).flat_map(|run| sealed.differences(run)));
    against.extend(missing(&sealed, &comparison));
    let own = comparison.manifest.commit.as_deref() == option_env!("LOCKBENCH_COMMIT");
    if against.is_empty() && (own || words == Words::OfThisVersion) {
        against.extend(otherwise(&text, &comparison)?);
    } else if !own {
        print(&format!(
            "{name}: written by another version; its figures and verdicts are looked at, its words are not"
        ));
    }
    against.iter().for_each(|line| print(line));
    if !against.is_empty() {
        print(&format!("{name}: NOT PROVEN: it, or what is stored, says otherwise than the histories"));
        return Ok(4);
    }
    let kept = match judged.without {
        0 => String::new(),
        n => format!(
            "; of {n} no history was kept (probes that broke nothing), their records alone are as on the page"
        ),
    };
    print(&format!(
        "{name}: every figure and verdict of {} runs is what the histories say{kept}. Of the machine, and so not worked out again: \
         processor time, operations, connections, the bystanders",
        judged.again
    ));
    Ok(0)
}

/// The records of a batch, worked out again as far as histories were kept.
struct Judged {
    comparison: Comparison,
    /// What is stored otherwise.
    against: Vec<String>,
    /// Runs that were judged again, and those without a history.
    again: usize,
    without: usize,
}

impl Judged {
    fn of(stored: Stored) -> Self {
        let Stored { manifest, runs, gate } = stored;
        let (mut records, mut against) = (Vec::new(), Vec::new());
        let (mut done, mut without) = (0, 0);
        for (folder, record) in runs {
            if record.evidence.is_none() && record.probe.is_some() {
                without += 1;
                records.push(record);
                continue;
            }
            match one(&manifest, &folder, &record) {
                Ok((own, told)) => {
                    done += 1;
                    against.extend(told);
                    records.push(own);
                }
                Err(error) => {
                    against.push(format!("{error:#}"));
                    records.push(record);
                }
            }
        }
        let comparison = Comparison { gate, ..Comparison::new(manifest, records) };
        Self { comparison, against, again: done, without }
    }
}

/// A run judged again, and where its record says otherwise.
fn one(manifest: &Manifest, folder: &Path, record: &RunRecord) -> anyhow::Result<(RunRecord, Vec<String>)> {
    let own = again(manifest, folder, record)?;
    let (stored, found) = (serde_json::to_value(record)?, serde_json::to_value(&own)?);
    // What is only told since the record was written is none of it.
    if own == *record || as_far_as(&stored, found.clone()) == stored {
        return Ok((own, Vec::new()));
    }
    let mut told = Vec::new();
    differences(&stored, &found, "", &mut told);
    if told.is_empty() {
        told.push("a distribution differs".to_owned());
    }
    told.truncate(MOST_TOLD);
    let of = format!("{}, block {}", record.contender, record.block);
    Ok((own, told.into_iter().map(|line| format!("{of}: {line}")).collect()))
}

/// Without the fields that the other has not.
fn as_far_as(stored: &Value, own: Value) -> Value {
    match (stored, own) {
        (Value::Object(a), Value::Object(b)) => {
            let known = b.into_iter().filter_map(|(key, b)| Some((key.clone(), as_far_as(a.get(&key)?, b))));
            Value::Object(known.collect())
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            Value::Array(a.iter().zip(b).map(|(a, b)| as_far_as(a, b)).collect())
        }
        (_, own) => own,
    }
}

/// Every leaf that differs, by its path.
fn differences(stored: &Value, own: &Value, path: &str, told: &mut Vec<String>) {
    match (stored, own) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, a) in a.iter().filter(|(key, _)| *key != "hdr_v2_deflate_base64") {
                differences(a, b.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"), told);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter()
                .zip(b)
                .enumerate()
                .for_each(|(at, (a, b))| differences(a, b, &format!("{path}[{at}]"), told));
        }
        _ if stored == own => {}
        _ => told.push(format!(
            "{} is {stored} in the record and {own} by the history",
            path.trim_start_matches('.')
        )),
    }
}

/// Runs of the page that the batch has not.
fn missing(sealed: &Sealed, comparison: &Comparison) -> Vec<String> {
    let here = |order: u32| comparison.records().chain(&comparison.probes).any(|run| run.order == order);
    let gone = sealed.runs.iter().filter(|run| !here(run.order));
    gone.map(|run| {
        format!("{}, block {} (run {}): no such run is stored", run.contender, run.block, run.order)
    })
    .collect()
}

/// The first line that the page has otherwise than the same lockbench writes it from these records.
fn otherwise(page: &str, comparison: &Comparison) -> anyhow::Result<Option<String>> {
    let html = reports::render::ALL.iter().find(|look| look.name == "html").context("there is a page")?;
    let own = (html.render)(comparison)?;
    if own == page {
        return Ok(None);
    }
    let line = own.lines().zip(page.lines()).position(|(own, page)| own != page).unwrap_or(0);
    Ok(Some(format!(
        "line {} of the page is not what this lockbench writes from these records; a page of another version is written anew with \
         `lockbench report`",
        line + 1
    )))
}

fn read(page: &Path) -> anyhow::Result<String> {
    let unreadable = || format!("cannot read {}", page.display());
    let mut text = String::new();
    File::open(page)
        .with_context(unreadable)?
        .take(MOST_BYTES + 1)
        .read_to_string(&mut text)
        .with_context(unreadable)?;
    ensure!(
        text.len() as u64 <= MOST_BYTES,
        "{} is longer than {MOST_BYTES} bytes, which no report is",
        page.display()
    );
    Ok(text)
}
