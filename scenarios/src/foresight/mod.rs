//! Scenarios in virtual time: who can run there (`doubles`), what is broken (`mix`, many faults at once), and what a seed shows
//! (`exploration`); and what it would take at sizes that nobody can run (`prediction`).

mod doubles;
mod mix;
mod exploration;

pub mod prediction;

pub use self::doubles::{Double, double, doubles};
pub use self::exploration::{Exploration, Violated};
