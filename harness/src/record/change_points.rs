//! Where a series changed for good: E-divisive means.
//!
//! Matteson and James, A nonparametric approach for multiple change point analysis of multivariate data (2014), as Daly and
//! others use it for performance (The use of change point detection to identify software performance regressions in a
//! continuous integration system, 2020): the split at which what is before and what is after are farthest apart (energy
//! distance), kept where hardly any permutation is farther; then again within each part.

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

/// A place from which on a series is another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChangePoint {
    /// The first place of the new level.
    pub at: usize,
    /// Share of permutations that are as far apart.
    pub p: f64,
}

/// How likely a series that never changed is to be split, at most.
const ALPHA: f64 = 0.01;

/// Permutations of each test; of these, `ALPHA` may be as far apart.
const PERMUTATIONS: usize = 399;

/// The shortest part: a single odd value is no level.
const SHORTEST: usize = 4;

/// Change points in the order of the series. The same seed gives the same.
#[must_use]
pub fn change_points(series: &[f64], seed: u64) -> Vec<ChangePoint> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut found: Vec<ChangePoint> = Vec::new();
    // Parts that may still be split; each is tested once, whatever becomes of the others.
    let mut open = vec![(0, series.len())];
    while let Some((from, until)) = open.pop() {
        let part = &series[from..until];
        let Some((place, apart)) = farthest(part) else { continue };
        let Some(p) = significance(part, apart, &mut rng) else { continue };
        found.push(ChangePoint { at: from + place, p });
        open.extend([(from + place, until), (from, from + place)]);
    }
    found.sort_by_key(|point| point.at);
    found
}

/// The share of permutations that are as far apart as the part itself; `None` where it is above `ALPHA`.
fn significance(part: &[f64], apart: f64, rng: &mut ChaCha8Rng) -> Option<f64> {
    let most = (ALPHA * (PERMUTATIONS + 1) as f64) as usize - 1;
    let mut shuffled = part.to_vec();
    let mut as_far = 0;
    for _ in 0..PERMUTATIONS {
        shuffled.shuffle(rng);
        if farthest(&shuffled).is_some_and(|(_, of)| of >= apart) {
            as_far += 1;
            if as_far > most {
                return None;
            }
        }
    }
    Some((as_far + 1) as f64 / (PERMUTATIONS + 1) as f64)
}

/// The split into two parts that are farthest apart, and how far; `None` where there is no room for two, or nothing differs.
fn farthest(series: &[f64]) -> Option<(usize, f64)> {
    let n = series.len();
    if n < 2 * SHORTEST {
        return None;
    }
    let distance = |value: f64, others: &[f64]| others.iter().map(|other| (value - other).abs()).sum::<f64>();
    // Sums of the distances among those before the split, among those after it, and between the two.
    let (mut before, mut between) = (0.0, 0.0);
    let mut after: f64 = (1..n).map(|place| distance(series[place], &series[..place])).sum();
    let mut best: Option<(usize, f64)> = None;
    for place in 1..=n - SHORTEST {
        let moved = series[place - 1];
        let (to_before, to_after) =
            (distance(moved, &series[..place - 1]), distance(moved, &series[place..]));
        before += to_before;
        after -= to_after;
        between += to_after - to_before;
        if place < SHORTEST {
            continue;
        }
        let (left, right) = (place as f64, (n - place) as f64);
        let energy = 2.0 * between / (left * right)
            - 2.0 * before / (left * (left - 1.0))
            - 2.0 * after / (right * (right - 1.0));
        let apart = left * right / (left + right) * energy;
        if best.is_none_or(|(_, most)| apart > most) {
            best = Some((place, apart));
        }
    }
    best.filter(|(_, apart)| *apart > 1e-12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_found_where_it_is() {
        let series: Vec<f64> =
            (0..30).map(|at| if at < 17 { 10.0 } else { 12.0 } + f64::from(at % 3) / 10.0).collect();
        let found = change_points(&series, 1);
        assert_eq!(found.iter().map(|point| point.at).collect::<Vec<_>>(), [17]);
        assert!(found[0].p <= ALPHA);
        assert_eq!(found, change_points(&series, 1), "the same seed gives the same");
    }

    #[test]
    fn what_never_changes_or_is_too_short_has_none() {
        assert_eq!(change_points(&[5.0; 40], 1), []);
        assert_eq!(change_points(&[1.0, 1.0, 1.0, 9.0, 9.0, 9.0], 1), []);
        assert_eq!(change_points(&[], 1), []);
    }

    #[test]
    fn one_odd_value_is_no_change() {
        let mut series = [10.0, 10.1, 9.9, 10.05, 9.95].repeat(6);
        series[14] = 20.0;
        assert_eq!(change_points(&series, 1), []);
    }
}
