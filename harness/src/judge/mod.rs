//! From a history to figures and verdicts: pure functions, whoever recorded it.

mod settled;
mod per;
mod stamp;
mod breakage;
#[cfg(test)]
pub(crate) mod fixture;
mod awareness;
mod measure;
pub mod checks;
mod moved;
mod aftermath;
pub mod linearizability;

pub use aftermath::aftermath;
pub use measure::{Figures, measure};
