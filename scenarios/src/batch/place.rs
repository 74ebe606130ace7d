//! Where a run stands in its batch.

use std::fmt;

/// Where a run stands in its batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) block: u32,
    /// Of all runs.
    pub(super) order: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}", self.block)
    }
}
