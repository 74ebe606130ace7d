//! Why a file is no history.

use thiserror::Error;

/// Why a file is no history.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct ReadError {
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, and the remedy.
    pub what: String,
}

impl ReadError {
    pub(super) fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into() }
    }
}
