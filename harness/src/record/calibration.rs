//! How much a figure strays on a machine from one run to the next of the same contender: measured, by comparing it with
//! itself.

use serde::{Deserialize, Serialize};

/// The noise floor of a class of machines, from an A/A batch: every contender beside itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// [`Machine::class`](super::Machine::class) of where it was measured.
    pub machine_class: String,
    /// The scenario that it was measured with.
    pub scenario: String,
    /// UTC, RFC 3339.
    pub measured_utc: String,
    /// Blocks of the batch.
    pub blocks: u32,
    /// By contender and metric.
    pub floors: Vec<NoiseFloor>,
}

/// How much one figure of one contender strays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseFloor {
    /// The contender that was compared with itself.
    pub contender: String,
    /// Name of the metric.
    pub metric: String,
    /// Blocks in which both runs had a figure.
    pub blocks: u32,
    /// Standard deviation of the logarithm of the ratio of the two runs of a block (0.05: a twentieth).
    pub log_ratio_sd: f64,
    /// The ratio of the two over all blocks; the nearer to 1 the better.
    pub ratio: f64,
    /// The least effect that 6 blocks find with 80 % power at 1 % error, as a part.
    pub detectable_by_6: f64,
    /// The same of 10 blocks.
    pub detectable_by_10: f64,
}

impl Calibration {
    /// How much a metric of a contender strays: as was measured of it, or else as of the worst of all.
    #[must_use]
    pub fn log_ratio_sd(&self, contender: &str, metric: &str) -> Option<f64> {
        let of_metric = || self.floors.iter().filter(|floor| floor.metric == metric);
        let own = of_metric().find(|floor| floor.contender == contender).map(|floor| floor.log_ratio_sd);
        own.or_else(|| of_metric().map(|floor| floor.log_ratio_sd).reduce(f64::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_measured_strays_as_the_worst() {
        let floor = |contender: &str, log_ratio_sd| NoiseFloor {
            contender: contender.to_owned(),
            metric: "wait_p50".to_owned(),
            blocks: 10,
            log_ratio_sd,
            ratio: 1.0,
            detectable_by_6: 0.1,
            detectable_by_10: 0.1,
        };
        let calibration = Calibration {
            schema_version: 2,
            machine_class: "two cores".to_owned(),
            scenario: "smoke".to_owned(),
            measured_utc: "2026-11-28T00:00:00Z".to_owned(),
            blocks: 10,
            floors: vec![floor("calm", 0.01), floor("wild", 0.2)],
        };
        assert_eq!(calibration.log_ratio_sd("calm", "wait_p50"), Some(0.01));
        assert_eq!(calibration.log_ratio_sd("new", "wait_p50"), Some(0.2));
        assert_eq!(calibration.log_ratio_sd("calm", "goodput"), None);
    }
}
