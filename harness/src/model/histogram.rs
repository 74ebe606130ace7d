//! A whole latency distribution: recorded, merged, stored; never averaged.

use std::io::{self, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{
    Deserializer, Serializer as _, V2DeflateSerializeError, V2DeflateSerializer,
};
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

    /// The HdrHistogram V2-deflate encoding in base64, as histogram logs have it.
    ///
    /// # Errors
    /// Those of the encoder; a histogram of ours has none of its reasons.
    pub fn hdr_v2_deflate_base64(&self) -> Result<String, V2DeflateSerializeError> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.durations, &mut bytes)?;
        Ok(STANDARD.encode(bytes))
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
        let hdr_v2_deflate_base64 = self.hdr_v2_deflate_base64().map_err(serde::ser::Error::custom)?;
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
            hdr_v2_deflate_base64,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Histogram {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored = Stored::deserialize(deserializer)?;
        let bytes = STANDARD.decode(stored.hdr_v2_deflate_base64).map_err(serde::de::Error::custom)?;
        let bytes = unpacked(&bytes).map_err(serde::de::Error::custom)?;
        let hdr = Deserializer::new().deserialize(&mut bytes.as_slice()).map_err(serde::de::Error::custom)?;
        let Stored { censored, censored_from_ns, .. } = stored;
        let mut histogram = Self { censored, censored_from_ns, ..Self::default() };
        histogram.durations.add::<&Hdr<u64>>(&hdr).map_err(serde::de::Error::custom)?;
        if censored > histogram.count() {
            return Err(serde::de::Error::custom("more durations without an end than durations"));
        }
        Ok(histogram)
    }
}

/// What is before the counts in the V2 encoding: cookie, length, offset, digits, lowest and highest value, ratio.
const V2_HEADER: usize = 40;

/// The longest V2 encoding that is read, in bytes; one of three significant digits over all of u64 has 57 thousand counts.
const V2_MOST: usize = 1 << 20;

/// The V2 encoding inside its compressed form, if it is one that can be decoded: the decoder makes room for whatever length it is told, up
/// to 4 GiB, and trusts the numbers in it.
fn unpacked(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("no histogram: {what}"));
    let packed = bytes.get(8..).ok_or_else(|| refused("too short"))?;
    let mut unpacked = Vec::new();
    ZlibDecoder::new(packed).take(V2_MOST as u64 + 1).read_to_end(&mut unpacked)?;
    if unpacked.len() > V2_MOST {
        return Err(refused("it unpacks to more than 1 MiB"));
    }
    let number = |at: usize| {
        unpacked.get(at..at + 4).and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)))
    };
    let counts = unpacked.get(V2_HEADER..).ok_or_else(|| refused("too short"))?;
    if number(4) != u32::try_from(counts.len()).ok() {
        return Err(refused("its length is another"));
    }
    if number(12) != Some(3) {
        return Err(refused("not of three significant digits"));
    }
    if !are_sound(counts) {
        return Err(refused("a count that cannot be"));
    }
    Ok(unpacked)
}

/// Whether the counts, zig-zag numbers of seven bits a byte and nine bytes at most, say nothing that would overflow: a
/// negative one is so many zeros.
fn are_sound(mut counts: &[u8]) -> bool {
    let (mut sum, mut zeros) = (0_u64, 0_u64);
    while !counts.is_empty() {
        let mut encoded = 0_u64;
        for place in 0..9 {
            let Some((byte, rest)) = counts.split_first() else { return false };
            counts = rest;
            if place == 8 || byte & 0x80 == 0 {
                encoded |= u64::from(*byte) << (7 * place);
                break;
            }
            encoded |= u64::from(byte & 0x7f) << (7 * place);
        }
        let half = encoded >> 1;
        if encoded & 1 == 0 {
            sum = sum.saturating_add(half);
        } else {
            zeros = zeros.saturating_add(half);
        }
    }
    sum <= MOST_COUNTED && zeros <= V2_MOST as u64
}

/// More has nobody counted, and so many of these can be added up.
const MOST_COUNTED: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use allocation_counter::measure;

    use super::*;
    use crate::damage;

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

    fn v2(histogram: &Histogram) -> Vec<u8> {
        let mut bytes = Vec::new();
        hdrhistogram::serialization::V2Serializer::new().serialize(&histogram.durations, &mut bytes).unwrap();
        bytes
    }

    /// The stored form of a V2 encoding, whatever is in it.
    fn stored(v2: &[u8]) -> String {
        let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(v2).unwrap();
        let packed = packed.finish().unwrap();
        let length = u32::try_from(packed.len()).unwrap();
        let bytes = [&0x1c84_9314_u32.to_be_bytes()[..], &length.to_be_bytes(), &packed].concat();
        let text = STANDARD.encode(bytes);
        format!(r#"{{"count":1,"censored":0,"hdr_v2_deflate_base64":"{text}"}}"#)
    }

    #[test]
    fn no_damage_to_a_stored_one_makes_it_panic_or_take_much_memory() {
        let mut histogram = Histogram::default();
        for ns in [1, 1_000, 1_001, 5_000_000, 9_000_000_000] {
            histogram.record_ns(ns);
        }
        let whole = v2(&histogram);
        assert_eq!(serde_json::from_str::<Histogram>(&stored(&whole)).unwrap(), histogram);
        damage::inputs("histograms", 20_000, |damage| {
            let mut bytes = whole.clone();
            damage.bytes(&mut bytes);
            let text = stored(&bytes);
            let used = measure(|| {
                if let Ok(read) = serde_json::from_str::<Histogram>(&text) {
                    assert!(read.tail_curve().len() < 1_000 && read.count() <= MOST_COUNTED);
                    let mut sum = histogram.clone();
                    sum.merge(&read);
                    drop((sum.quantile(0.99), serde_json::to_string(&sum).unwrap()));
                }
            });
            assert!(used.bytes_max < 16 << 20, "{} bytes", used.bytes_max);
        });
    }

    #[test]
    fn a_length_of_4_gib_and_a_bomb_are_refused_before_there_is_room_for_them() {
        let mut long = v2(&Histogram::default());
        long[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        let mut least = v2(&Histogram::default());
        least.truncate(V2_HEADER);
        // The least number: its negative is none.
        least.extend([0xff; 9]);
        least[4..8].copy_from_slice(&9_u32.to_be_bytes());
        for (bytes, why) in [(long, "length"), (vec![0; 64 << 20], "1 MiB"), (least, "cannot be")] {
            let text = stored(&bytes);
            let used = measure(|| {
                let error = serde_json::from_str::<Histogram>(&text).unwrap_err().to_string();
                assert!(error.contains(why), "{error}");
            });
            assert!(used.bytes_max < 4 << 20, "{} bytes", used.bytes_max);
        }
    }
}
