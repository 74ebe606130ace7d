//! Whether a run was steady, from its figures slice by slice: how much of its beginning is still warm-up, and whether it went up or
//! down all along.
//!
//! The cut is White's marginal standard error rule over means of five (MSER-5; White, An effective truncation heuristic for bias
//! reduction in simulation output, 1997): what is left out is what makes the error of the mean of the rest the least. The trend is
//! Mann's (Nonparametric tests against trend, 1945; Kendall's tau), over means of so many slices that hardly anything connects
//! neighbours. Both are of logarithms, since waits stray in proportion to themselves. How often they alarm where nothing changes is
//! simulated in `tests/steady.rs`.

use super::run::SLICE_NS;

/// What the slices of a run tell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steadiness {
    /// Where the run is warm by the data, in ns from its beginning; 0 = from its beginning on.
    pub cut_ns: u64,
    /// How many times as high (or low) the figure was before the cut as it is after it, where that is more than chance does: the
    /// warm-up was too short.
    pub cold: Option<f64>,
    /// How many times as high the figure is at the end as at the beginning (after the cut, where it was cold), where it rises or falls
    /// all along.
    pub drift: Option<f64>,
}

/// Slices without which nothing is told.
const FEWEST: usize = 20;

/// Slices of one mean, where there are enough for ten means of as many.
const BATCH: usize = 5;

/// How likely a steady run is to alarm, at most, in either way.
const ALPHA: f64 = 0.005;

/// Means that the trend is of, at most.
const TREND_MEANS: usize = 10;

/// The least change that is worth telling, either way.
const MATTERS: f64 = 1.25;

impl Steadiness {
    /// Of the mean of a figure in each slice of [`SLICE_NS`]; `None`: nothing in it. `None` of too few slices.
    #[must_use]
    pub fn of(slices: &[Option<u64>]) -> Option<Self> {
        let logs: Vec<f64> = slices.iter().flatten().map(|ns| (*ns as f64 + 1e3).ln()).collect();
        if logs.len() < FEWEST {
            return None;
        }
        let batch = (logs.len() / 10).clamp(1, BATCH);
        let means = means(&logs, batch);
        let cut = mser(&means);
        let (before, after) = means.split_at(cut);
        let whole_ns = slices.len() as u64 * SLICE_NS;
        let cold = colder(before, after).filter(|times| matters(*times));
        // What was slow at first is no trend; what grew from the beginning on is.
        let from = if cold.is_some_and(|times| times > 1.0) { cut * batch } else { 0 };
        Some(Self {
            cut_ns: (cut * batch) as u64 * whole_ns / logs.len() as u64,
            cold,
            drift: drift(&logs[from..]).filter(|times| matters(*times)),
        })
    }
}

fn matters(times: f64) -> bool {
    times.max(1.0 / times) >= MATTERS
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sum of the squares about the mean.
fn squares(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum()
}

/// Of so many neighbours each; what is left at the end is left out.
fn means(values: &[f64], each: usize) -> Vec<f64> {
    values.chunks_exact(each).map(mean).collect()
}

/// How many to leave out at the beginning, half of them at most.
fn mser(values: &[f64]) -> usize {
    let error = |cut: usize| {
        let rest = &values[cut..];
        squares(rest) / (rest.len() as f64).powi(2)
    };
    let least = (0..=values.len() / 2).map(|cut| (cut, error(cut)));
    least.min_by(|(_, one), (_, other)| one.total_cmp(other)).map_or(0, |(cut, _)| cut)
}

/// How many times as high the first part is as the rest. The cut was chosen where they differ most, so that the bound is that of the
/// most of all cuts.
fn colder(before: &[f64], after: &[f64]) -> Option<f64> {
    if before.is_empty() {
        return None;
    }
    let n = after.len() as f64;
    let sd = (squares(after) / (n - 1.0)).sqrt();
    let difference = mean(before) - mean(after);
    let error = sd * (1.0 / before.len() as f64 + 1.0 / n).sqrt();
    // Beyond what the most of so many cuts reaches by chance; the tail of Student's t at so few is heavier than the normal's.
    let bound = quantile(ALPHA / (before.len() + after.len()) as f64) * (1.0 + 12.0 / n);
    (difference.abs() > bound * error).then(|| difference.exp())
}

/// How many times as high the last is as the first, by the slope of the ranks.
fn drift(values: &[f64]) -> Option<f64> {
    let values = means(values, values.len().div_ceil(TREND_MEANS).max(1));
    let n = values.len();
    if n < 6 {
        return None;
    }
    let pairs = || (0..n).flat_map(|from| (from + 1..n).map(move |to| (from, to)));
    let rises: f64 = pairs().map(|(from, to)| sign(values[to] - values[from])).sum();
    let count = n as f64;
    let sd = (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    // One less for continuity.
    if (rises.abs() - 1.0) / sd <= quantile(ALPHA) {
        return None;
    }
    // Sen's slope.
    let mut slopes: Vec<f64> =
        pairs().map(|(from, to)| (values[to] - values[from]) / (to - from) as f64).collect();
    slopes.sort_by(f64::total_cmp);
    let slope = f64::midpoint(slopes[(slopes.len() - 1) / 2], slopes[slopes.len() / 2]);
    Some((slope * (n - 1) as f64).exp())
}

fn sign(value: f64) -> f64 {
    if value > 0.0 {
        1.0
    } else if value < 0.0 {
        -1.0
    } else {
        0.0
    }
}

/// How far from its mean a normal figure is, either way, with this probability.
fn quantile(alpha: f64) -> f64 {
    use statrs::distribution::{ContinuousCDF as _, Normal};
    Normal::standard().inverse_cdf(1.0 - alpha / 2.0)
}
