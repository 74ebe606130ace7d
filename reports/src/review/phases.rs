//! The phases of a review with their batches.

use std::path::Path;

use harness::record::{ReviewPhase, ReviewRecord};

use crate::comparison::{load, read_json};
use crate::{Comparison, ReportError};

/// A review as far as it has run.
#[derive(Debug)]
pub struct Review {
    /// What was asked.
    pub record: ReviewRecord,
    /// The batch of each phase, in their order; `None` where it has not begun.
    pub(super) batches: Vec<Option<Comparison>>,
}

impl Review {
    /// Reads `review.json` and the batch of every phase that has begun.
    ///
    /// # Errors
    /// A file that cannot be read, is no such JSON, or has another schema version; a phase whose folder is not inside.
    pub fn load(folder: &Path) -> Result<Self, ReportError> {
        let path = folder.join(ReviewRecord::FILE);
        let record: ReviewRecord = read_json(&path)?;
        let inside = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
        if let Some(odd) = record.phases.iter().find(|phase| !inside(&phase.folder)) {
            let what = format!(".phases: {:?} in {:?}", odd.name, odd.folder);
            return Err(ReportError::Implausible { path, what });
        }
        let batch = |phase: &ReviewPhase| {
            let folder = folder.join(&phase.folder);
            folder.join("manifest.json").is_file().then(|| load(&folder)).transpose()
        };
        let batches = record.phases.iter().map(batch).collect::<Result<Vec<_>, ReportError>>()?;
        Ok(Self { record, batches })
    }

    /// Each phase with its batch.
    pub(super) fn phases(&self) -> impl Iterator<Item = (&ReviewPhase, Option<&Comparison>)> {
        self.record.phases.iter().zip(&self.batches).map(|(phase, batch)| (phase, batch.as_ref()))
    }

    /// A phase that has begun.
    pub(super) fn phase(&self, name: &str) -> Option<(&ReviewPhase, &Comparison)> {
        self.phases().find(|(phase, _)| phase.name == name).and_then(|(phase, batch)| Some((phase, batch?)))
    }

    /// Everybody who is compared in any phase, in the order of the scenario.
    pub(super) fn candidates(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for batch in self.batches.iter().flatten() {
            let mut of_batch: Vec<&str> = batch.contenders().map(|row| row.contender.as_str()).collect();
            of_batch.sort_by_key(|name| batch.manifest.contenders.iter().position(|other| other == name));
            for name in of_batch {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }
}
