//! The files of a batch or of a sweep, written.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use harness::record::SweepRecord;

use crate::render::ALL;
use crate::sweep::{LOOKS, Sweep};
use crate::{ReportError, load};

/// Reads a batch directory, or that of a sweep, and writes every look into it, each whole or not at all. Returns the paths, the page
/// first. Blocks on the file system: inside a runtime, call it from `spawn_blocking` or after the last run.
///
/// # Errors
///
/// What [`load`] refuses, a look that cannot be made, a file that cannot be written; earlier files then stay.
pub fn write_all(dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    if dir.join(SweepRecord::FILE).is_file() {
        let sweep = Sweep::load(dir)?;
        return LOOKS.iter().map(|(file, look)| write(dir, file, &look(&sweep)?)).collect();
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
