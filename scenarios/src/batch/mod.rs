//! A batch: every contender in every block, interleaved in seeded random order, each on a server of its own.
//!
//! What is to run (`wanted`) and where it is kept (`store`); what else is on the machine (`disks`, [`twins`]) and on servers that are not ours
//! ([`care`]), which are somewhere else ([`near`]); hosts of nodes that are somewhere else (`remote`); a run (`one_run`) of a plan (`drawing`) on its server (`servers`), and its record (`judged`, `assemble`; `again`
//! from what is stored), cut short where a probe is `hopeless` or `bystanders` wait too long. Whose turn it is (`order`; `probing` and
//! `search` where capacities are looked for), servers between
//! their turns (`standing`), whether all is told (`decided`), what a `budget` allows, and all turns (`schedule`). What the records together mean is for [`harness::record::conclude`] to say.

pub mod care;
pub mod near;
mod lateness;
mod place;
mod show;
mod store;
mod disks;
pub mod twins;

mod pinning;
mod remote;
mod wanted;

mod decided;

mod drawing;

mod asked;
mod doubts;
mod judged;
mod assemble;
mod servers;

mod hopeless;
mod bystanders;
mod one_run;
mod again;

mod search;
mod order;
mod budget;
mod probing;
mod standing;

mod schedule;

pub use self::again::again;
pub use self::drawing::draw;
pub use self::pinning::Pinning;
pub use self::remote::{Remote, build};
pub use self::schedule::Ran;
pub use self::show::{Begins, Show, Wrong};
pub use self::store::new_directory;
pub use self::wanted::{Batch, sort};
