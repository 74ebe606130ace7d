//! The rows of a matrix with their batches.

use std::path::Path;

use harness::record::{Conclusion, FEWER_LEVEL, Fewer, FewerClaim, MatrixRecord, MatrixRow};

use super::cell::Outcome;
use crate::comparison::{load, read_json};
use crate::{Comparison, ReportError};

/// The exit code of what proves nothing.
const NOT_PROVEN: u8 = 4;

/// A matrix as far as it has run.
#[derive(Debug)]
pub struct KnownFailures {
    /// Which failures.
    pub record: MatrixRecord,
    /// The batch of each row, in their order; `None` where it has not begun.
    pub(super) batches: Vec<Option<Comparison>>,
}

impl KnownFailures {
    /// Reads `matrix.json` and the batch of every row that has begun.
    ///
    /// # Errors
    /// A file that cannot be read, is no such JSON, or has another schema version; a row whose folder is not inside.
    pub fn load(folder: &Path) -> Result<Self, ReportError> {
        let path = folder.join(MatrixRecord::FILE);
        let record: MatrixRecord = read_json(&path)?;
        let inside = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
        if let Some(odd) = record.rows.iter().find(|row| !inside(&row.folder)) {
            let what = format!(".rows: {:?} in {:?}", odd.name, odd.folder);
            return Err(ReportError::Implausible { path, what });
        }
        let batch = |row: &MatrixRow| {
            let folder = folder.join(&row.folder);
            folder.join("manifest.json").is_file().then(|| load(&folder)).transpose()
        };
        let batches = record.rows.iter().map(batch).collect::<Result<Vec<_>, ReportError>>()?;
        Ok(Self { record, batches })
    }

    /// The exit code of each row that has begun; where somebody was to do something less often, and that cannot be told from chance,
    /// the row proves nothing.
    pub fn exit_codes(&self) -> impl Iterator<Item = u8> {
        self.record.rows.iter().zip(&self.batches).filter_map(|(row, batch)| {
            let batch = batch.as_ref()?;
            let claimed = claimed(row, batch);
            let told = claimed.is_none_or(|(_, fewer)| fewer.is_some_and(|fewer| fewer.p < FEWER_LEVEL));
            Some(Conclusion::gravest_exit([batch.conclusion().exit_code, if told { 0 } else { NOT_PROVEN }]))
        })
    }

    /// Each row with what every contender did in it, in the order of the scenario; `None` where it has not begun.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&MatrixRow, Option<(&Comparison, Vec<Outcome>)>)> {
        self.record.rows.iter().zip(&self.batches).map(|(row, batch)| {
            let told = batch.as_ref().map(|batch| {
                let mut rows: Vec<_> = batch.contenders().collect();
                let listed = |name: &str| batch.manifest.contenders.iter().position(|other| other == name);
                rows.sort_by_key(|row| listed(&row.contender));
                (batch, rows.into_iter().map(|row| Outcome::of(batch, row)).collect())
            });
            (row, told)
        })
    }
}

/// Who is to do something less often than another in this row, and what they did; `None`: nobody.
pub(super) fn claimed<'a>(row: &'a MatrixRow, batch: &Comparison) -> Option<(&'a FewerClaim, Option<Fewer>)> {
    let claim = row.fewer.as_ref()?;
    Some((claim, claim.judged(batch.rows.iter().flat_map(|row| &row.records))))
}
