//! A sweep: one scenario at every point of a grid, each a batch of its own.

use serde::{Deserialize, Serialize};

/// What is swept and where each point of it is. `sweep.json`, in the folder that has the batches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepRecord {
    /// [`SCHEMA_VERSION`](super::SCHEMA_VERSION).
    pub schema_version: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// The scenario with its lists, TOML, after `--set` and the short forms.
    pub spec_toml: String,
    /// The seed of every cell, and of the order in which they run.
    pub seed: u64,
    /// UTC start, RFC 3339.
    pub started_utc: String,
    /// Whether the capacity of each contender is looked for in each cell.
    pub capacity: bool,
    /// Who alone takes part, as the command line said; empty: whoever the scenario names.
    pub contenders: Vec<String>,
    /// The fields that are lists; one or two.
    pub axes: Vec<SweepAxis>,
    /// Every combination, the last axis changing first.
    pub cells: Vec<SweepCell>,
}

/// A field of the scenario that takes several values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepAxis {
    /// The way to the field, such as `resources.vm.count`.
    pub field: String,
    /// Its values as the scenario has them; numbers rise.
    pub values: Vec<String>,
}

/// One combination of values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepCell {
    /// One of each axis, in their order.
    pub values: Vec<String>,
    /// The folder of its batch, within that of the sweep; it need not be there yet.
    pub folder: String,
}

/// The values of a cell by the fields that they are of, in the order of the axes.
pub type CellValues = Vec<(String, String)>;

impl SweepRecord {
    /// The name of the file.
    pub const FILE: &str = "sweep.json";

    /// The values of a cell with the fields that they are of.
    #[must_use]
    pub fn values_of(&self, cell: &SweepCell) -> CellValues {
        let fields = self.axes.iter().map(|axis| axis.field.clone());
        fields.zip(cell.values.iter().cloned()).collect()
    }
}
