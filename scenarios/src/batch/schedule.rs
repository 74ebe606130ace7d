//! The order of a batch: every contender in every block, in seeded random order.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use harness::model::{Plan, splitmix};
use harness::record::{RunRecord, Tally};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::lateness::only_busy;
use super::place::Place;
use super::show::Show;
use super::store::store;
use super::wanted::Batch;
use crate::contenders::Contender;
use crate::workload::{self, block_seed};

/// How many runs of a block, at most, are repeated because the machine was busy with others. Where more are late than that, the
/// batch says so.
const MOST_REPEATS_PER_BLOCK: u32 = 2;

impl Batch {
    /// Plans of all blocks; the only step that may refuse. Nothing is written before it has passed.
    ///
    /// # Errors
    /// When the scenario cannot be run as it is.
    pub fn plans(&self) -> anyhow::Result<Vec<Arc<Plan>>> {
        let seeds = (1..=self.scenario.spec.blocks).map(|block| block_seed(self.seed, block));
        seeds.map(|seed| Ok(Arc::new(workload::draw(&self.scenario, seed)?))).collect()
    }

    /// Runs everything into the directory. Each run's record is on disk, and in `records`, before the next run begins.
    ///
    /// # Errors
    /// When a server or a session cannot be had, or the directory cannot be written.
    pub async fn run(
        &self,
        plans: &[Arc<Plan>],
        directory: &Path,
        show: &dyn Show,
        records: &mut Vec<RunRecord>,
    ) -> anyhow::Result<()> {
        let mut rng = ChaCha8Rng::seed_from_u64(splitmix(self.seed ^ u64::MAX));
        for (block, plan) in plans.iter().enumerate() {
            let mut order: Vec<_> = self.contenders.iter().collect();
            order.shuffle(&mut rng);
            let mut repeats_left = MOST_REPEATS_PER_BLOCK;
            for contender in order {
                let place = Place { block: block as u32 + 1, order: records.len() as u32 };
                let again = &mut repeats_left;
                let done = self.until_in_time(contender, place, plan, directory, show, again).await?;
                let Some(record) = done else { return Ok(()) };
                records.push(record);
            }
        }
        Ok(())
    }

    /// Runs a contender, and again where the machine was too busy with others and there are repeats left; stores each run.
    /// `None`: the batch was stopped.
    async fn until_in_time(
        &self,
        contender: &Contender,
        place: Place,
        plan: &Arc<Plan>,
        directory: &Path,
        show: &dyn Show,
        repeats_left: &mut u32,
    ) -> anyhow::Result<Option<RunRecord>> {
        let mut repeated = Vec::new();
        loop {
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            let done = self.one(contender, place, plan, show).await;
            let (run, record) = done.with_context(|| format!("{} in {place}", contender.name))?;
            if self.stop.is_cancelled() {
                // Cut short: its figures would be wrong.
                show.end("interrupted");
                return Ok(None);
            }
            let repeat = *repeats_left > 0 && only_busy(&record);
            let record = RunRecord { repeated: repeated.clone(), ..record };
            let folder = match repeat {
                true => format!("late/{}-{}-{}", place.block, contender.name, repeated.len() + 1),
                false => format!("{}-{}", place.block, contender.name),
            };
            store(&directory.join(&folder), &run, &record)?;
            show.end(&end_line(&record, repeat));
            if !repeat {
                return Ok(Some(record));
            }
            *repeats_left -= 1;
            repeated.push(format!("{}; kept in {folder}", record.invalid.join("; ")));
        }
    }
}

fn end_line(record: &RunRecord, repeat: bool) -> String {
    let end = match (record.invalid.is_empty(), repeat) {
        (true, _) => "",
        (false, true) => ", the machine was too busy: once more",
        (false, false) => ", INVALID",
    };
    let Tally { completed, planned, .. } = record.tasks;
    format!("{:>6.1} tasks/s, {completed} of {planned} completed{end}", record.goodput_per_s)
}
