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

impl SpecError {
    /// At a place of a text, by its line.
    #[must_use]
    pub fn at(origin: &str, text: &str, start: usize, what: impl Into<String>) -> Self {
        let line = text[..start.min(text.len())].matches('\n').count() + 1;
        Self { place: format!("{origin}, line {line}"), what: what.into() }
    }

    /// Of a text that is no TOML, or has fields that nobody knows.
    #[must_use]
    pub fn toml(origin: &str, error: &toml::de::Error) -> Self {
        let what = format!("{}{}", error.to_string().trim_end(), meant(error.message()));
        Self { place: origin.to_owned(), what }
    }
}

/// Of an unknown field or word, the known one that is close; serde names what was written first, then all that there are.
fn meant(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    match quoted.next() {
        Some(written) if message.starts_with("unknown") => did_you_mean(written, quoted),
        _ => String::new(),
    }
}

/// What is wrong with a field, where its line is not known yet.
#[derive(Debug)]
pub struct Wrong {
    /// The field.
    pub key: &'static str,
    /// What is wrong and what to do about it.
    pub what: String,
}

/// Refuses a number that is none, or out of bounds; every number of a scenario is bounded, so that no sum overflows.
///
/// # Errors
/// When it is one of these.
pub(super) fn within(key: &'static str, value: f64, least: f64, most: f64) -> Result<(), Wrong> {
    let fine = (least..=most).contains(&value);
    if fine { Ok(()) } else { Err(Wrong { key, what: format!("{value:?} must be from {least} to {most}") }) }
}

/// ` (did you mean …?)` where one of the names is close to what was written; else nothing.
#[must_use]
pub fn did_you_mean<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let close = |name: &&str| strsim::damerau_levenshtein(written, name) <= (name.len() / 3).clamp(1, 3);
    let nearest =
        names.into_iter().filter(close).min_by_key(|name| strsim::damerau_levenshtein(written, name));
    nearest.map_or_else(String::new, |name| format!(" (did you mean `{name}`?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_another_word_is_not() {
        let names = ["redis-fenced", "redis-queue", "noop"];
        assert_eq!(did_you_mean("redis-fence", names), " (did you mean `redis-fenced`?)");
        assert_eq!(did_you_mean("nop", names), " (did you mean `noop`?)");
        assert_eq!(did_you_mean("postgres", names), "");
    }
}
