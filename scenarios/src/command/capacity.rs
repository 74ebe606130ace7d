//! `lockbench capacity`: how much each contender carries.

use std::time::Duration;

use clap::Args;

use super::batch::{Aim, BatchArgs};
use super::verb::{Group, Work};

/// Find the highest rate that each contender carries, and compare their latencies at one that all carry.
///
/// A rate is carried when the scenario's service level is met (`service_level`): the 99th percentile of what tasks take beyond their own
/// planned work, the part of those due in time that complete within the window, and nothing failed. The first block goes up by
/// half from the scenario's rate until one is missed, then half-way until 5 % are left; later blocks probe around what was
/// found. Each block ends with a run of every contender at half the least capacity.
#[derive(Debug, Args)]
pub(super) struct Capacity {
    #[command(flatten)]
    batch: BatchArgs,
    /// The most that tasks may take beyond their own work, at the 99th percentile, instead of the scenario's.
    #[arg(long, value_name = "MS", allow_negative_numbers = true)]
    limit: Option<f64>,
    /// How long it may take, about: no block begins that would probably end later. `90s`, `10m`, `1h`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    budget: Option<Duration>,
}

fn time(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "must be a time such as 90s, 10m or 1h".to_owned())?;
    let span = Duration::try_from(span).map_err(|_| "must not be negative".to_owned())?;
    if span.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(span) }
}

impl Work for Capacity {
    const NAME: &str = "capacity";
    const GROUP: Group = Group::Measure;

    async fn work(self) -> anyhow::Result<u8> {
        let Self { batch, limit, budget } = self;
        let limit = limit.map(|ms| ("service_level.p99_ms".to_owned(), toml::Value::Float(ms).to_string()));
        Ok(batch.with(limit).run(Aim { capacity: true, budget, ..Aim::default() }).await?.0)
    }
}
