//! Other people's locks beside ours: what `lockbench peers` ran.
//!
//! What there is (`questions`), and the files that it is shown in (`text`, `page`).

mod questions;
mod text;
mod page;

pub(crate) use self::page::LOOKS;
pub use self::questions::Peers;

#[cfg(test)]
mod tests;
