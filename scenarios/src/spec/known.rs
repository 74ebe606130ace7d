//! A known failure that a scenario shows: a row of `lockbench matrix`.

use harness::record::FewerClaim;
use serde::Deserialize;

/// One failure, and how the scenario is set to show it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownSpec {
    /// Name of the row.
    pub row: String,
    /// What goes wrong, in a few words.
    pub failure: String,
    /// Pages where it was published.
    #[serde(default)]
    pub published: Vec<String>,
    /// Fields of the scenario that are other than the file says; keys may have dots.
    #[serde(default)]
    pub set: toml::Table,
    /// Length of the arrival window in the quick matrix; left out: the row is not in it.
    pub quick_s: Option<f64>,
    /// Who does it less often than another.
    pub fewer: Option<FewerClaim>,
}

impl KnownSpec {
    /// The settings of the scenario, as `--set` takes them.
    #[must_use]
    pub fn settings(&self, quick: bool) -> Vec<(String, String)> {
        let window = self.quick_s.filter(|_| quick);
        let set = settings(&self.set).into_iter();
        set.chain(window.map(|s| ("duration_s".to_owned(), toml::Value::Float(s).to_string()))).collect()
    }
}

/// Fields of a scenario that are other than its file says, as `--set` takes them.
pub(super) fn settings(fields: &toml::Table) -> Vec<(String, String)> {
    fields.iter().map(|(key, value)| (key.clone(), value.to_string())).collect()
}
