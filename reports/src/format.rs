//! Numbers as people read them: three significant digits, the unit beside the number, missing as "–".

/// What stands where a figure is missing; never 0.
pub(crate) const MISSING: &str = "–";

/// A narrow space that does not break, between a number and its unit.
const THIN: char = '\u{202f}';

/// Nanoseconds in the unit that keeps one to three digits before the point.
pub(crate) fn duration(ns: f64) -> String {
    if ns <= 0.0 {
        return format!("0{THIN}ns");
    }
    let ns = to_three_digits(ns);
    let (scale, unit) = match ns {
        _ if ns < 1e3 => (1.0, "ns"),
        _ if ns < 1e6 => (1e3, "µs"),
        _ if ns < 1e9 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    format!("{}{THIN}{unit}", significant(ns / scale))
}

/// [`duration`] of an integer that may be missing.
pub(crate) fn duration_or_missing(ns: Option<u64>) -> String {
    ns.map_or_else(|| MISSING.to_owned(), |ns| duration(ns as f64))
}

/// The label of a tick: a duration without needless zeros, such as "1 ms".
pub(crate) fn tick(ns: f64) -> String {
    let text = duration(ns);
    match text.split_once(THIN) {
        Some((number, unit)) if number.contains('.') => {
            format!("{}{THIN}{unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// Three significant digits, thousands apart by a comma; trailing zeros stay, since they are significant.
pub(crate) fn significant(value: f64) -> String {
    let value = to_three_digits(value);
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (2 - value.abs().log10().floor() as i32).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if value.abs() < 1e3 { text } else { group(&text) }
}

/// An exact count, thousands apart by a comma.
pub(crate) fn count(value: u64) -> String {
    group(&value.to_string())
}

/// Bytes in GiB or MiB.
pub(crate) fn bytes(value: u64) -> String {
    const MIB: f64 = 1024.0 * 1024.0;
    let mib = value as f64 / MIB;
    if value > 0 && mib < 1.0 {
        format!("{}{THIN}KiB", significant(mib * 1024.0))
    } else if mib < 1024.0 {
        format!("{}{THIN}MiB", significant(mib))
    } else {
        format!("{}{THIN}GiB", significant(mib / 1024.0))
    }
}

/// `1 update lost`, `3 updates lost`: what a check counts has its noun, in the plural, as the first word that ends so.
pub(crate) fn counted(n: u64, what: &str) -> String {
    let (mut before, mut noun) = (Vec::new(), n == 1);
    for word in what.split(' ') {
        let one = match word.strip_suffix("ies").map(|stem| format!("{stem}y")) {
            Some(one) => Some(one),
            None => word.strip_suffix('s').map(str::to_owned),
        };
        match one.filter(|_| noun) {
            Some(one) => {
                before.push(one);
                noun = false;
            }
            None => before.push(word.to_owned()),
        }
    }
    format!("{} {}", count(n), before.join(" "))
}

/// "1 block", "3 blocks".
pub(crate) fn plural(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// An RFC 3339 UTC stamp for people: no fraction, no letters but the zone.
pub(crate) fn utc(stamp: &str) -> String {
    let Some((date, time)) = stamp.split_once('T') else { return stamp.to_owned() };
    let Some(time) = time.strip_suffix('Z') else { return stamp.to_owned() };
    let time = time.split('.').next().unwrap_or(time);
    format!("{date} {time} UTC")
}

fn to_three_digits(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let scale = 10_f64.powi(2 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

fn group(digits: &str) -> String {
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0
            && (digits.len() - place).is_multiple_of(3)
            && digit.is_ascii_digit()
            && !out.ends_with('-')
        {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits_and_a_unit() {
        let shown: Vec<_> = [0.0, 7.0, 850.0, 1_234.0, 999_960.0, 5_030_000.0, 12_345_678.0, 2e9]
            .map(|ns| duration(ns).replace(THIN, " "))
            .into();
        assert_eq!(
            shown,
            ["0 ns", "7.00 ns", "850 ns", "1.23 µs", "1.00 ms", "5.03 ms", "12.3 ms", "2.00 s"]
        );
    }

    #[test]
    fn ticks_carry_no_needless_zeros() {
        let shown = [1e6, 1e7, 2e8, 5e4].map(|ns| tick(ns).replace(THIN, " "));
        assert_eq!(shown, ["1 ms", "10 ms", "200 ms", "50 µs"]);
    }

    #[test]
    fn one_is_told_in_the_singular() {
        assert_eq!(counted(1, "updates lost"), "1 update lost");
        assert_eq!(counted(1, "stale tokens"), "1 stale token");
        assert_eq!(counted(1, "entries out of order"), "1 entry out of order");
        assert_eq!(counted(1, "steps not done exactly once"), "1 step not done exactly once");
        assert_eq!(counted(1_200, "updates lost"), format!("{} updates lost", count(1_200)));
    }

    #[test]
    fn rates_and_counts_are_grouped() {
        assert_eq!(significant(12_345.0), "12,300");
        assert_eq!(significant(399.96), "400");
        assert_eq!(significant(0.012_34), "0.0123");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(999), "999");
    }

    #[test]
    fn stamps_lose_their_fraction_and_strangers_stay() {
        assert_eq!(utc("2026-11-22T23:44:10.123Z"), "2026-11-22 23:44:10 UTC");
        assert_eq!(utc("yesterday"), "yesterday");
    }
}
