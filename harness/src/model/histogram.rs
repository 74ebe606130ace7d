//! A whole latency distribution: recorded, merged, stored; never averaged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// Durations in nanoseconds with three significant digits. In JSON it is its count, its quantiles for readers and the
/// HdrHistogram V2-deflate encoding in base64, from which it is read back whole.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram(Hdr<u64>);

impl Default for Histogram {
    fn default() -> Self {
        Self(Hdr::new(3).expect("three significant digits are allowed"))
    }
}

impl Histogram {
    /// Adds one duration.
    pub fn record_ns(&mut self, ns: u64) {
        self.0.record(ns).expect("an auto-resizing histogram refuses no value");
    }

    /// Adds all durations of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("an auto-resizing histogram takes every other");
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The duration that a share `q` (0 to 1) of all does not exceed; `None` when nothing was recorded.
    #[must_use]
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(q))
    }

    /// The greatest duration; `None` when nothing was recorded.
    #[must_use]
    pub fn max_ns(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.max())
    }

    /// Sum over mean times count; exact to the histogram's precision. For plausibility laws, not for reports.
    #[must_use]
    pub fn mean_ns(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.mean())
    }

    /// Points of the tail curve: (share of durations at or below, duration), as far as the count supports.
    #[must_use]
    pub fn tail_curve(&self) -> Vec<(f64, u64)> {
        let deepest = 1.0 - 1.0 / (self.count().max(1) as f64);
        let mut points = Vec::new();
        let mut rest = 1.0_f64;
        while let Some(ns) = self.quantile_ns(1.0 - rest) {
            points.push((1.0 - rest, ns));
            if 1.0 - rest >= deepest {
                break;
            }
            rest *= 0.85;
        }
        points
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    count: u64,
    p50_ns: Option<u64>,
    p90_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
    max_ns: Option<u64>,
    hdr_v2_deflate_base64: String,
}

impl Serialize for Histogram {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(serde::ser::Error::custom)?;
        Stored {
            count: self.count(),
            p50_ns: self.quantile_ns(0.5),
            p90_ns: self.quantile_ns(0.9),
            p99_ns: self.quantile_ns(0.99),
            p999_ns: self.quantile_ns(0.999),
            max_ns: self.max_ns(),
            hdr_v2_deflate_base64: STANDARD.encode(bytes),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let bytes = STANDARD.decode(stored.hdr_v2_deflate_base64).map_err(serde::de::Error::custom)?;
        let hdr = Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(serde::de::Error::custom)?;
        let mut histogram = Self::default();
        histogram.0.add::<&Hdr<u64>>(&hdr).map_err(serde::de::Error::custom)?;
        Ok(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_json_whole() {
        let mut histogram = Histogram::default();
        for ns in [1, 1_000, 5_000_000, 9_000_000_000] {
            histogram.record_ns(ns);
        }
        let json = serde_json::to_string(&histogram).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), histogram);
    }

    #[test]
    fn merging_keeps_the_tail_that_averaging_would_hide() {
        let (mut calm, mut stalled) = (Histogram::default(), Histogram::default());
        (0..100).for_each(|_| calm.record_ns(1_000));
        (0..100).for_each(|_| stalled.record_ns(1_000_000));
        calm.merge(&stalled);
        assert_eq!(calm.count(), 200);
        assert!(calm.quantile_ns(0.99).unwrap() >= 990_000);
    }

    #[test]
    fn an_empty_histogram_has_no_quantiles() {
        assert_eq!(Histogram::default().quantile_ns(0.5), None);
        assert!(Histogram::default().tail_curve().is_empty());
    }
}
