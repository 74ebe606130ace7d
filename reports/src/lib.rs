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
mod callers;
mod table;
mod aligned;
mod markup;
mod estimates;
mod github;
mod noise;
mod gated;
mod carries;
mod beside;
mod folded;
mod sentences;
mod threats;
mod ranks;
mod matrix;

mod cost;
mod prices;
mod moves;
mod sections;
mod terminal;

mod chart;
mod sealed;
pub mod render;

mod side;
mod versus;
mod trend;
mod sweep;
mod known;
mod review;
mod peers;
mod index;
mod written;

#[cfg(test)]
mod browser;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;

pub use chart::KNOWN_LOOKS;
pub use comparison::{Comparison, Row, Spread, Stored, load, stored};
pub use error::ReportError;
pub use gated::gate_table;
pub use known::KnownFailures;
pub use noise::noise_table;
pub use peers::Peers;
pub use render::Renderer;
pub use review::Review;
pub use sealed::{Sealed, SealedRun};
pub use side::Side;
pub use sweep::Sweep;
pub use terminal::terminal_table;
pub use trend::Trends;
pub use versus::{Asked, Versus};
pub use written::write_all;
