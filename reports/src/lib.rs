//! Turns the records of a batch into what people and machines read.
//!
//! ```text
//! manifest.json, */record.json ──load──▶ Comparison ──render::ALL──▶ report.html, summary.md, runs.csv, junit.xml
//! ```
//!
//! Start at [`Comparison`]: the rows that stand side by side. `harness::record::conclude` says what the answers of the checks
//! amount to, the table and sentence modules put it into cells and words, and each file in `render/` is one look.
//! Nothing here measures or judges anew: a number that no record holds is shown as "–".

mod error;
mod comparison;
mod concluded;

mod format;
mod table;
mod aligned;
mod markup;
mod estimates;
mod github;
mod noise;
mod gated;
mod carries;
mod sentences;
mod matrix;

mod cost;
mod moves;
mod sections;
mod terminal;

mod chart;
pub mod render;

mod side;
mod versus;
mod trend;
mod sweep;
mod written;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;

pub use comparison::{Comparison, Row, Spread, load};
pub use error::ReportError;
pub use gated::gate_table;
pub use noise::noise_table;
pub use render::Renderer;
pub use side::Side;
pub use sweep::Sweep;
pub use terminal::terminal_table;
pub use trend::Trends;
pub use versus::{Asked, Versus};
pub use written::write_all;
