//! The order of a batch that looks for capacities: in each block the probes of all contenders by turns, then every contender
//! once at one rate for all.

use std::time::Duration;

use harness::record::capacity::{MAY_BE_LATE, Missed, carried, excess_p99_ns, missed};
use harness::record::{Role, RunRecord, ServiceLevel, Skipped};
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use harness::model::splitmix;

use super::budget::Budget;
use super::order::{At, Order, Turn, has_failed, next_of_block, orders};
use super::search::{MOST_PROBES, NEAR, NEAR_A_CEILING, Seen, around, beyond, climb, sides};

/// The part of the least capacity at which latencies are compared: all carry that with ease.
const HEALTHY: f64 = 0.5;

/// The part of the limit below which the 99th percentile of a rate that was met easily lies.
const EASILY: f64 = 0.1;

/// The part of all tasks, as times of what may be, up to which being late is a narrow miss.
const NARROWLY: f64 = 2.0;

/// So many times what nobody carries is far above what a ceiling holds back.
const FAR_ABOVE: f64 = 2.0;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Probing {
    pub(super) names: Vec<&'static str>,
    /// Of each: whether its capacity is looked for. A control that must be caught has none.
    pub(super) probed: Vec<bool>,
    /// Of each: whether it is compared. A ceiling is compared with nobody, so that one block of its probes is enough.
    pub(super) compared: Vec<bool>,
    /// Of each: whether a block without it proves nothing.
    pub(super) proves: Vec<bool>,
    /// Whether time is short: a ceiling is then told as far as anybody comes near to it, and runs in the first block alone.
    pub(super) hurried: bool,
    /// Whether latencies are compared elsewhere, as in a review: who runs at the common rate does so in the first block alone, and its
    /// search ends sooner, which leaves more blocks to tell how much capacities stray.
    pub(super) alone: bool,
    pub(super) level: ServiceLevel,
    /// Where the first search begins.
    pub(super) start_per_s: f64,
    pub(super) blocks: u32,
    pub(super) seed: u64,
}

impl Order for Probing {
    fn next(&self, done: &[RunRecord], failed: &[Skipped]) -> Option<Turn> {
        let orders = orders(self.names.len(), self.blocks as usize, self.seed);
        (1..=self.blocks).zip(orders).find_map(|(block, mut order)| {
            order.retain(|place| block == 1 || self.runs_always(*place));
            if let Some(probe) = self.next_probe(block, done, failed) {
                return Some(probe);
            }
            let contender = next_of_block(&self.names, &order, block, done, failed)?;
            Some(Turn { contender, block, at: At::Rate(self.healthy(done)) })
        })
    }
}

impl Probing {
    /// Whether it runs at the common rate in every block.
    fn runs_always(&self, contender: usize) -> bool {
        !self.alone && (!self.hurried || self.compared[contender] || self.proves[contender])
    }

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
        let seen = self.seen(contender, block, done);
        if block == 1 {
            let near = if self.compared[contender] && !self.alone { NEAR } else { NEAR_A_CEILING };
            if self.hurried && !self.compared[contender] && self.is_far_above(&seen, done) {
                return None;
            }
            return climb(&seen, self.start_per_s, near);
        }
        if !self.compared[contender] {
            return None;
        }
        let before: Vec<RunRecord> = own().filter(|run| run.block < block).cloned().collect();
        around(&seen, carried(&self.level, 1, &[&before]).first()?.per_s()?, jitter)
    }

    /// What its probes of a block have told.
    fn seen(&self, contender: usize, block: u32, done: &[RunRecord]) -> Vec<Seen> {
        let own = done.iter().filter(|run| run.contender == self.names[contender] && run.block == block);
        let seen = own.filter(|run| run.invalid.is_empty()).filter_map(|run| {
            let probe = run.probe?;
            let missed = missed(&self.level, run, &probe);
            Some(Seen {
                rate: probe.rate_per_s,
                met: missed.is_none(),
                easily: excess_p99_ns(run, &probe) < EASILY * self.level.excess_ns as f64,
                narrowly: matches!(missed, Some(Missed::Late(part)) if part < NARROWLY * MAY_BE_LATE),
            })
        });
        seen.collect()
    }

    /// Whether a ceiling carries far more than anybody who is compared has missed so far, or than the next step of who has missed nothing.
    fn is_far_above(&self, ceiling: &[Seen], done: &[RunRecord]) -> bool {
        let compared = (0..self.names.len()).filter(|place| self.compared[*place]);
        let most = compared.filter_map(|place| beyond(&self.seen(place, 1, done))).reduce(f64::max);
        sides(ceiling).0.zip(most).is_some_and(|(carried, most)| carried >= FAR_ABOVE * most)
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
    pub(super) fn turns_of_a_block(&self) -> f64 {
        self.within(Duration::ZERO).turns_of_a_block()
    }

    /// The same, within so much time.
    pub(super) fn within(&self, given: Duration) -> Budget {
        let count = |of: &dyn Fn(usize) -> bool| (0..self.names.len()).filter(|place| of(*place)).count();
        Budget {
            given,
            blocks: self.blocks,
            compared: count(&|place| self.probed[place] && self.compared[place]),
            ceilings: count(&|place| self.probed[place] && !self.compared[place]),
            runs_of_the_first: self.names.len(),
            runs_of_a_block: count(&|place| self.runs_always(place)),
            least_tasks_s: self.level.least_tasks as f64 / self.start_per_s,
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
