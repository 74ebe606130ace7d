//! What figures are measured in, as people write and read it.

use serde::{Deserialize, Serialize};

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Per second.
    PerS,
    /// So many.
    Count,
    /// Of all: 0 to 1.
    Share,
}

/// Durations by their unit, the longest first.
const DURATIONS: [(&str, f64); 5] = [("s", 1e9), ("ms", 1e6), ("µs", 1e3), ("us", 1e3), ("ns", 1.0)];

impl Unit {
    /// A value as it is written for people, such as `20 ms`, `250 /s`, `3`, `1 %`.
    ///
    /// # Errors
    /// What is expected, where the text is no such value or is below zero.
    pub fn parse(self, text: &str) -> Result<f64, String> {
        let expected = || format!("`{text}` must be {}", self.examples());
        let text = text.trim();
        let split = text.find(|c: char| !(c.is_ascii_digit() || ".e-+".contains(c))).unwrap_or(text.len());
        let (number, unit) = (&text[..split], text[split..].trim());
        let scale = match self {
            Self::Ns => DURATIONS.iter().find(|(name, _)| *name == unit).map(|(_, scale)| *scale),
            Self::PerS => ["/s", "per s", "tasks/s"].contains(&unit).then_some(1.0),
            Self::Count => unit.is_empty().then_some(1.0),
            Self::Share => (unit == "%").then_some(0.01),
        };
        let number: f64 = number.parse().map_err(|_| expected())?;
        let value = number * scale.ok_or_else(expected)?;
        if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(expected()) }
    }

    /// Its short name in other tools' formats.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Ns => "ns",
            Self::PerS => "1/s",
            Self::Count => "count",
            Self::Share => "share",
        }
    }

    fn examples(self) -> &'static str {
        match self {
            Self::Ns => "a duration with its unit, such as \"20 ms\" or \"300 µs\"",
            Self::PerS => "a rate, such as \"250 /s\"",
            Self::Count => "a number without a unit, such as \"0\"",
            Self::Share => "a share, such as \"1 %\"",
        }
    }

    /// The value with its unit, with four significant digits, so that no limit is met by rounding alone.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Ns => {
                let fits = |(_, scale): &&(&str, f64)| value.abs() >= *scale;
                let (unit, scale) = DURATIONS.iter().find(fits).unwrap_or(&DURATIONS[4]);
                format!("{} {unit}", four_digits(value / scale))
            }
            Self::PerS => format!("{} /s", four_digits(value)),
            Self::Count => four_digits(value),
            Self::Share => format!("{} %", four_digits(value * 100.0)),
        }
    }
}

/// Four significant digits without needless zeros.
fn four_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return "0".to_owned();
    }
    let decimals = (3.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_people_write_them() {
        assert_eq!(Unit::Ns.parse("20 ms"), Ok(2e7));
        assert_eq!(Unit::Ns.parse("1.5s"), Ok(1.5e9));
        assert_eq!(Unit::Ns.parse("300 µs"), Unit::Ns.parse("300us"));
        assert_eq!(Unit::PerS.parse("250 /s"), Ok(250.0));
        assert_eq!(Unit::PerS.parse("250 tasks/s"), Ok(250.0));
        assert_eq!(Unit::Count.parse("0"), Ok(0.0));
        assert_eq!(Unit::Share.parse("1 %"), Ok(0.01));
    }

    #[test]
    fn a_value_without_its_unit_is_refused_with_an_example() {
        for (unit, text) in [
            (Unit::Ns, "20"),
            (Unit::Ns, "20 m"),
            (Unit::PerS, "250"),
            (Unit::Share, "0.1"),
            (Unit::Ns, "ms"),
        ] {
            let why = unit.parse(text).unwrap_err();
            assert!(why.contains(&format!("`{text}` must be")) && why.contains("such as"), "{why}");
        }
        assert!(Unit::Ns.parse("-1 ms").is_err() && Unit::Ns.parse("1e999 s").is_err());
    }

    #[test]
    fn values_are_shown_with_their_unit_and_four_digits() {
        assert_eq!(Unit::Ns.show(2e7), "20 ms");
        assert_eq!(Unit::Ns.show(1_234_567.0), "1.235 ms");
        assert_eq!(Unit::Ns.show(0.5), "0.5 ns");
        assert_eq!(Unit::PerS.show(12_345.6), "12346 /s");
        assert_eq!(Unit::Share.show(0.005), "0.5 %");
        assert_eq!(Unit::Count.show(0.0), "0");
    }
}
