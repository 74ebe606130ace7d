//! The cells of a sweep with their batches.

use std::path::Path;

use harness::record::{Role, RunRecord, SweepRecord};

use crate::comparison::{load, read_json};
use crate::{Comparison, ReportError, Row};

/// A sweep as far as it has run.
#[derive(Debug)]
pub struct Sweep {
    /// What is swept.
    pub record: SweepRecord,
    /// The batch of each cell, in their order; `None` where it has not begun.
    pub(super) batches: Vec<Option<Comparison>>,
}

impl Sweep {
    /// Reads `sweep.json` and the batch of every cell that has begun.
    ///
    /// # Errors
    /// A file that cannot be read, is no such JSON, or has another schema version; cells that do not fit the axes.
    pub fn load(folder: &Path) -> Result<Self, ReportError> {
        let path = folder.join(SweepRecord::FILE);
        let record: SweepRecord = read_json(&path)?;
        let implausible = |what: String| ReportError::Implausible { path: path.clone(), what };
        let count: usize = record.axes.iter().map(|axis| axis.values.len()).product();
        if !(1..=2).contains(&record.axes.len()) || count != record.cells.len() {
            let what = format!("{} axes, {} cells", record.axes.len(), record.cells.len());
            return Err(implausible(what));
        }
        let fits = |values: &[String]| {
            values.len() == record.axes.len()
                && values.iter().zip(&record.axes).all(|(value, axis)| axis.values.contains(value))
        };
        let inside = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
        if let Some(odd) = record.cells.iter().find(|cell| !fits(&cell.values) || !inside(&cell.folder)) {
            return Err(implausible(format!(".cells: {:?} in {:?}", odd.values, odd.folder)));
        }
        let batch = |name: &str| {
            let folder = folder.join(name);
            folder.join("manifest.json").is_file().then(|| load(&folder)).transpose()
        };
        let batches =
            record.cells.iter().map(|cell| batch(&cell.folder)).collect::<Result<Vec<_>, ReportError>>()?;
        Ok(Self { record, batches })
    }

    /// The exit code of each cell that has begun.
    pub fn exit_codes(&self) -> impl Iterator<Item = u8> {
        self.batches.iter().flatten().map(|batch| batch.conclusion().exit_code)
    }

    /// Everybody who is compared anywhere, in the order of the scenario.
    pub(super) fn contenders(&self) -> Vec<&str> {
        let rows = self.batches.iter().flatten().flat_map(|batch| {
            let listed = |row: &Row| batch.manifest.contenders.iter().position(|name| *name == row.contender);
            batch.contenders().map(move |row| (listed(row), row.contender.as_str()))
        });
        let mut named: Vec<(usize, &str)> =
            rows.map(|(place, name)| (place.unwrap_or(usize::MAX), name)).collect();
        named.sort_unstable();
        let mut names: Vec<&str> = Vec::new();
        for (_, name) in named {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Whom all others are compared with.
    pub(super) fn reference(&self) -> Option<&str> {
        self.batches.iter().flatten().find_map(|batch| batch.manifest.reference.as_deref())
    }

    /// The valid runs of a contender in a cell; empty where it has none.
    pub(super) fn runs(&self, cell: usize, contender: &str) -> Vec<&RunRecord> {
        self.row(cell, contender).map(|row| row.valid().collect()).unwrap_or_default()
    }

    pub(super) fn row(&self, cell: usize, contender: &str) -> Option<&Row> {
        let batch = self.batches.get(cell)?.as_ref()?;
        batch.rows.iter().find(|row| row.role == Role::Contender && row.contender == contender)
    }

    /// The place of the cell that has these values, one of each axis.
    pub(super) fn place(&self, values: &[&str]) -> Option<usize> {
        self.record.cells.iter().position(|cell| cell.values.iter().eq(values))
    }
}
