//! `lockbench run`: every contender under the scenario's load.

use std::path::PathBuf;

use clap::Args;

use super::batch::BatchArgs;
use super::how::Aim;
use super::verb::{Example, Group, Work};

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
        self.batch.how().store()
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
    const EXAMPLES: &[Example] = &[
        ("Everybody, half a minute each", "lockbench run smoke"),
        (
            "Two candidates under your own load, three blocks",
            "lockbench run vm-lifecycle --contenders redis-fenced,etcd-cas --nodes 9 --rate 200 --blocks 3",
        ),
        ("Pauses aimed at whoever holds a key", "lockbench run holder-pause --seed 7"),
        ("The short form of a scenario", "lockbench run transfer --small --contenders transfer-2pc"),
        (
            "A sweep: one batch for each number of nodes",
            "lockbench run vm-lifecycle --nodes 1,3,9 --duration 10",
        ),
        (
            "Against a server that already runs",
            "lockbench run smoke --contenders redis-fenced --redis redis://127.0.0.1:6379",
        ),
        ("What a program reads while it goes on", "lockbench run smoke --progress json"),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        let Self { batch, until_decided } = self;
        Ok(batch.run(Aim { until_decided, ..Aim::default() }).await?.0)
    }
}
