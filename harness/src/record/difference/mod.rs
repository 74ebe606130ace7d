//! Whether two contenders differ, from what each measured block by block: log ratios of one block (`paired`), and what a
//! family of them allows to say (`decide`).

mod paired;
mod decide;

pub use decide::{Answer, Decided, Rule, decide};
pub use paired::Paired;
