//! What a user sees while batches run: what is looked at once a second, its words, and where they are shown.

mod seen;
mod words;
mod display;

pub use display::{Display, Form};
