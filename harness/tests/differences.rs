//! How often a difference is found where there is none, and how often where there is one: simulated for the numbers of blocks
//! that people run.
//!
//! Seeds are fixed: the trials of a cell are the same in every run, and `LOCKBENCH_TRIALS` adds to them.

use harness::record::change_points;
use harness::record::difference::{Answer, Looks, Ratio, Rule, decide};
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

/// The pairs of a batch of so many blocks, in which the contender is `effect` times its reference. Who goes first is drawn, and is
/// the other one in the next block, as in a batch.
fn pairs(
    draw: &mut Draw,
    blocks: u32,
    noise: Noise,
    sigma: f64,
    drift: Drift,
    effect: f64,
) -> Vec<(f64, f64)> {
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
    pairs.collect()
}

fn batch(draw: &mut Draw, blocks: u32, noise: Noise, sigma: f64, drift: Drift, effect: f64) -> Ratio {
    Ratio::paired(pairs(draw, blocks, noise, sigma, drift, effect)).expect("figures above zero")
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

/// The share of batches that end with a difference, and the blocks that they took at the mean, where each may end at any of these
/// looks once everything is told.
fn found_early(
    looks: &Looks,
    noise: Noise,
    sigma: f64,
    drift: Drift,
    effect: f64,
    family: usize,
    rule: &dyn Fn(u32) -> Rule,
) -> (f64, f64) {
    let most = *looks.at().last().expect("a look at the end");
    let mut draw = Draw(ChaCha8Rng::seed_from_u64(u64::from(most) << 8));
    let (mut different, mut taken) = (0, 0);
    for _ in 0..trials() {
        let family: Vec<_> =
            (0..family).map(|_| pairs(&mut draw, most, noise, sigma, drift, effect)).collect();
        for at in looks.at() {
            let until_now = |pairs: &Vec<(f64, f64)>| {
                Ratio::paired(pairs[..*at as usize].iter().copied()).expect("figures above zero")
            };
            let decided = decide(&family.iter().map(until_now).collect::<Vec<_>>(), &rule(*at));
            let all_told = decided.iter().all(|decided| decided.answer != Answer::CannotTell);
            if all_told || *at == most {
                different += u32::from(decided.iter().any(|decided| decided.answer == Answer::Different));
                taken += at;
                break;
            }
        }
    }
    (f64::from(different) / f64::from(trials()), f64::from(taken) / f64::from(trials()))
}

#[test]
fn a_batch_that_may_end_early_finds_no_more_where_there_is_nothing() {
    let all_matter = Rule { least: 0.0, ..Rule::default() };
    for noise in [Noise::Normal, Noise::Skewed, Noise::HeavyTails] {
        for drift in [Drift::Steady, Drift::Slower] {
            for (sigma, most) in [(0.01, 6), (0.01, 10), (0.05, 10), (0.05, 20), (0.10, 10), (0.10, 20)] {
                for family in [1, 4] {
                    let looks = Looks::planned(most);
                    let rule = |at| looks.rule(at, &all_matter);
                    let (alarms, _) = found_early(&looks, noise, sigma, drift, 1.0, family, &rule);
                    println!(
                        "{noise:?}, {drift:?}, noise {sigma}, at most {most} blocks, family of {family}: {:.2} %",
                        alarms * 100.0
                    );
                    assert!(alarms <= 0.015, "{noise:?} {drift:?} {sigma} {most}, family {family}: {alarms}");
                }
            }
        }
    }
}

#[test]
fn whoever_looks_after_each_block_with_the_whole_error_finds_too_much() {
    let all_matter = Rule { least: 0.0, ..Rule::default() };
    let each = Looks::of(&(4..=20).collect::<Vec<_>>());
    let (alarms, _) = found_early(&each, Noise::Normal, 0.10, Drift::Steady, 1.0, 1, &|_| all_matter);
    println!("a look after each of 20 blocks: {:.2} %", alarms * 100.0);
    assert!(alarms > 0.03, "{alarms}: the simulation sees what looks cost");
}

#[test]
fn a_large_difference_ends_a_batch_early_and_a_small_one_is_still_found() {
    let looks = Looks::planned(10);
    let rule = |at| looks.rule(at, &Rule::default());
    let (power, blocks) = found_early(&looks, Noise::Normal, 0.01, Drift::Steady, 1.3, 1, &rule);
    println!("noise 0.01, 30 %: found in {:.0} %, after {blocks:.1} blocks", power * 100.0);
    assert!(power > 0.999 && blocks < 6.0, "{power} {blocks}");
    // Beside 82 % of a batch that always runs to its end: what the looks cost.
    let (power, blocks) = found_early(&looks, Noise::Normal, 0.05, Drift::Steady, 1.1, 1, &rule);
    println!("noise 0.05, 10 %: found in {:.0} %, after {blocks:.1} blocks", power * 100.0);
    assert!(power > 0.65, "{power}");
}

/// A series of figures that is `times` as high from `at` on.
fn history(draw: &mut Draw, length: usize, at: usize, times: f64, noise: Noise, sigma: f64) -> Vec<f64> {
    let level = |place: usize| if place < at { 0.0 } else { times.ln() };
    (0..length).map(|place| level(place) + draw.stray(noise, sigma)).collect()
}

/// Histories are longer to judge than batches, so there are fewer of them.
fn histories() -> u32 {
    (trials() / 10).max(200)
}

#[test]
fn no_more_than_five_in_a_hundred_flat_histories_have_a_change() {
    for noise in [Noise::Normal, Noise::Skewed, Noise::HeavyTails] {
        for length in [20, 60] {
            let mut draw = Draw(ChaCha8Rng::seed_from_u64(length as u64));
            let found = (0..histories()).filter(|seed| {
                !change_points(&history(&mut draw, length, 0, 1.0, noise, 0.05), u64::from(*seed)).is_empty()
            });
            let share = found.count() as f64 / f64::from(histories());
            println!("{noise:?}, {length} commits: {:.1} %", share * 100.0);
            assert!(share <= 0.05, "{noise:?} {length}: {share}");
        }
    }
}

#[test]
fn a_change_is_found_at_the_commit_that_made_it() {
    for noise in [Noise::Normal, Noise::Skewed, Noise::HeavyTails] {
        for (at, times) in [(20, 1.25), (30, 0.8)] {
            let mut draw = Draw(ChaCha8Rng::seed_from_u64(at as u64));
            let (mut found, mut exactly) = (0, 0);
            for seed in 0..60 {
                let points = change_points(&history(&mut draw, 40, at, times, noise, 0.05), seed);
                found += u32::from(points.iter().any(|point| point.at.abs_diff(at) <= 1));
                exactly += u32::from(points.iter().any(|point| point.at == at));
            }
            println!(
                "{noise:?}, {times} times from commit {at} on: found in {found}, exactly in {exactly} of 100"
            );
            // Its size is four to five times the noise of one batch.
            assert!(found >= 57 && exactly >= 51, "{noise:?} {at} {times}: {found}, {exactly}");
        }
    }
}

#[test]
fn several_changes_are_each_found() {
    let mut draw = Draw(ChaCha8Rng::seed_from_u64(3));
    let mut all = 0;
    for seed in 0..40 {
        let mut series = history(&mut draw, 60, 20, 1.3, Noise::Normal, 0.05);
        series[40..].iter_mut().for_each(|value| *value -= 1.3_f64.ln());
        let found = change_points(&series, seed);
        let near = |at: usize| found.iter().any(|point| point.at.abs_diff(at) <= 1);
        all += u32::from(near(20) && near(40) && found.len() <= 3);
    }
    assert!(all >= 38, "{all} of 40");
}
