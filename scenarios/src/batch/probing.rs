//! The order of a batch that looks for capacities: in each block the probes of all contenders by turns, then every contender
//! once at one rate for all.

use std::time::Duration;

use harness::record::capacity::{carried, excess_p99_ns, missed};
use harness::record::{Role, RunRecord, ServiceLevel, Skipped};
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use harness::model::splitmix;

use super::budget::Budget;
use super::order::{At, Order, Turn, has_failed, next_of_block, orders};
use super::search::{MOST_PROBES, NEAR, NEAR_A_CEILING, Seen, around, climb};

/// The part of the least capacity at which latencies are compared: all carry that with ease.
const HEALTHY: f64 = 0.5;

/// The part of the limit below which the 99th percentile of a rate that was met easily lies.
const EASILY: f64 = 0.1;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Probing {
    pub(super) names: Vec<&'static str>,
    /// Of each: whether its capacity is looked for. A control that must be caught has none.
    pub(super) probed: Vec<bool>,
    /// Of each: whether it is compared. A ceiling is compared with nobody, so that one block of its probes is enough.
    pub(super) compared: Vec<bool>,
    pub(super) level: ServiceLevel,
    /// Where the first search begins.
    pub(super) start_per_s: f64,
    pub(super) blocks: u32,
    pub(super) seed: u64,
}

impl Order for Probing {
    fn next(&self, done: &[RunRecord], failed: &[Skipped]) -> Option<Turn> {
        let orders = orders(self.names.len(), self.blocks as usize, self.seed);
        (1..=self.blocks).zip(orders).find_map(|(block, order)| {
            if let Some(probe) = self.next_probe(block, done, failed) {
                return Some(probe);
            }
            let contender = next_of_block(&self.names, &order, block, done, failed)?;
            Some(Turn { contender, block, at: At::Rate(self.healthy(done)) })
        })
    }
}

impl Probing {
    /// Whoever has had the fewest probes of the block has the next turn; among these it is drawn.
    fn next_probe(&self, block: u32, done: &[RunRecord], failed: &[Skipped]) -> Option<Turn> {
        let of_block = || done.iter().filter(|run| run.block == block);
        let probes = of_block().filter(|run| run.probe.is_some()).count() as u64;
        let mut rng = ChaCha8Rng::seed_from_u64(splitmix(self.seed ^ u64::from(block) << 32 ^ probes));
        let mut places: Vec<usize> = (0..self.names.len()).filter(|place| self.probed[*place]).collect();
        places.retain(|place| !has_failed(failed, self.names[*place]));
        places.shuffle(&mut rng);
        let had = |place: &usize| {
            of_block().filter(|run| run.probe.is_some() && run.contender == self.names[*place]).count()
        };
        places.sort_by_key(had);
        let jitter = rng.random_range(-1.0..=1.0);
        places.into_iter().find_map(|contender| {
            let rate = self.next_rate(contender, block, done, jitter)?;
            let missed =
                |run: &RunRecord| run.probe.is_some_and(|probe| missed(&self.level, run, &probe).is_some());
            let brief =
                block == 1 && !of_block().any(|run| run.contender == self.names[contender] && missed(run));
            Some(Turn { contender, block, at: At::Probe { rate, brief } })
        })
    }

    fn next_rate(&self, contender: usize, block: u32, done: &[RunRecord], jitter: f64) -> Option<f64> {
        let own = || done.iter().filter(|run| run.contender == self.names[contender]);
        let probes = || own().filter(|run| run.block == block && run.probe.is_some());
        // On a machine that is always busy with others nothing is found.
        if probes().count() >= MOST_PROBES {
            return None;
        }
        let seen = probes().filter(|run| run.invalid.is_empty()).filter_map(|run| {
            let probe = run.probe?;
            Some(Seen {
                rate: probe.rate_per_s,
                met: missed(&self.level, run, &probe).is_none(),
                easily: excess_p99_ns(run, &probe) < EASILY * self.level.excess_ns as f64,
            })
        });
        let seen: Vec<Seen> = seen.collect();
        if block == 1 {
            let near = if self.compared[contender] { NEAR } else { NEAR_A_CEILING };
            return climb(&seen, self.start_per_s, near);
        }
        if !self.compared[contender] {
            return None;
        }
        let before: Vec<RunRecord> = own().filter(|run| run.block < block).cloned().collect();
        around(&seen, carried(&self.level, 1, &[&before]).first()?.per_s()?, jitter)
    }

    /// The rate at which latencies are compared: half of what the least of the contenders carried in the first block, in two
    /// digits; that of the scenario where no capacity was found.
    pub(super) fn healthy(&self, done: &[RunRecord]) -> f64 {
        let of = |name: &&'static str| {
            let own = done.iter().filter(|run| run.block == 1 && run.contender == *name);
            let own: Vec<RunRecord> = own.filter(|run| run.role == Role::Contender).cloned().collect();
            carried(&self.level, 1, &[&own]).first()?.per_s()
        };
        let least = self.names.iter().filter_map(of).reduce(f64::min);
        least.map_or(self.start_per_s, |rate| two_digits(HEALTHY * rate))
    }

    /// How many turns a block has that is not the first, about.
    pub(super) fn turns_of_a_block(&self) -> usize {
        self.names.len() + 4 * self.compared.iter().filter(|compared| **compared).count()
    }

    /// The same, within so much time.
    pub(super) fn within(&self, given: Duration) -> Budget {
        Budget {
            given,
            blocks: self.blocks,
            searched: self.probed.iter().filter(|probed| **probed).count(),
            turns_of_a_block: self.turns_of_a_block(),
        }
    }
}

fn two_digits(rate: f64) -> f64 {
    let unit = 10_f64.powf(rate.log10().floor() - 1.0);
    // Down, so that a capacity of 199 is not compared at its half and more.
    (rate / unit).floor() * unit
}

#[cfg(test)]
mod tests;
