//! What one run of an acquire script brought.

use std::time::Duration;

use crate::session::Grant;

/// Answer to one run of an acquire script.
pub(super) enum Asked {
    Granted(Grant),
    /// Held by others, the first of whose leases ends in so long.
    Held(Duration),
}

impl Asked {
    pub(super) fn granted(self) -> Option<Grant> {
        match self {
            Self::Granted(grant) => Some(grant),
            Self::Held(_) => None,
        }
    }
}
