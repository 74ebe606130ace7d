//! The questions with their batches.

use std::path::Path;

use harness::record::{PeersQuestion, PeersRecord};

use crate::comparison::{load, read_json};
use crate::{Comparison, ReportError};

/// All questions, as far as they have run.
#[derive(Debug)]
pub struct Peers {
    /// What was asked.
    pub record: PeersRecord,
    /// The batch of each question, in their order; `None` where it has not begun.
    batches: Vec<Option<Comparison>>,
}

/// Whoever took part in anything.
pub(super) struct Peer<'a> {
    pub(super) name: &'a str,
    pub(super) summary: &'a str,
    /// With its version; nothing of whoever needs none.
    pub(super) server: Option<String>,
    /// Of a program of somebody else.
    pub(super) digest: Option<&'a str>,
}

impl Peers {
    /// Reads `peers.json` and the batch of every question that has begun.
    ///
    /// # Errors
    /// A file that cannot be read, is no such JSON, or has another schema version; a question whose folder is not inside.
    pub fn load(folder: &Path) -> Result<Self, ReportError> {
        let path = folder.join(PeersRecord::FILE);
        let record: PeersRecord = read_json(&path)?;
        let inside = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']);
        if let Some(odd) = record.questions.iter().find(|question| !inside(&question.folder)) {
            let what = format!(".questions: {:?} in {:?}", odd.name, odd.folder);
            return Err(ReportError::Implausible { path, what });
        }
        let batch = |question: &PeersQuestion| {
            let folder = folder.join(&question.folder);
            folder.join("manifest.json").is_file().then(|| load(&folder)).transpose()
        };
        let batches = record.questions.iter().map(batch).collect::<Result<Vec<_>, ReportError>>()?;
        Ok(Self { record, batches })
    }

    /// The exit code of each question that has begun.
    pub fn exit_codes(&self) -> impl Iterator<Item = u8> {
        self.batches.iter().flatten().map(|batch| batch.conclusion().exit_code)
    }

    /// Each question with its batch.
    pub(super) fn questions(&self) -> impl Iterator<Item = (&PeersQuestion, Option<&Comparison>)> {
        self.record.questions.iter().zip(&self.batches).map(|(question, batch)| (question, batch.as_ref()))
    }

    /// The first batch that has begun: all ran on one machine.
    pub(super) fn first(&self) -> Option<&Comparison> {
        self.batches.iter().flatten().next()
    }

    /// Everybody who is compared in any of them, in the order in which they were named.
    pub(super) fn peers(&self) -> Vec<Peer<'_>> {
        let mut peers: Vec<Peer<'_>> = Vec::new();
        for batch in self.batches.iter().flatten() {
            let listed = |name: &str| batch.manifest.contenders.iter().position(|other| other == name);
            let mut rows: Vec<_> = batch.contenders().collect();
            rows.sort_by_key(|row| listed(&row.contender));
            for row in rows {
                let Some(run) =
                    row.records.first().filter(|_| peers.iter().all(|peer| peer.name != row.contender))
                else {
                    continue;
                };
                let server = run.server.as_ref().map(|server| format!("{} {}", server.name, server.version));
                let digest = batch.manifest.programs.get(&row.contender).map(String::as_str);
                peers.push(Peer { name: &row.contender, summary: &run.summary, server, digest });
            }
        }
        peers
    }
}
