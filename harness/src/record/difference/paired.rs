//! Log ratios of one block to another's, and Student's t over blocks.
//!
//! Two runs of one block have the same plan and met the same machine, so their ratio is steadier than either. A machine that
//! was slow for a whole block, or a plan that was hard, does not count. Whether that holds at five to ten blocks, also for
//! skewed noise and heavy tails, is simulated in `tests/differences.rs`.

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// How a contender stands to its reference in one metric, over the blocks that both have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    blocks: u32,
    /// Of the logarithms of the ratios.
    mean: f64,
    sd: f64,
}

impl Paired {
    /// Of pairs (contender, reference), one a block. `None` with fewer than two, or where one is not above zero.
    #[must_use]
    pub fn of(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let ratios: Vec<f64> = pairs.into_iter().map(|(own, other)| (own / other).ln()).collect();
        if ratios.len() < 2 || ratios.iter().any(|ratio| !ratio.is_finite()) {
            return None;
        }
        let n = ratios.len() as f64;
        let mean = ratios.iter().sum::<f64>() / n;
        let variance = ratios.iter().map(|ratio| (ratio - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Some(Self { blocks: ratios.len() as u32, mean, sd: variance.sqrt() })
    }

    /// How many blocks both have.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// The contender's value ÷ the reference's: the geometric mean of the blocks.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.mean.exp()
    }

    /// The interval that holds the true ratio with a confidence (0 to 1).
    #[must_use]
    pub fn interval(&self, confidence: f64) -> (f64, f64) {
        let half = quantile(self.blocks, f64::midpoint(1.0, confidence)) * self.error();
        ((self.mean - half).exp(), (self.mean + half).exp())
    }

    /// How likely ratios as far from 1 as these are if there is no difference: two sides.
    #[must_use]
    pub fn p_of_no_difference(&self) -> f64 {
        2.0 * self.beyond(self.mean.abs())
    }

    /// How likely ratios as near to 1 as these are if the true one is off by `margin` (0.1: a tenth): the larger p of two
    /// one-sided tests.
    #[must_use]
    pub fn p_of_apart(&self, margin: f64) -> f64 {
        self.beyond(margin.ln_1p() - self.mean.abs())
    }

    /// Blocks that would be enough to find an effect as large as the present one with this error and power, were it true.
    pub(super) fn blocks_to_differ(&self, alpha: f64, power: f64) -> Option<u32> {
        self.blocks_for(self.mean.abs(), 1.0 - alpha / 2.0, power)
    }

    /// Blocks that would be enough to show that the two are within `margin`, were the present ratio true.
    pub(super) fn blocks_to_be_the_same(&self, margin: f64, alpha: f64, power: f64) -> Option<u32> {
        self.blocks_for(margin.ln_1p() - self.mean.abs(), 1.0 - alpha, power)
    }

    /// n ≥ (t₁₋α + t_power)² s² / δ², in which t depends on n.
    fn blocks_for(&self, delta: f64, level: f64, power: f64) -> Option<u32> {
        /// Nobody runs more.
        const MOST: u32 = 500;
        let enough = |blocks: u32| {
            let t = quantile(blocks, level) + quantile(blocks, power);
            (t * self.sd / delta).powi(2) <= f64::from(blocks)
        };
        if delta <= 0.0 { None } else { (2..=MOST).find(|blocks| enough(*blocks)) }
    }

    /// The part of Student's t beyond so many logarithms.
    fn beyond(&self, distance: f64) -> f64 {
        match self.error() {
            0.0 if distance > 0.0 => 0.0,
            0.0 => {
                if distance < 0.0 {
                    1.0
                } else {
                    0.5
                }
            }
            error => student(self.blocks).map_or(1.0, |t| t.sf(distance / error)),
        }
    }

    fn error(&self) -> f64 {
        self.sd / f64::from(self.blocks).sqrt()
    }
}

fn student(blocks: u32) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, f64::from(blocks - 1)).ok()
}

fn quantile(blocks: u32, level: f64) -> f64 {
    student(blocks).map_or(f64::INFINITY, |t| t.inverse_cdf(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(value: f64, expected: f64) {
        assert!((value - expected).abs() <= expected.abs() * 1e-3 + 1e-12, "{value} is not {expected}");
    }

    /// The expected values are from the closed form of Student's t with 4 degrees of freedom.
    #[test]
    fn a_ratio_its_interval_and_p_are_those_of_a_t_test() {
        let paired = Paired::of([1.1, 1.2, 1.05, 1.3, 1.15].map(|ratio| (ratio * 7.0, 7.0))).unwrap();
        is(paired.ratio(), 1.156_860);
        is(paired.p_of_no_difference(), 0.016_514);
        let (low, high) = paired.interval(0.99);
        is(low, 0.977_07);
        is(high, 1.369_73);
    }

    #[test]
    fn blocks_that_both_were_slow_in_do_not_count() {
        let drifting = Paired::of([(11.0, 10.0), (110.0, 100.0), (22.0, 20.0)]).unwrap();
        is(drifting.ratio(), 1.1);
        assert!(drifting.p_of_no_difference() < 1e-9);
    }

    #[test]
    fn what_never_varies_is_certain() {
        let equal = Paired::of([(5.0, 5.0), (6.0, 6.0)]).unwrap();
        is(equal.p_of_no_difference(), 1.0);
        is(equal.p_of_apart(0.1), 0.0);
    }

    #[test]
    fn nothing_is_said_of_one_block_or_of_zero() {
        assert_eq!(Paired::of([(1.0, 1.0)]), None);
        assert_eq!(Paired::of([(1.0, 1.0), (0.0, 1.0)]), None);
        assert_eq!(Paired::of([(1.0, 1.0), (1.0, 0.0)]), None);
    }
}
