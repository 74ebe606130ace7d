//! One number for several runs, with its interval: what other tools and histories take of a contender.

use super::difference::Ratio;
use super::metric::{Better, Kind, Metric, Reading};
use super::plausible::GREATEST;
use super::run::RunRecord;

/// A figure over blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// Of what is measured the geometric mean of the blocks, of what is counted the worst.
    pub value: f64,
    /// The 99 % interval of what is measured; `None` of a single block, and of what is counted.
    pub interval: Option<(f64, f64)>,
    /// Blocks that have the figure.
    pub blocks: u32,
}

impl Estimate {
    /// Of the valid runs of a contender; `None` where none has the figure, or where one is but a bound, which would look
    /// better than it is.
    #[must_use]
    pub fn of(metric: &Metric, runs: &[&RunRecord]) -> Option<Self> {
        let readings: Vec<Reading> = runs.iter().filter_map(|run| (metric.of)(run)).collect();
        let values = readings.iter().map(|reading| reading.known()).collect::<Option<Vec<f64>>>()?;
        let blocks = values.len() as u32;
        let mean = || values.iter().sum::<f64>() / values.len() as f64;
        match metric.kind {
            _ if values.is_empty() => None,
            Kind::Counted => {
                let worst = values.iter().copied().reduce(match metric.better {
                    Better::Less => f64::max,
                    Better::More => f64::min,
                });
                worst.map(|value| Self { value, interval: None, blocks })
            }
            Kind::Measured => Some(match Ratio::paired(values.iter().map(|value| (*value, 1.0))) {
                Some(ratio) => Self { value: ratio.ratio(), interval: told(ratio.interval(0.99)), blocks },
                // One block, or a zero, of which there is no logarithm.
                None => Self { value: mean(), interval: None, blocks },
            }),
        }
    }
}

/// Two blocks that are far apart have an interval that is no figure any more, and says nothing.
fn told((low, high): (f64, f64)) -> Option<(f64, f64)> {
    (high <= GREATEST as f64).then_some((low, high))
}
