//! A batch: every contender in every block, interleaved in seeded random order, each on a server of its own.
//!
//! What is to run (`wanted`) and where it is kept (`store`); a run (`one_run`) on its server (`servers`), and its record
//! (`assemble`); the order of runs (`schedule`). What the records together mean is for [`harness::record::conclude`] to say.

mod lateness;
mod place;
mod show;
mod store;

mod pinning;
mod wanted;

mod assemble;
mod servers;

mod one_run;

mod schedule;

pub use self::pinning::Pinning;
pub use self::show::Show;
pub use self::store::new_directory;
pub use self::wanted::{Batch, sort};
