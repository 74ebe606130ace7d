//! One side of a comparison of batches: a batch, or all batches of a folder together.

use std::fs;
use std::path::{Path, PathBuf};

use harness::record::{Metric, Role, RunRecord};

use crate::{Comparison, ReportError, load};

/// Batches that stand for one thing: a version, a setting, a machine.
#[derive(Debug, Clone)]
pub struct Side {
    /// What it is called: the name of its folder.
    pub label: String,
    /// Its batches by the time at which they began; at least one.
    pub batches: Vec<Comparison>,
    /// Their folders.
    pub folders: Vec<PathBuf>,
}

impl Side {
    /// Reads a batch directory; or, of a folder that is none, every batch in it or one level below, such as `runs/` and its folders.
    ///
    /// # Errors
    /// What [`load`] refuses; a folder in which there is no batch, as one without a manifest.
    pub fn load(folder: &Path) -> Result<Self, ReportError> {
        let found = if is_batch(folder) { vec![folder.to_owned()] } else { batches_in(folder)? };
        let mut batches = found.iter().map(|folder| load(folder)).collect::<Result<Vec<_>, _>>()?;
        let folders = if found.is_empty() { vec![folder.to_owned()] } else { found };
        if batches.is_empty() {
            // Whose error names the file that is missing.
            batches.push(load(folder)?);
        }
        batches.sort_by(|a, b| a.manifest.started_utc.cmp(&b.manifest.started_utc));
        let name = folder
            .canonicalize()
            .ok()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        Ok(Self { label: name.unwrap_or_else(|| folder.display().to_string()), batches, folders })
    }

    /// Its contenders, then its controls, each once.
    #[must_use]
    pub fn names(&self) -> Vec<(&str, Role)> {
        let mut names: Vec<(&str, Role)> = Vec::new();
        for row in self.batches.iter().flat_map(|batch| &batch.rows) {
            if !names.iter().any(|(name, _)| *name == row.contender) {
                names.push((&row.contender, row.role));
            }
        }
        names.sort_by_key(|(_, role)| *role == Role::Control);
        names
    }

    /// The records of a contender that tell a figure, and prove something.
    #[must_use]
    pub fn telling(&self, contender: &str, metric: &Metric) -> Vec<&RunRecord> {
        let rows = self.batches.iter().flat_map(|batch| batch.rows.iter().map(move |row| (batch, row)));
        let own = rows.filter(|(_, row)| row.contender == contender);
        own.flat_map(|(batch, row)| batch.telling(row, metric)).collect()
    }

    /// The runs of a contender that prove something.
    #[must_use]
    pub fn valid(&self, contender: &str) -> Vec<&RunRecord> {
        let rows = self.batches.iter().flat_map(|batch| &batch.rows).filter(|row| row.contender == contender);
        rows.flat_map(|row| &row.records).filter(|run| run.invalid.is_empty()).collect()
    }

    /// From when until when it ran, RFC 3339.
    pub(crate) fn span(&self) -> (&str, &str) {
        let from = self.batches.iter().map(|batch| batch.manifest.started_utc.as_str()).min();
        let until = self.batches.iter().map(|batch| {
            batch
                .manifest
                .end
                .as_ref()
                .map_or(batch.manifest.started_utc.as_str(), |end| end.ended_utc.as_str())
        });
        (from.unwrap_or_default(), until.max().unwrap_or_default())
    }
}

pub(crate) fn is_batch(folder: &Path) -> bool {
    folder.join("manifest.json").is_file()
}

pub(crate) fn batches_in(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let mut found = Vec::new();
    for inner in folders_in(folder)? {
        if is_batch(&inner) {
            found.push(inner);
        } else {
            found.extend(folders_in(&inner)?.into_iter().filter(|folder| is_batch(folder)));
        }
    }
    Ok(found)
}

fn folders_in(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let unreadable = |source| ReportError::Read { path: folder.to_owned(), source };
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn a_folder_of_batches_is_one_side() {
        let runs = tempfile::tempdir().unwrap();
        for name in ["one/first", "second"] {
            let folder = runs.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fixture::store(&fixture::small(), &folder);
        }
        let side = Side::load(runs.path()).unwrap();
        assert_eq!(side.batches.len(), 2);
        assert_eq!(side.valid("ring-queue").len(), 6);
        assert_eq!(side.names()[0], ("ring-queue", Role::Contender));
        assert_eq!(side.names().last().map(|(_, role)| *role), Some(Role::Control));
        let one = Side::load(&runs.path().join("second")).unwrap();
        assert_eq!((one.label.as_str(), one.batches.len()), ("second", 1));
    }

    #[test]
    fn a_folder_without_a_batch_is_refused_by_the_file_that_is_missing() {
        let empty = tempfile::tempdir().unwrap();
        assert!(Side::load(empty.path()).unwrap_err().to_string().contains("manifest.json"));
    }
}
