//! How much a contender carries: whether a probe met the service level (`met`), where the rates of a block cross it
//! (`crossing`), and what all blocks together say, beside the ceilings (`carried`).

mod met;
mod crossing;
mod carried;

pub use carried::{Carried, Ceiling, Share, carried};
pub use crossing::crossing;
pub use met::{MAY_BE_LATE, Missed, excess_p99_ns, late, missed};
