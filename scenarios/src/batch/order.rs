//! What a batch does next. An answer depends on the records so far alone, so that a batch that was stopped can be taken up again
//! where it was.

use harness::record::{RunRecord, Skipped};
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use harness::model::splitmix;

/// One run of a contender.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Turn {
    /// Its place among the contenders of the batch.
    pub(super) contender: usize,
    pub(super) block: u32,
    pub(super) at: At,
}

/// Under which load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum At {
    /// That of the scenario.
    Scenario,
    /// At this rate, tasks per second; judged as a run of the scenario.
    Rate(f64),
    /// At this rate, to see whether the service level is met; only for half as long while nothing has been missed yet, since the search
    /// goes on anyway.
    Probe { rate: f64, brief: bool },
}

/// The order of the runs of a batch.
pub(super) trait Order: Send + Sync {
    /// The next run; `None`: all is done. Contenders that failed have none.
    fn next(&self, done: &[RunRecord], failed: &[Skipped]) -> Option<Turn>;
}

/// Every contender once in every block.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) names: Vec<&'static str>,
    pub(super) blocks: u32,
    pub(super) seed: u64,
}

impl Order for Blocks {
    fn next(&self, done: &[RunRecord], failed: &[Skipped]) -> Option<Turn> {
        let orders = orders(self.names.len(), self.blocks as usize, self.seed);
        (1..=self.blocks).zip(orders).find_map(|(block, order)| {
            let contender = next_of_block(&self.names, &order, block, done, failed)?;
            Some(Turn { contender, block, at: At::Scenario })
        })
    }
}

/// The first in the order of a block that has not run there.
pub(super) fn next_of_block(
    names: &[&'static str],
    order: &[usize],
    block: u32,
    done: &[RunRecord],
    failed: &[Skipped],
) -> Option<usize> {
    let ran = |name: &str| {
        done.iter().any(|run| run.block == block && run.contender == name && run.probe.is_none())
            || has_failed(failed, name)
    };
    order.iter().copied().find(|place| !ran(names[*place]))
}

pub(super) fn has_failed(failed: &[Skipped], name: &str) -> bool {
    failed.iter().any(|failed| failed.contender == name)
}

/// In which order each block has its contenders: drawn, and in the next block the other way round, so that a machine that
/// grows slower favours nobody for being early.
pub(super) fn orders(contenders: usize, blocks: usize, seed: u64) -> Vec<Vec<usize>> {
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
