//! From a history to figures and verdicts: pure functions, whoever recorded it.

mod settled;
mod per;
mod stamp;
mod breakage;
#[cfg(test)]
pub(crate) mod fixture;
mod awareness;
mod life;
mod elsewhere;
mod per_slice;
mod measure;
pub mod checks;
mod timeline;
mod moved;
mod aftermath;
pub mod linearizability;

pub use aftermath::aftermath;
pub use measure::{Figures, measure};
pub use timeline::timeline;
