//! Where a batch and its runs are kept.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use harness::placement::Run;
use harness::record::{Evidence, Promise, RunRecord, StoredFacts, write_history, write_json};

/// A directory for a batch that nobody has yet: `<scenario>-<UTC>`, with a number behind when that is taken.
///
/// # Errors
/// When it cannot be made.
pub fn new_directory(out: &Path, scenario: &str, started: jiff::Timestamp) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(out)
        .with_context(|| format!("cannot make the folder {}; --out names another place", out.display()))?;
    let name: String =
        scenario.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let name = format!("{name}-{}", started.strftime("%Y%m%dT%H%M%SZ"));
    for number in 1.. {
        let suffix = if number == 1 { String::new() } else { format!("-{number}") };
        let directory = out.join(format!("{name}{suffix}"));
        match std::fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make the folder {}", directory.display()));
            }
        }
    }
    unreachable!("a free number is found before they run out")
}

/// Writes what is kept of a run into a folder of its own. Of a probe that broke nothing, of which there are many, that is no history.
pub(super) fn store(folder: &Path, run: &Run, record: &RunRecord) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let broke = record.verdicts.iter().any(|answer| answer.promise() == Promise::Broken);
    if record.probe.is_none() || broke {
        write_history(&folder.join(Evidence::HISTORY), &run.history)?;
        write_json(&folder.join(Evidence::FACTS), &StoredFacts::of(&run.facts))?;
        let record = RunRecord { evidence: Some(Evidence::of(folder)?), ..record.clone() };
        return Ok(write_json(&folder.join("record.json"), &record)?);
    }
    Ok(write_json(&folder.join("record.json"), record)?)
}
