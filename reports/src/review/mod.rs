//! A review: what is required beside what each candidate did.
//!
//! What there is (`phases`), whether a requirement is met (`answer`), what that comes to (`decision`), and the files that it is
//! shown in (`text`, `page`).

mod phases;
mod answer;
mod decision;
mod text;
mod page;

pub(crate) use self::page::LOOKS;
pub use self::phases::Review;

#[cfg(test)]
mod tests;
