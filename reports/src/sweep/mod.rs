//! A sweep: batches at every point of a grid, side by side.
//!
//! What there is (`cells`), what it tells by metric (`told`), as maps (`map`), as lines and where they cross (`crossing`), in words (`words`), and the files that it is
//! shown in (`csv`, `text`, `page`).

mod cells;
mod told;
mod map;
mod crossing;
mod words;
mod csv;
mod text;
mod page;

pub use self::cells::Sweep;
pub(crate) use self::page::LOOKS;

#[cfg(test)]
mod tests;
