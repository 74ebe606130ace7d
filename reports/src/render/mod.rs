//! The looks of a comparison, one file each.

mod bencher;
mod csv;
mod github_bigger;
mod github_smaller;
mod hdr_log;
mod html;
mod junit;
mod markdown;
mod prometheus;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::{Comparison, ReportError, load};

/// A look: a pure function from a comparison to a text. Equal input gives equal bytes.
#[derive(Debug, Clone, Copy)]
pub struct Renderer {
    /// Its name, unique.
    pub name: &'static str,
    /// The file it fills in the batch directory, unique.
    pub file: &'static str,
    /// Makes the text.
    pub render: fn(&Comparison) -> Result<String, ReportError>,
}

/// All looks.
pub const ALL: &[Renderer] = &[
    html::RENDERER,
    markdown::RENDERER,
    csv::RENDERER,
    junit::RENDERER,
    github_bigger::RENDERER,
    github_smaller::RENDERER,
    bencher::RENDERER,
    prometheus::RENDERER,
    hdr_log::RENDERER,
];

/// Reads a batch directory and writes every look into it, each whole or not at all. Returns the paths, in the order of
/// [`ALL`]. Blocks on the file system: inside a runtime, call it from `spawn_blocking` or after the last run.
///
/// # Errors
///
/// What [`load`] refuses, a look that cannot be made, a file that cannot be written; earlier files then stay.
pub fn write_all(dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let comparison = load(dir)?;
    ALL.iter()
        .map(|renderer| {
            let path = dir.join(renderer.file);
            let text = (renderer.render)(&comparison)?;
            replace(&path, text.as_bytes())
                .map_err(|source| ReportError::Write { path: path.clone(), source })?;
            Ok(path)
        })
        .collect()
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
    use std::collections::BTreeSet;

    use super::*;
    use crate::fixture;

    #[test]
    fn names_and_files_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|renderer| renderer.name).collect();
        let files: BTreeSet<_> = ALL.iter().map(|renderer| renderer.file).collect();
        assert_eq!((names.len(), files.len()), (ALL.len(), ALL.len()));
    }

    #[test]
    fn every_file_is_registered() {
        let sources = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render")).unwrap();
        assert_eq!(sources.count(), ALL.len() + 1, "one file per look, and mod.rs");
    }

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

    #[test]
    fn equal_input_gives_equal_bytes() {
        for renderer in ALL {
            let (one, two) = ((renderer.render)(&fixture::small()), (renderer.render)(&fixture::small()));
            assert_eq!(one.unwrap(), two.unwrap(), "{}", renderer.name);
        }
    }

    #[test]
    fn a_killed_batch_without_any_run_still_renders() {
        let mut killed = fixture::small();
        killed.manifest.end = None;
        killed.rows.clear();
        for renderer in ALL {
            (renderer.render)(&killed).unwrap();
        }
    }
}
