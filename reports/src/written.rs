//! The files of a batch, a sweep, a matrix, a review or of peers, written.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use harness::record::{MatrixRecord, PeersRecord, ReviewRecord, SweepRecord};

use crate::index::index;
use crate::render::ALL;
use crate::side::is_batch;
use crate::{KnownFailures, Peers, ReportError, Review, Sweep, known, load, peers, review, sweep};

/// Reads a batch directory, or that of a sweep, a matrix, a review or of peers, and writes every look into it, each whole or not at all; or the index
/// of a folder of batches. Returns the paths, the page
/// first. Blocks on the file system: inside a runtime, call it from `spawn_blocking` or after the last run.
///
/// # Errors
///
/// What [`load`] refuses, a look that cannot be made, a file that cannot be written; earlier files then stay.
pub fn write_all(dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    if dir.join(SweepRecord::FILE).is_file() {
        let cells = Sweep::load(dir)?;
        return sweep::LOOKS.iter().map(|(file, look)| write(dir, file, &look(&cells)?)).collect();
    }
    if dir.join(MatrixRecord::FILE).is_file() {
        let matrix = KnownFailures::load(dir)?;
        return known::LOOKS.iter().map(|(file, look)| write(dir, file, &look(&matrix)?)).collect();
    }
    if dir.join(ReviewRecord::FILE).is_file() {
        let done = Review::load(dir)?;
        return review::LOOKS.iter().map(|(file, look)| write(dir, file, &look(&done)?)).collect();
    }
    if dir.join(PeersRecord::FILE).is_file() {
        let done = Peers::load(dir)?;
        return peers::LOOKS.iter().map(|(file, look)| write(dir, file, &look(&done)?)).collect();
    }
    if dir.is_dir()
        && !is_batch(dir)
        && let Some(page) = index(dir)?
    {
        return Ok(vec![write(dir, "index.html", &page)?]);
    }
    let comparison = load(dir)?;
    ALL.iter().map(|renderer| write(dir, renderer.file, &(renderer.render)(&comparison)?)).collect()
}

fn write(dir: &Path, file: &str, text: &str) -> Result<PathBuf, ReportError> {
    let path = dir.join(file);
    replace(&path, text.as_bytes()).map_err(|source| ReportError::Write { path: path.clone(), source })?;
    Ok(path)
}

/// A reader sees the old file or the new one, never half of it.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let written = fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first failure is the one to report; a left-over part file is harmless.
        fs::remove_file(&beside).ok();
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// `REPORTS_KEEP=DIR cargo test -p reports` leaves a rich batch and its reports in DIR, to look at.
    #[test]
    fn a_batch_directory_gets_every_report_and_nothing_else() {
        let temporary = tempfile::tempdir().unwrap();
        let kept = std::env::var_os("REPORTS_KEEP").map(PathBuf::from);
        let dir = kept.as_deref().unwrap_or(temporary.path());
        fs::create_dir_all(dir).unwrap();
        fixture::store(&fixture::probed(), dir);
        let before = fs::read_dir(dir).unwrap().count();
        let paths = write_all(dir).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "report.html",
                "summary.md",
                "runs.csv",
                "junit.xml",
                "benchmark-bigger.json",
                "benchmark-smaller.json",
                "bencher.json",
                "metrics.prom",
                "latency.hlog"
            ]
        );
        if kept.is_none() {
            assert_eq!(fs::read_dir(dir).unwrap().count(), before + ALL.len(), "no part file is left");
        }
    }
}
