//! Readers of stored histories. Whatever the bytes, they end with a history or with the line and what is wrong there.

mod error;
mod pairing;
mod edn;
mod jepsen;
mod events;
mod form;

pub use error::ReadError;
pub use events::{LockObject, events, locks};
pub use form::{clients, format};
