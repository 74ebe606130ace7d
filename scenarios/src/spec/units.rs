//! Units of a scenario file, and what they are inside.

/// Seconds of a scenario file as nanoseconds of a plan.
#[must_use]
pub fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
