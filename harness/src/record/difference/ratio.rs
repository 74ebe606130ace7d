//! Log ratios of figures, and Student's t over blocks.
//!
//! Two runs of one block have the same plan and met the same machine, so their ratio is steadier than either. A machine that
//! was slow for a whole block, or a plan that was hard, does not count. Whether that holds at five to ten blocks, also for
//! skewed noise and heavy tails, is simulated in `tests/differences.rs`. Where no plan is common to both, the logarithms of the
//! figures are two samples (Welch, The generalization of Student's problem, 1947).

use statrs::distribution::{ContinuousCDF as _, StudentsT};

/// How one stands to another in a metric: the contender's figure ÷ its reference's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    how: How,
    /// Blocks of the side that has fewer.
    blocks: u32,
    /// Of the logarithms.
    mean: f64,
    /// Of one block: the error is this by the root of the number of blocks.
    sd: f64,
    /// Degrees of freedom for each block beyond the first.
    degrees_per_block: f64,
}

/// What a ratio was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Ratios of runs of the same plan.
    Paired,
    /// The figures of either side, which have no plan in common.
    TwoSamples,
}

impl Ratio {
    /// Of pairs (contender, reference), one a block. `None` with fewer than two, or where one is not above zero.
    #[must_use]
    pub fn paired(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let (mean, variance, n) = moments(pairs.into_iter().map(|(own, other)| own / other))?;
        Some(Self { how: How::Paired, blocks: n, mean, sd: variance.sqrt(), degrees_per_block: 1.0 })
    }

    /// Of the figures of either side, one a block. `None` with fewer than two on a side, or where one is not above zero.
    #[must_use]
    pub fn two_samples(
        own: impl IntoIterator<Item = f64>,
        other: impl IntoIterator<Item = f64>,
    ) -> Option<Self> {
        let (own, other) = (moments(own)?, moments(other)?);
        let blocks = own.2.min(other.2);
        let (of_own, of_other) = (own.1 / f64::from(own.2), other.1 / f64::from(other.2));
        let error_squared = of_own + of_other;
        // Welch and Satterthwaite.
        let degrees = error_squared.powi(2)
            / (of_own.powi(2) / f64::from(own.2 - 1) + of_other.powi(2) / f64::from(other.2 - 1));
        let degrees = if degrees.is_finite() { degrees } else { f64::from(own.2 + other.2 - 2) };
        Some(Self {
            how: How::TwoSamples,
            blocks,
            mean: own.0 - other.0,
            sd: (error_squared * f64::from(blocks)).sqrt(),
            degrees_per_block: degrees / f64::from(blocks - 1),
        })
    }

    /// What it was made of.
    #[must_use]
    pub fn how(&self) -> How {
        self.how
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

    /// Standard deviation of the logarithm of one block's ratio: the noise.
    #[must_use]
    pub fn sd(&self) -> f64 {
        self.sd
    }

    /// The interval that holds the true ratio with a confidence (0 to 1).
    #[must_use]
    pub fn interval(&self, confidence: f64) -> (f64, f64) {
        let half = self.quantile(self.blocks, f64::midpoint(1.0, confidence)) * self.error();
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

    /// How likely ratios as large as these are if the true one is `bound` at most.
    #[must_use]
    pub fn p_of_at_most(&self, bound: f64) -> f64 {
        self.beyond(self.mean - bound.ln())
    }

    /// How likely ratios as small as these are if the true one is `bound` at least.
    #[must_use]
    pub fn p_of_at_least(&self, bound: f64) -> f64 {
        self.beyond(bound.ln() - self.mean)
    }

    /// The least effect, as a part (0.1: a tenth), that so many blocks with this noise find with this error and power; with
    /// a noise known from elsewhere, with that.
    #[must_use]
    pub fn least_detectable(&self, alpha: f64, power: f64, known_sd: Option<f64>) -> f64 {
        let t = self.quantile(self.blocks, 1.0 - alpha / 2.0) + self.quantile(self.blocks, power);
        (t * known_sd.unwrap_or(self.sd) / f64::from(self.blocks).sqrt()).exp_m1()
    }

    /// Blocks that would be enough to find an effect as large as the present one with this error and power, were it true.
    pub(super) fn blocks_to_differ(&self, alpha: f64, power: f64) -> Option<u32> {
        self.blocks_for(self.mean.abs(), 1.0 - alpha / 2.0, power)
    }

    /// Blocks that would be enough to show that the two are within `margin`, were the present ratio true.
    pub(super) fn blocks_to_be_the_same(&self, margin: f64, alpha: f64, power: f64) -> Option<u32> {
        self.blocks_for(margin.ln_1p() - self.mean.abs(), 1.0 - alpha, power)
    }

    /// Blocks that would be enough to show on which side of a bound the ratio is, were the present one true.
    #[must_use]
    pub fn blocks_to_tell_from(&self, bound: f64, alpha: f64, power: f64) -> Option<u32> {
        self.blocks_for((self.mean - bound.ln()).abs(), 1.0 - alpha, power)
    }

    /// n ≥ (t₁₋α + t_power)² s² / δ², in which t depends on n.
    fn blocks_for(&self, delta: f64, level: f64, power: f64) -> Option<u32> {
        /// Nobody runs more.
        const MOST: u32 = 500;
        let enough = |blocks: u32| {
            let t = self.quantile(blocks, level) + self.quantile(blocks, power);
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
            error => self.student(self.blocks).map_or(1.0, |t| t.sf(distance / error)),
        }
    }

    fn error(&self) -> f64 {
        self.sd / f64::from(self.blocks).sqrt()
    }

    fn student(&self, blocks: u32) -> Option<StudentsT> {
        StudentsT::new(0.0, 1.0, self.degrees_per_block * f64::from(blocks - 1)).ok()
    }

    fn quantile(&self, blocks: u32, level: f64) -> f64 {
        self.student(blocks).map_or(f64::INFINITY, |t| t.inverse_cdf(level))
    }
}

/// Mean and variance of the logarithms, and how many there are; `None` of fewer than two, or where one is none.
fn moments(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64, u32)> {
    let logs: Vec<f64> = values.into_iter().map(f64::ln).collect();
    if logs.len() < 2 || logs.iter().any(|log| !log.is_finite()) {
        return None;
    }
    let n = logs.len() as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some((mean, variance, logs.len() as u32))
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
        let ratio = Ratio::paired([1.1, 1.2, 1.05, 1.3, 1.15].map(|ratio| (ratio * 7.0, 7.0))).unwrap();
        is(ratio.ratio(), 1.156_860);
        is(ratio.p_of_no_difference(), 0.016_514);
        let (low, high) = ratio.interval(0.99);
        is(low, 0.977_07);
        is(high, 1.369_73);
    }

    #[test]
    fn blocks_that_both_were_slow_in_do_not_count() {
        let drifting = Ratio::paired([(11.0, 10.0), (110.0, 100.0), (22.0, 20.0)]).unwrap();
        is(drifting.ratio(), 1.1);
        assert!(drifting.p_of_no_difference() < 1e-9);
    }

    #[test]
    fn what_never_varies_is_certain() {
        let equal = Ratio::paired([(5.0, 5.0), (6.0, 6.0)]).unwrap();
        is(equal.p_of_no_difference(), 1.0);
        is(equal.p_of_apart(0.1), 0.0);
    }

    #[test]
    fn nothing_is_said_of_one_block_or_of_zero() {
        assert_eq!(Ratio::paired([(1.0, 1.0)]), None);
        assert_eq!(Ratio::paired([(1.0, 1.0), (0.0, 1.0)]), None);
        assert_eq!(Ratio::paired([(1.0, 1.0), (1.0, 0.0)]), None);
    }

    /// Expected values by hand: logarithms 0, 1, 2 against 1, 2, 3; the variances are 1, the error is √(2 ÷ 3), and 4 degrees of freedom.
    #[test]
    fn without_a_common_plan_two_samples_are_welch_s() {
        let e = std::f64::consts::E;
        let ratio = Ratio::two_samples([1.0, e, e * e], [e, e * e, e * e * e]).unwrap();
        assert_eq!((ratio.how(), ratio.blocks()), (How::TwoSamples, 3));
        is(ratio.ratio(), 1.0 / e);
        is(ratio.p_of_no_difference(), 0.287_86);
        assert_eq!(Ratio::two_samples([1.0, 2.0], [1.0]), None);
        is(Ratio::two_samples([3.0, 3.0], [3.0, 3.0]).unwrap().p_of_no_difference(), 1.0);
    }

    #[test]
    fn a_bound_is_kept_or_broken_by_one_side() {
        let ratio = Ratio::paired([1.1, 1.2, 1.05, 1.3, 1.15].map(|ratio| (ratio, 1.0))).unwrap();
        assert!(ratio.p_of_at_most(1.0) < 0.01 && ratio.p_of_at_least(1.0) > 0.99);
        assert!(ratio.p_of_at_least(1.5) < 0.01 && ratio.p_of_at_most(1.5) > 0.99);
        let (known, own) =
            (ratio.least_detectable(0.01, 0.8, Some(0.2)), ratio.least_detectable(0.01, 0.8, None));
        assert!(known > own && own > 0.15, "{known} {own}");
    }
}
