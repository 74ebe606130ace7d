//! `lockbench capacity`: how much each contender carries.

use std::time::Duration;

use clap::Args;

use super::batch::BatchArgs;
use super::how::{Aim, time};
use super::verb::{Example, Group, Work};

/// Find the highest rate that each contender carries, and compare their latencies at one that all carry.
///
/// A rate is carried when the scenario's service level is met (`service_level`): the 99th percentile of what tasks take beyond their own
/// planned work, the part of those due in time that complete within the window, and nothing failed. The first block goes up by
/// half from the scenario's rate (twice that from a rate met with nine tenths of the limit to spare) until one is missed, then half-way
/// until 5 % are left; later blocks probe around what was found. Each block ends with a run of every contender at half the least capacity.
#[derive(Debug, Args)]
pub(super) struct Capacity {
    #[command(flatten)]
    batch: BatchArgs,
    /// The most that tasks may take beyond their own work, at the 99th percentile, instead of the scenario's.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    limit: Option<f64>,
    /// How long it may take, about: after the first, no block begins that would probably end later. Three blocks make an interval;
    /// what is to be expected of a budget is told before the first run. `90s`, `10m`, `1h`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    budget: Option<Duration>,
}

impl Work for Capacity {
    const NAME: &str = "capacity";
    const GROUP: Group = Group::Measure;
    const EXAMPLES: &[Example] = &[
        ("How much each carries, in about ten minutes", "lockbench capacity capacity-spread --budget 10m"),
        (
            "Of two, at a limit of your own",
            "lockbench capacity capacity-hot --contenders pg-mux,zk-seq --limit 20",
        ),
    ];

    async fn work(self) -> anyhow::Result<u8> {
        let Self { batch, limit, budget } = self;
        let limit = limit.map(|ms| ("service_level.p99_ms".to_owned(), toml::Value::Float(ms).to_string()));
        Ok(batch.with(limit).run(Aim { capacity: true, budget, ..Aim::default() }).await?.0)
    }
}
