//! One batch on its way: from its manifest over its runs to its report.

use std::path::PathBuf;

use harness::record::{BatchEnd, Conclusion, End, Manifest, write_json};
use reports::Comparison;

use super::manifest::{as_it_was, manifest};
use super::print::print;
use crate::batch::{self, Batch, Ran, Show as _};
use crate::progress::Display;

/// A batch that is about to run, or to go on.
pub(super) struct Begun {
    pub(super) batch: Batch,
    pub(super) directory: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) ran: Ran,
}

impl Begun {
    /// A batch that begins, in a folder that is there.
    ///
    /// # Errors
    /// When what the bench itself costs cannot be measured, or a plan cannot be drawn.
    pub(super) async fn new(
        batch: Batch,
        directory: PathBuf,
        started: jiff::Timestamp,
        display: &Display,
    ) -> anyhow::Result<Self> {
        let (name, seed) = (&batch.scenario.spec.name, batch.seed);
        display.line(&format!("{name}, seed {seed}, into {}", directory.display()));
        for skip in &batch.skipped {
            display.line(&format!("skipped: {}: {}", skip.contender, skip.reason));
        }
        let manifest = manifest(&batch, started).await?;
        Ok(Self { batch, directory, manifest, ran: Ran::default() })
    }

    /// Runs it, and writes the report. Returns the exit code.
    ///
    /// # Errors
    /// When its folder cannot be written.
    pub(super) async fn measured(self, display: &Display) -> anyhow::Result<u8> {
        let attached = self.batch.attached.clone();
        let measured = self.runs(display).await;
        // Also after a failure or Ctrl-C.
        for kept in batch::care::give_back(&attached).await {
            display.conclude(&kept);
        }
        measured
    }

    async fn runs(self, display: &Display) -> anyhow::Result<u8> {
        if let Some(remote) = &self.batch.remote {
            tokio::select! {
                gathered = remote.gather(self.batch.scenario.spec.nodes, display) => gathered?,
                () = self.batch.stop.cancelled() => anyhow::bail!("told to end while hosts were waited for"),
            }
        }
        let neighbours = batch::twins::warnings();
        for neighbour in &neighbours {
            display.line(neighbour);
        }
        let Self { batch, directory, mut manifest, mut ran } = self;
        manifest.threats.extend(neighbours);
        manifest.end = None;
        write_json(&directory.join("manifest.json"), &manifest)?;
        // What ran before a failure is kept; the batch as a whole proves nothing.
        let failure = batch.run(&directory, display, &mut ran).await.err();
        as_it_was(&batch, &ran, &mut manifest)?;
        let Ran { records, failed, .. } = ran;
        manifest.failed = failed;
        let end = match &failure {
            _ if batch.stop.is_cancelled() => BatchEnd::Interrupted,
            Some(error) => BatchEnd::Failed(format!("{error:#}")),
            None => BatchEnd::Complete,
        };
        let comparison = Comparison::new(manifest.clone(), records);
        let Conclusion { exit_code, reasons, .. } = comparison.concluded(&end);
        let ended_utc = jiff::Timestamp::now().to_string();
        manifest.end = Some(End { exit_code, reasons: reasons.clone(), ended_utc });
        write_json(&directory.join("manifest.json"), &manifest)?;
        if !comparison.rows.is_empty() || !comparison.probes.is_empty() {
            let files = reports::write_all(&directory)?;
            print(&reports::terminal_table(&reports::load(&directory)?));
            if let Some(page) =
                files.iter().find(|file| file.extension().is_some_and(|ending| ending == "html"))
            {
                print(&format!("report: {}", page.display()));
            }
        }
        for reason in &reasons {
            display.conclude(reason);
        }
        Ok(exit_code)
    }
}
