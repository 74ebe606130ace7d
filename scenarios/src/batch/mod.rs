//! A batch: every contender in every block, interleaved in seeded random order, each on a server of its own.
//!
//! What is to run (`wanted`) and where it is kept (`store`); what else is on the machine (`disks`, [`twins`]) and on servers that are not ours ([`care`]); a run (`one_run`) on its server (`servers`), and its record
//! (`assemble`), cut short where a probe is `hopeless`. Whose turn it is (`order`; `probing` and `search` where capacities are looked for), servers between
//! their turns (`standing`), whether all is told (`decided`), and all turns (`schedule`). What the records together mean is for [`harness::record::conclude`] to say.

pub mod care;
mod lateness;
mod place;
mod show;
mod store;
mod disks;
pub mod twins;

mod pinning;
mod wanted;

mod decided;

mod asked;
mod doubts;
mod assemble;
mod servers;

mod hopeless;
mod one_run;

mod search;
mod order;
mod probing;
mod standing;

mod schedule;

pub use self::pinning::Pinning;
pub use self::schedule::Ran;
pub use self::show::Show;
pub use self::store::new_directory;
pub use self::wanted::{Batch, sort};
