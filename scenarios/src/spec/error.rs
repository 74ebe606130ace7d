//! Why a scenario is refused.

/// Why a scenario was refused. Every message names the place and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}")]
pub struct SpecError {
    /// File and line, or the flag.
    pub place: String,
    /// What is wrong and what to do about it.
    pub what: String,
}

/// What is wrong with a field, where its line is not known yet.
#[derive(Debug)]
pub struct Wrong {
    /// The field.
    pub key: &'static str,
    /// What is wrong and what to do about it.
    pub what: String,
}

/// Refuses a number that is none, endless, 0 or less.
///
/// # Errors
/// When it is one of these.
pub(super) fn positive(key: &'static str, value: f64) -> Result<(), Wrong> {
    let fine = value.is_finite() && value > 0.0;
    if fine { Ok(()) } else { Err(Wrong { key, what: format!("{value} must be greater than 0") }) }
}
