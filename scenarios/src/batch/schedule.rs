//! The order of a batch: every contender in every block, in a seeded random order that the next block has in reverse.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use harness::model::{Plan, splitmix};
use harness::record::{RunRecord, Skipped, Tally};
use harness::servers::default_root;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::decided::decided;
use super::disks::Disks;
use super::lateness::only_busy;
use super::place::Place;
use super::show::Show;
use super::store::store;
use super::twins;
use super::wanted::Batch;
use crate::contenders::Contender;
use crate::workload::{self, block_seed};

/// How many runs of a block, at most, are repeated because the machine was busy with others. Where more are late than that, the
/// batch says so.
const MOST_REPEATS_PER_BLOCK: u32 = 2;

impl Batch {
    /// The plan of a block, from 1, drawn anew each time: no block's is held while another runs.
    ///
    /// # Errors
    /// When the scenario cannot be run as it is.
    pub fn plan(&self, block: u32) -> anyhow::Result<Arc<Plan>> {
        Ok(Arc::new(workload::draw(&self.scenario, block_seed(self.seed, block))?))
    }

    /// The only step that may refuse: draws the plan of every block. Nothing is written before it has passed.
    ///
    /// # Errors
    /// When the scenario cannot be run as it is.
    pub fn can_be_drawn(&self) -> anyhow::Result<()> {
        (1..=self.scenario.spec.blocks).try_for_each(|block| self.plan(block).map(drop))
    }

    /// Runs everything into the directory. Each run's record is on disk, and in `records`, before the next run begins. Whoever
    /// cannot be run (no server, no session, a panic) is in `failed` and left out of the blocks to come; the others go on.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub async fn run(
        &self,
        directory: &Path,
        show: &dyn Show,
        records: &mut Vec<RunRecord>,
        failed: &mut Vec<Skipped>,
    ) -> anyhow::Result<()> {
        let disks = Disks::below(vec![directory.to_owned(), default_root(self.scenario.spec.durability)]);
        let blocks = self.scenario.spec.blocks;
        let orders = orders(self.contenders.len(), blocks as usize, self.seed);
        for (block, order) in (1..=blocks).zip(orders) {
            let plan = &self.plan(block)?;
            let mut repeats_left = MOST_REPEATS_PER_BLOCK;
            for contender in order.into_iter().map(|place| &self.contenders[place]) {
                if failed.iter().any(|failed| failed.contender == contender.name) {
                    continue;
                }
                let place = Place { block, order: records.len() as u32 };
                let again = &mut repeats_left;
                match self.until_in_time(contender, place, plan, (directory, &disks), show, again).await? {
                    Ended::Measured(record) => records.push(*record),
                    Ended::Failed(reason) => {
                        show.end(&reason);
                        let contender = contender.name.to_owned();
                        failed.push(Skipped { contender, reason });
                    }
                    Ended::Stopped => return Ok(()),
                }
            }
            if let (Some(looks), Some(reference)) = (&self.looks, self.reference())
                && decided(records, reference, looks, block)
            {
                show.line(&format!("after block {block} of {blocks} everything is told: the batch ends"));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Runs a contender, and again where the machine was too busy with others and there are repeats left; stores each run.
    async fn until_in_time(
        &self,
        contender: &Contender,
        place: Place,
        plan: &Arc<Plan>,
        (directory, disks): (&Path, &Disks),
        show: &dyn Show,
        repeats_left: &mut u32,
    ) -> anyhow::Result<Ended> {
        let mut repeated = Vec::new();
        loop {
            if self.stop.is_cancelled() {
                return Ok(Ended::Stopped);
            }
            if let Some(low) = disks.low() {
                return Ok(Ended::Failed(format!("could not be run in {place}: {low}")));
            }
            let mut neighbours = twins::warnings();
            let cut = self.stop.child_token();
            let running = self.one(contender, place, plan, directory, show, cut.clone());
            let mut running = std::pin::pin!(AssertUnwindSafe(running).catch_unwind());
            let (done, low) = tokio::select! {
                biased;
                done = &mut running => (done, None),
                low = disks.run_low() => {
                    cut.cancel();
                    (running.await, Some(low))
                }
            };
            let (run, mut record) = match done {
                Ok(Ok(done)) => done,
                Ok(Err(_)) | Err(_) if self.stop.is_cancelled() => return Ok(Ended::Stopped),
                Ok(Err(error)) => {
                    return Ok(Ended::Failed(format!("could not be run in {place}: {error:#}")));
                }
                Err(panic) => return Ok(Ended::Failed(format!("panicked in {place}: {}", words(&*panic)))),
            };
            if self.stop.is_cancelled() {
                // Cut short: its figures would be wrong.
                show.end("interrupted");
                return Ok(Ended::Stopped);
            }
            record.invalid.extend(low.map(|low| format!("cut short: {low}")));
            neighbours.extend(twins::warnings());
            neighbours.sort_unstable();
            neighbours.dedup();
            record.warnings.append(&mut neighbours);
            let repeat = *repeats_left > 0 && only_busy(&record);
            let record = RunRecord { repeated: repeated.clone(), ..record };
            let folder = match repeat {
                true => format!("late/{}-{}-{}", place.block, contender.name, repeated.len() + 1),
                false => format!("{}-{}", place.block, contender.name),
            };
            store(&directory.join(&folder), &run, &record)?;
            show.end(&end_line(&record, repeat));
            if !repeat {
                return Ok(Ended::Measured(Box::new(record)));
            }
            *repeats_left -= 1;
            repeated.push(format!("{}; kept in {folder}", record.invalid.join("; ")));
        }
    }
}

/// How a contender's turn in a block ended.
enum Ended {
    Measured(Box<RunRecord>),
    /// It could not be run, and why.
    Failed(String),
    /// The batch was stopped.
    Stopped,
}

/// What a panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words")
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

/// In which order each block has its contenders: drawn, and in the next block the other way round, so that a machine that
/// grows slower favours nobody for being early.
fn orders(contenders: usize, blocks: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(splitmix(seed ^ u64::MAX));
    let mut orders: Vec<Vec<usize>> = Vec::with_capacity(blocks);
    for block in 0..blocks {
        let mut order: Vec<usize> = (0..contenders).collect();
        if block % 2 == 0 {
            order.shuffle(&mut rng);
        } else {
            order.clone_from(&orders[block - 1]);
            order.reverse();
        }
        orders.push(order);
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_block_has_the_order_of_the_one_before_in_reverse() {
        let drawn = orders(5, 4, 7);
        assert_eq!(drawn, orders(5, 4, 7));
        for pair in drawn.chunks(2) {
            assert!(pair[0].iter().eq(pair[1].iter().rev()), "{pair:?}");
        }
        assert_ne!(drawn[0], drawn[2]);
        assert_ne!(drawn, orders(5, 4, 8));
    }
}
