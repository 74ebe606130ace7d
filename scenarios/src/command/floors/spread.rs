//! What several rounds say of one figure.

use std::fmt;

/// How sure the interval is to contain what the rounds scatter around.
const CONFIDENCE: f64 = 0.99;

/// The median of the rounds, and an interval around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Spread {
    /// The interval is the narrowest pair of order statistics that contains the median with 99 %, whatever the distribution;
    /// of fewer than eight rounds, none does, and it is the least and the most. `None` of no round.
    pub(super) fn of(rounds: &[f64]) -> Option<Self> {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (last, out) = (sorted.len().checked_sub(1)?, outside(sorted.len()));
        let median = f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2]);
        Some(Self { median, low: sorted[out], high: sorted[last - out] })
    }

    /// Of a ratio to a floor: whether even its upper end is below 1, where nothing can be.
    pub(super) fn is_below_its_floor(&self) -> bool {
        self.high < 1.0
    }

    /// With so many decimals.
    pub(super) fn show(&self, decimals: usize) -> String {
        let Self { median, low, high } = self;
        format!("{median:.decimals$} ({low:.decimals$}–{high:.decimals$})")
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show(2))
    }
}

/// How many of so many rounds may be left out at each end. With `k` left out, the median is missed when at most `k` of the
/// rounds fall on one side of it, each with a chance of one half.
fn outside(rounds: usize) -> usize {
    let mut all = 0.5_f64.powi(i32::try_from(rounds).unwrap_or(i32::MAX));
    let mut missed = 0.0;
    for out in 0..rounds / 2 {
        missed += 2.0 * all;
        if missed > 1.0 - CONFIDENCE {
            return out.saturating_sub(1);
        }
        all *= (rounds - out) as f64 / (out + 1) as f64;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(ratios: impl IntoIterator<Item = f64>) -> Spread {
        Spread::of(&ratios.into_iter().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn few_rounds_say_their_median_the_least_and_the_most() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(rounds([2.0]), Spread { median: 2.0, low: 2.0, high: 2.0 });
        assert_eq!(rounds([4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, low: 1.0, high: 4.0 });
        assert_eq!(rounds((0..7).map(f64::from)), Spread { median: 3.0, low: 0.0, high: 6.0 });
    }

    /// From tables of the sign test, two-sided, 1 %.
    #[test]
    fn of_many_rounds_the_outer_ones_are_left_out_as_the_sign_test_says() {
        for (of, out) in [(8, 0), (11, 0), (12, 1), (20, 3), (25, 5), (50, 15)] {
            assert_eq!(outside(of), out, "{of}");
        }
        assert_eq!(rounds((0..25).map(f64::from)), Spread { median: 12.0, low: 5.0, high: 19.0 });
    }

    #[test]
    fn a_ratio_is_below_its_floor_where_all_of_its_interval_is() {
        assert!(rounds([0.7, 0.8, 0.9]).is_below_its_floor());
        assert!(!rounds([0.7, 0.8, 1.0]).is_below_its_floor());
        assert!(!rounds([1.1, 1.2, 1.3]).is_below_its_floor());
        // Five of 25 rounds above 1 may be chance, six are not.
        let with_above = |above: usize| rounds((0..25).map(|round| if round < above { 1.1 } else { 0.9 }));
        assert!(with_above(5).is_below_its_floor());
        assert!(!with_above(6).is_below_its_floor());
    }

    #[test]
    fn a_spread_is_shown_with_its_interval() {
        assert_eq!(rounds([1.0, 1.25, 1.5]).to_string(), "1.25 (1.00–1.50)");
        assert_eq!(rounds([900.4, 1_000.0, 1_100.0]).show(0), "1000 (900–1100)");
    }
}
