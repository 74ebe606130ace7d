//! What is on a server beside the locks that are held now: looked at before it is used, and put right after.

use std::fmt;

use super::backend::BoxFuture;
use super::error::LockError;

/// How much a server holds: keys, tables, nodes or streams, whatever it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Things whose name begins with `lockbench`: whatever the locks of this crate put there.
    pub ours: u64,
    /// All others; `None`: whoever logs in so is not let see.
    pub others: Option<u64>,
}

/// A connection to a server that looks what is on it.
pub trait Contents: Send + Sync + fmt::Debug {
    /// Counts. It is a question about the whole server, so not one for every minute.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] without an answer.
    fn held(&self) -> BoxFuture<'_, Result<Held, LockError>>;

    /// Removes all that is called `lockbench…`, and nothing else. Whoever holds a lock there loses it.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] without an answer; some of it may be gone then.
    fn clear(&self) -> BoxFuture<'_, Result<(), LockError>>;
}

/// Looks what is on a server, or why that cannot be.
pub type ContentsRet = Result<Box<dyn Contents>, LockError>;
