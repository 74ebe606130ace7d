//! `lockbench run`: every contender under the scenario's load.

use clap::Args;

use super::batch::{Aim, BatchArgs};
use super::verb::{Group, Work};

/// Run a scenario and write a report.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    batch: BatchArgs,
}

impl Work for Run {
    const NAME: &str = "run";
    const GROUP: Group = Group::Measure;

    async fn work(self) -> anyhow::Result<u8> {
        self.batch.run(Aim::default()).await
    }
}
