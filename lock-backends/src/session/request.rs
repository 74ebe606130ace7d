//! What is asked for.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::clock::{Now, sleep_until};
use super::grant::{Grant, Validity};
use super::owner::OwnerId;
use super::slot::slot_key;

/// What a caller wants. Above the shared layer `keys` and `level` are free; below it a backend without
/// [`native_level`](crate::Capabilities::native_level) and [`native_many`](crate::Capabilities::native_many) sees exactly one key, level 1.
#[derive(Debug, Clone)]
pub struct Request {
    /// Names of the locks; all or nothing.
    pub keys: Vec<Arc<str>>,
    /// Exclusive or shared.
    pub mode: Mode,
    /// Slots of the resource: how many holders may be inside at once. At least 1.
    pub level: u32,
    /// Seeds the order in which slots are tried.
    pub slot_seed: u64,
    /// Who asks: unique per attempt, kept over retries of the same attempt, so that a retry is recognised. Another one after
    /// [`LockError::SessionLost`](super::LockError::SessionLost): what the lost session has under way may still withdraw what this one is granted.
    pub owner: OwnerId,
    /// What the holder is doing, for whoever is refused.
    pub description: Arc<str>,
    /// Absolute deadline of the wait, on the node's clock; a retry never extends it.
    pub deadline_ns: u64,
    /// Fires when the caller no longer waits, as if the deadline had come. The shared layer puts its own here.
    pub left: CancellationToken,
}

impl Request {
    /// Asks for one key, exclusive, level 1.
    #[must_use]
    pub fn exclusive(key: &str, owner: OwnerId, deadline_ns: u64) -> Self {
        Self {
            keys: vec![key.into()],
            mode: Mode::Exclusive,
            level: 1,
            slot_seed: 0,
            owner,
            description: "".into(),
            deadline_ns,
            left: CancellationToken::new(),
        }
    }

    /// Asks for a slot of a resource of so many.
    #[must_use]
    pub fn at_level(self, level: u32) -> Self {
        Self { level, ..self }
    }

    /// Asks for it together with others.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { mode: Mode::Shared, ..self }
    }

    /// Says what the holder does with it, for whoever is refused.
    #[must_use]
    pub fn describing(self, description: &str) -> Self {
        Self { description: description.into(), ..self }
    }

    /// What may stand at the server after an answer was lost: a grant of this owner, without a token, on the keys,
    /// or on any slot where the level is above 1.
    #[must_use]
    pub fn unproven_grant(&self) -> Grant {
        let keys = match self.keys.as_slice() {
            [key] if self.level > 1 => (0..self.level).map(|slot| slot_key(key, slot).into()).collect(),
            keys => keys.to_vec(),
        };
        Grant { keys, owner: self.owner.clone(), token: None, validity: Validity::Lost }
    }

    /// How long the caller still waits.
    #[must_use]
    pub fn remaining(&self, now: &dyn Now) -> Duration {
        let left_ns = self.deadline_ns.saturating_sub(now.now_ns());
        if self.left.is_cancelled() { Duration::ZERO } else { Duration::from_nanos(left_ns) }
    }

    /// Completes when the caller no longer waits: at the deadline, or when it left. Cancel safe.
    pub async fn over(&self, now: &dyn Now) {
        tokio::select! {
            biased;
            () = self.left.cancelled() => {}
            () = sleep_until(now, self.deadline_ns) => {}
        }
    }
}

/// How a key is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One holder.
    Exclusive,
    /// Holders of this mode do not exclude each other.
    Shared,
}
