//! What a started task may show for itself, and how it hears that its node has lost the key.

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::completion::{Completion, Hold, Shard};
use super::shard::Held;
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
        match self.hold() {
            Hold::Slot(shard, held) => Entitlement {
                slot: Some(held.slot),
                token: Some(held.token),
                lost: Lost { of: LostOf::Slot(Arc::clone(shard), *held) },
            },
            Hold::Unlimited(shard) => {
                Entitlement { slot: None, token: None, lost: Lost { of: LostOf::Node(Arc::clone(shard)) } }
            }
        }
    }
}

/// Tells a started task that its node does not own the key any more. It costs nothing until it is asked.
#[derive(Clone)]
pub struct Lost {
    of: LostOf,
}

#[derive(Clone)]
enum LostOf {
    Slot(Arc<Shard>, Held),
    Node(Arc<Shard>),
}

impl Lost {
    /// Cancelled when the key is lost, at once if it is already. Never, once the task has ended; at level 0 only when
    /// the node stops.
    pub fn signal(&self) -> CancellationToken {
        match &self.of {
            LostOf::Slot(shard, held) => shard.watch(held),
            LostOf::Node(shard) => shard.node.lost.clone(),
        }
    }
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lost").finish_non_exhaustive()
    }
}
