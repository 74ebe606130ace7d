//! From a text and settings to a scenario, or to why it is refused.

use super::error::SpecError;
use super::fields::ScenarioSpec;
use super::limits;
use super::scenario::Scenario;

impl Scenario {
    /// Parses a text, then puts `key=value` settings into it, later ones winning. Keys may have dots:
    /// `resources.vm.count=10`, `tasks.start-vm.step.hold_s=0.5`. An empty value takes the field out.
    ///
    /// # Errors
    /// When the text or a setting is no valid TOML, a key is unknown or missing, or a value has the wrong type or
    /// an impossible size; also where a field is a list of values to sweep, which is for [`Grid`](super::Grid).
    pub fn parse(origin: &str, text: &str, settings: &[(String, String)]) -> Result<Self, SpecError> {
        // The file alone first, so that its own errors carry its own lines.
        fields(origin, text)?;
        let (origin, text) = with_settings(origin, text, settings)?;
        Self::of(&origin, text)
    }

    /// Of a text that has all settings in it.
    pub(super) fn of(origin: &str, text: String) -> Result<Self, SpecError> {
        let scenario =
            Self { spec: fields(origin, &text)?, text, origin: origin.to_owned(), cell: Vec::new() };
        limits::validate(&scenario)?;
        Ok(scenario)
    }
}

fn fields(origin: &str, text: &str) -> Result<ScenarioSpec, SpecError> {
    toml::from_str(text).map_err(|error| SpecError::toml(origin, &error))
}

/// A text with settings put into it, and where it comes from then.
pub(super) fn with_settings(
    origin: &str,
    text: &str,
    settings: &[(String, String)],
) -> Result<(String, String), SpecError> {
    if settings.is_empty() {
        return Ok((origin.to_owned(), text.to_owned()));
    }
    let mut table: toml::Table = toml::from_str(text).map_err(|error| SpecError::toml(origin, &error))?;
    for (key, value) in settings {
        set(&mut table, key, value)?;
    }
    let keys = settings.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>().join(", ");
    let text = toml::to_string(&table).expect("a table that was parsed can be written");
    Ok((format!("{origin} with {keys} set"), text))
}

/// Puts one setting into the table; the value is TOML, or else a string. Without a value the field is taken out.
fn set(table: &mut toml::Table, key: &str, value: &str) -> Result<(), SpecError> {
    let wrong = |what: &str| SpecError { place: format!("--set {key}={value}"), what: what.to_owned() };
    let parsed = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut path: Vec<&str> = key.split('.').collect();
    let last = path.pop().filter(|last| !last.is_empty()).ok_or_else(|| wrong("the key is empty"))?;
    let mut place = table;
    let mut path = path.into_iter();
    while let Some(part) = path.next() {
        let next = place.entry(part).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        place = match next {
            toml::Value::Table(table) => table,
            toml::Value::Array(items) => {
                let item =
                    path.next().ok_or_else(|| wrong(&format!("`{part}` is a list: say which of it")))?;
                item_of(items, item).ok_or_else(|| wrong(&format!("`{part}` has no `{item}`")))?
            }
            _ => return Err(wrong(&format!("`{part}` is not a table"))),
        };
    }
    if value.is_empty() {
        place.remove(last);
        return Ok(());
    }
    // 5 means 5.0 where a number with a fraction stood before.
    let parsed = match (&parsed, place.get(last)) {
        (toml::Value::Integer(whole), Some(toml::Value::Float(_))) => toml::Value::Float(*whole as f64),
        _ => parsed,
    };
    place.insert(last.to_owned(), parsed);
    Ok(())
}

/// A table of a list of such, by its name or by its number, from 0.
fn item_of<'a>(items: &'a mut [toml::Value], item: &str) -> Option<&'a mut toml::Table> {
    let named = |value: &toml::Value| value.get("name").and_then(toml::Value::as_str) == Some(item);
    let place = items.iter().position(named).or_else(|| item.parse().ok())?;
    items.get_mut(place)?.as_table_mut()
}
