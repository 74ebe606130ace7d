//! Known failures: what was foretold of each contender, beside what it did; the rows of `lockbench matrix`.
//!
//! What there is (`rows`), what one contender did in one row (`cell`), what
//! is claimed of each (`claims`, `guarantees`), and the files that it is shown in (`text`, `page`).

mod cell;
mod rows;
mod text;
mod claims;
mod guarantees;
mod page;

pub(crate) use self::page::LOOKS;
pub use self::rows::KnownFailures;

#[cfg(test)]
mod tests;
