//! A whole latency distribution: recorded, merged, stored; never averaged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// Durations in nanoseconds with three significant digits. In JSON it is its count, its quantiles for readers and the
/// HdrHistogram V2-deflate encoding in base64, from which it is read back whole.
///
/// What did not end is part of it too, with the time that it took at least ([`Histogram::censor_ns`]): leaving it out would
/// make whoever gives up early look fast.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// All, those without an end as long as they lasted at least.
    durations: Hdr<u64>,
    /// How many have no end.
    censored: u64,
    /// The shortest of these.
    censored_from_ns: Option<u64>,
}

/// A quantile as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantile {
    /// So long.
    Is(u64),
    /// So long at least, in ns: something that is not longer has no known end.
    AtLeast(u64),
}

impl Default for Histogram {
    fn default() -> Self {
        let durations = Hdr::new(3).expect("three significant digits are allowed");
        Self { durations, censored: 0, censored_from_ns: None }
    }
}

impl Histogram {
    /// Adds one duration.
    pub fn record_ns(&mut self, ns: u64) {
        self.durations.record(ns).expect("an auto-resizing histogram refuses no value");
    }

    /// Adds something that had not ended after so long.
    pub fn censor_ns(&mut self, at_least_ns: u64) {
        self.record_ns(at_least_ns);
        self.censored += 1;
        self.censored_from_ns =
            Some(self.censored_from_ns.map_or(at_least_ns, |from_ns| from_ns.min(at_least_ns)));
    }

    /// Adds all durations of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.durations.add(&other.durations).expect("an auto-resizing histogram takes every other");
        self.censored += other.censored;
        self.censored_from_ns = self.censored_from_ns.into_iter().chain(other.censored_from_ns).min();
    }

    /// How many durations were recorded, those without an end included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.durations.len()
    }

    /// How many of them have no end.
    #[must_use]
    pub fn censored(&self) -> u64 {
        self.censored
    }

    /// The duration that a share `q` (0 to 1) of all does not exceed, as far as is known; `None` when nothing was recorded.
    #[must_use]
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        (self.count() > 0).then(|| self.durations.value_at_quantile(q))
    }

    /// The same for readers: `None` also where fewer than ten durations lie beyond it, so that chance decides; the median
    /// and the longest are always told.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Quantile> {
        let beyond = (1.0 - q) * self.count() as f64;
        // 10,000 × (1 − 0.999) is a little less than 10 in binary.
        if q > 0.5 && q < 1.0 && beyond < 10.0 - 1e-6 {
            return None;
        }
        let ns = if q < 1.0 { self.quantile_ns(q)? } else { self.max_ns()? };
        Some(if self.is_known(ns) { Quantile::Is(ns) } else { Quantile::AtLeast(ns) })
    }

    /// Whether everything that is at most so long has an end.
    fn is_known(&self, ns: u64) -> bool {
        self.censored_from_ns.is_none_or(|from_ns| ns < self.durations.lowest_equivalent(from_ns))
    }

    /// The greatest duration; `None` when nothing was recorded.
    #[must_use]
    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then(|| self.durations.max())
    }

    /// Points of the tail curve: (share of durations at or below, duration), as far as they are known.
    #[must_use]
    pub fn tail_curve(&self) -> Vec<(f64, u64)> {
        let deepest = 1.0 - 1.0 / (self.count().max(1) as f64);
        let mut points = Vec::new();
        let mut rest = 1.0_f64;
        while let Some(ns) = self.quantile_ns(1.0 - rest).filter(|ns| self.is_known(*ns)) {
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
    censored: u64,
    censored_from_ns: Option<u64>,
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
        V2DeflateSerializer::new()
            .serialize(&self.durations, &mut bytes)
            .map_err(serde::ser::Error::custom)?;
        let supported = |q| self.quantile(q).map(|(Quantile::Is(ns) | Quantile::AtLeast(ns))| ns);
        Stored {
            count: self.count(),
            censored: self.censored,
            censored_from_ns: self.censored_from_ns,
            p50_ns: supported(0.5),
            p90_ns: supported(0.9),
            p99_ns: supported(0.99),
            p999_ns: supported(0.999),
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
        let Stored { censored, censored_from_ns, .. } = stored;
        let mut histogram = Self { censored, censored_from_ns, ..Self::default() };
        histogram.durations.add::<&Hdr<u64>>(&hdr).map_err(serde::de::Error::custom)?;
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
        histogram.censor_ns(7_000);
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
    fn what_has_no_end_counts_as_long_as_it_lasted_at_least() {
        let mut histogram = Histogram::default();
        (0..60).for_each(|_| histogram.record_ns(1_000));
        (0..40).for_each(|_| histogram.censor_ns(5_000_000));
        assert_eq!((histogram.count(), histogram.censored()), (100, 40));
        assert_eq!(histogram.quantile(0.5), Some(Quantile::Is(1_000)));
        let Some(Quantile::AtLeast(ns)) = histogram.quantile(0.9) else { panic!("40 of 100 did not end") };
        assert!((4_990_000..5_010_000).contains(&ns), "{ns}");
        // One that ended later than another gave up is no more known than that.
        histogram.record_ns(9_000_000);
        assert!(matches!(histogram.quantile(1.0), Some(Quantile::AtLeast(_))));
        let mut ended = Histogram::default();
        ended.record_ns(1_000);
        ended.merge(&histogram);
        assert_eq!(ended.censored(), 40);
    }

    #[test]
    fn a_quantile_that_so_few_durations_do_not_support_is_not_told() {
        let mut histogram = Histogram::default();
        (0..9_999).for_each(|_| histogram.record_ns(1_000));
        assert_eq!(histogram.quantile(0.999), None);
        assert!(histogram.quantile(0.99).is_some());
        histogram.record_ns(1_000);
        assert!(histogram.quantile(0.999).is_some());
        assert!(serde_json::to_value(&histogram).unwrap()["p999_ns"].is_number());
    }

    #[test]
    fn an_empty_histogram_has_no_quantiles() {
        assert_eq!(Histogram::default().quantile_ns(0.5), None);
        assert!(Histogram::default().tail_curve().is_empty());
    }
}
