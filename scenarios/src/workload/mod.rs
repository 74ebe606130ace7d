//! From what was asked to what will run: draws a plan from a scenario and a seed, and refuses what cannot be run.
//!
//! Seeds (`seed`), tasks (`arrivals`), what is broken on purpose (`faults`), the plan (`draw`), and the twin of it that the
//! control without exclusion has (`control`).

mod arrivals;
mod control;
mod faults;
mod seed;

mod draw;

pub use self::control::{ControlTwin, LEAST_OVERLAPS};
pub use self::draw::{MOST_LOAD, draw, draw_warm_up};
pub use self::faults::enough_faults;
pub use self::seed::{block_seed, fresh_seed};
