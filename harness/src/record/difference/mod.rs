//! Whether two differ, from what each measured block by block: log ratios (`ratio`), what a family of them allows to say
//! (`decide`), which runs make one up (`family`), and when one may look at it early (`looks`).

mod ratio;
mod decide;
mod family;
mod looks;

pub(crate) use decide::holm;
pub use decide::{Answer, Decided, Rule, decide};
pub use family::{Subject, Together, family, ratio};
pub use looks::Looks;
pub use ratio::{How, Ratio};
