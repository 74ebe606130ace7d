//! How often a difference is found where there is none, and how often where there is one: simulated for the numbers of blocks
//! that people run.
//!
//! Seeds are fixed: the trials of a cell are the same in every run, and `LOCKBENCH_TRIALS` adds to them.

use harness::record::difference::{Answer, Paired, Rule, decide};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// How a run's figure strays from the true one.
#[derive(Debug, Clone, Copy)]
enum Noise {
    Normal,
    /// A run in seven was delayed by something, and only ever slower.
    Skewed,
    /// Student's t with three degrees of freedom.
    HeavyTails,
}

/// What the machine does for the length of a batch, to all alike.
#[derive(Debug, Clone, Copy)]
enum Drift {
    Steady,
    /// A third slower at the end than at the beginning.
    Slower,
}

struct Draw(ChaCha8Rng);

impl Draw {
    /// Standard normal (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.0.random::<f64>().max(f64::MIN_POSITIVE), self.0.random::<f64>());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// With a standard deviation of `sigma`.
    fn stray(&mut self, noise: Noise, sigma: f64) -> f64 {
        match noise {
            Noise::Normal => sigma * self.normal(),
            Noise::Skewed => {
                // Variance of an exponential that is there with probability p: p (2 − p).
                let late = self.0.random_bool(0.15);
                let by = -self.0.random::<f64>().max(f64::MIN_POSITIVE).ln();
                let scale = sigma / (0.15_f64 * 1.85 + 0.1).sqrt();
                scale * (0.1_f64.sqrt() * self.normal() - if late { by } else { 0.0 })
            }
            Noise::HeavyTails => {
                let chi: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
                // Its variance is 3.
                sigma / 3.0_f64.sqrt() * self.normal() / (chi / 3.0).sqrt()
            }
        }
    }
}

/// A batch of so many blocks, in which the contender is `effect` times its reference. Who goes first is drawn, and is the other
/// one in the next block, as in a batch.
fn batch(draw: &mut Draw, blocks: u32, noise: Noise, sigma: f64, drift: Drift, effect: f64) -> Paired {
    let mut later = 0;
    let pairs = (0..blocks).map(|block| {
        if block % 2 == 0 {
            later = u32::from(draw.0.random_bool(0.5));
        } else {
            later = 1 - later;
        }
        let mut run = |truth: f64, place: u32| {
            let machine = match drift {
                Drift::Steady => 0.0,
                Drift::Slower => -f64::from(2 * block + place) / f64::from(6 * blocks),
            };
            (truth.ln() + machine + draw.stray(noise, sigma)).exp()
        };
        (run(1_000.0 * effect, later), run(1_000.0, 1 - later))
    });
    Paired::of(pairs.collect::<Vec<_>>()).expect("figures above zero")
}

fn trials() -> u32 {
    std::env::var("LOCKBENCH_TRIALS")
        .map_or(4_000, |trials| trials.parse().expect("LOCKBENCH_TRIALS: a number"))
}

/// The share of batches in which any of a family is declared different.
fn found(
    blocks: u32,
    noise: Noise,
    sigma: f64,
    drift: Drift,
    effect: f64,
    family: usize,
    rule: &Rule,
) -> f64 {
    let mut draw = Draw(ChaCha8Rng::seed_from_u64(u64::from(blocks)));
    let found = (0..trials()).filter(|_| {
        let family: Vec<_> =
            (0..family).map(|_| batch(&mut draw, blocks, noise, sigma, drift, effect)).collect();
        decide(&family, rule).iter().any(|decided| decided.answer == Answer::Different)
    });
    found.count() as f64 / f64::from(trials())
}

#[test]
fn no_more_than_one_and_a_half_in_a_hundred_find_a_difference_where_there_is_none() {
    // The strictest that can be asked: every difference matters, however small.
    let all_matter = Rule { least: 0.0, ..Rule::default() };
    for noise in [Noise::Normal, Noise::Skewed, Noise::HeavyTails] {
        for drift in [Drift::Steady, Drift::Slower] {
            for (sigma, blocks) in [(0.01, 5), (0.05, 6), (0.05, 10), (0.10, 5), (0.10, 10)] {
                for family in [1, 4] {
                    let alarms = found(blocks, noise, sigma, drift, 1.0, family, &all_matter);
                    println!(
                        "{noise:?}, {drift:?}, noise {sigma}, {blocks} blocks, family of {family}: {:.2} %",
                        alarms * 100.0
                    );
                    assert!(
                        alarms <= 0.015,
                        "{noise:?} {drift:?} {sigma} {blocks} blocks, family {family}: {alarms}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_tenth_is_found_as_often_as_stated() {
    let all_matter = Rule { least: 0.0, ..Rule::default() };
    for (blocks, stated) in [(5, 0.24), (6, 0.39), (8, 0.62), (10, 0.82)] {
        let power = found(blocks, Noise::Normal, 0.05, Drift::Steady, 1.1, 1, &all_matter);
        println!("noise 0.05, {blocks} blocks: {:.0} %, stated {:.0} %", power * 100.0, stated * 100.0);
        assert!((power - stated).abs() <= 0.03, "{blocks} blocks: {power}");
    }
}
