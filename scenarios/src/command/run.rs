//! `lockbench run`: every contender under the scenario's load.

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

impl Work for Run {
    const NAME: &str = "run";
    const GROUP: Group = Group::Measure;

    async fn work(self) -> anyhow::Result<u8> {
        let aim = Aim { until_decided: self.until_decided, ..Aim::default() };
        Ok(self.batch.run(aim).await?.0)
    }
}
