//! Units of a scenario file, and what they are inside.

/// Seconds of a scenario file as nanoseconds of a plan: at most eleven days, which is also the most that is drawn from a
/// distribution with a long tail, so that sums do not overflow.
#[must_use]
pub fn nanos(seconds: f64) -> u64 {
    (seconds.min(1e6) * 1e9).round() as u64
}
