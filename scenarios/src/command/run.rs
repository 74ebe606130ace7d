//! `lockbench run`: every contender under the scenario's load.

use std::path::PathBuf;

use clap::Args;

use super::batch::{Aim, BatchArgs};
use super::verb::{Group, Work};

/// Run a scenario and write a report.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    batch: BatchArgs,
    /// End after half of the blocks, or three quarters, if everything is told by then; the chance of a false alarm stays as it is
    /// without. Of 10 blocks where --blocks does not say otherwise.
    #[arg(long)]
    until_decided: bool,
}

impl Run {
    /// Where noise floors are kept.
    pub(super) fn store(&self) -> Option<PathBuf> {
        self.batch.store()
    }

    /// The same with every contender twice in each block. Returns the exit code, and where the batch is.
    pub(super) async fn twice(self) -> anyhow::Result<(u8, PathBuf)> {
        let Self { batch, until_decided } = self;
        batch.run(Aim { twice: true, until_decided, ..Aim::default() }).await
    }
}

impl Work for Run {
    const NAME: &str = "run";
    const GROUP: Group = Group::Measure;

    async fn work(self) -> anyhow::Result<u8> {
        let Self { batch, until_decided } = self;
        Ok(batch.run(Aim { until_decided, ..Aim::default() }).await?.0)
    }
}
