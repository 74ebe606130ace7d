//! From a text and settings to a scenario, or to why it is refused.

use super::error::SpecError;
use super::limits;
use super::scenario::Scenario;

impl Scenario {
    /// Parses a text, then puts `key=value` settings into it, later ones winning. Keys may have dots:
    /// `resources.vm.count=10`.
    ///
    /// # Errors
    /// When the text or a setting is no valid TOML, a key is unknown or missing, or a value has the wrong type or
    /// an impossible size.
    pub fn parse(origin: &str, text: &str, settings: &[(String, String)]) -> Result<Self, SpecError> {
        // The file alone first, so that its own errors carry its own lines.
        let mut scenario = Self::parse_text(origin, text)?;
        if !settings.is_empty() {
            let mut table: toml::Table =
                toml::from_str(text).map_err(|error| SpecError::toml(origin, &error))?;
            for (key, value) in settings {
                set(&mut table, key, value)?;
            }
            let keys = settings.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ");
            let text = toml::to_string(&table).expect("a table that was parsed can be written");
            scenario = Self::parse_text(&format!("{origin} with {keys} set"), &text)?;
        }
        limits::validate(&scenario)?;
        Ok(scenario)
    }

    fn parse_text(origin: &str, text: &str) -> Result<Self, SpecError> {
        let spec = toml::from_str(text).map_err(|error| SpecError::toml(origin, &error))?;
        Ok(Self { spec, text: text.to_owned(), origin: origin.to_owned() })
    }
}

/// Puts one setting into the table; the value is TOML, or else a string.
fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<(), SpecError> {
    let wrong = |what: &str| SpecError { place: format!("--set {key}={value}"), what: what.to_owned() };
    let parsed = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut path: Vec<&str> = key.split('.').collect();
    let last = path.pop().filter(|last| !last.is_empty()).ok_or_else(|| wrong("the key is empty"))?;
    let mut place = table;
    for part in path {
        let next = place.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = next.as_table_mut().ok_or_else(|| wrong(&format!("`{part}` is not a table")))?;
    }
    // 5 means 5.0 where a number with a fraction stood before.
    let parsed = match (&parsed, place.get(last)) {
        (toml::Value::Integer(whole), Some(toml::Value::Float(_))) => toml::Value::Float(*whole as f64),
        _ => parsed,
    };
    place.insert(last.to_owned(), parsed);
    Ok(())
}
