//! What a started task may show for itself, and how it hears that its node has lost the key.

use std::fmt;

use tokio_util::sync::CancellationToken;

use super::completion::{Completion, Link, TableId};
use super::held::Held;
use super::submission::Token;

/// What a started task may show for itself.
#[derive(Clone, Debug)]
pub struct Entitlement {
    /// The lowest slot of the key that was free; `None` at level 0.
    pub slot: Option<u32>,
    /// Fencing token; `None` at level 0.
    pub token: Option<Token>,
    /// Tells when this node stops owning the key.
    pub lost: Lost,
}

impl Completion {
    /// Slot, token and lost signal of the task.
    pub fn entitlement(&self) -> Entitlement {
        Entitlement::of(self.link(), self.held())
    }
}

impl Entitlement {
    pub(super) fn of(link: &Link, held: Held) -> Self {
        let (slot, token) = held.slot().unzip();
        Self { slot, token, lost: Lost { table: link.id(), held } }
    }
}

/// Tells a started task that its node does not own the key any more. It costs nothing until it is asked.
#[derive(Clone)]
pub struct Lost {
    table: TableId,
    held: Held,
}

impl Lost {
    /// Cancelled when the key is lost, at once if it is already. Never, once the task has ended; at level 0 only when
    /// the node stops.
    pub fn signal(&self) -> CancellationToken {
        match self.table.find() {
            Some(table) => table.shard(self.held.site.shard).watch(&self.held),
            // The task has ended, and its queues are gone.
            None => CancellationToken::new(),
        }
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost").finish_non_exhaustive()
    }
}
