//! Locks: the step runs at the node where it was asked for, under a guard. What they are made of (`locks`), the mechanism, our own
//! variants, and the same over a model of their server (`modelled`).

mod locks;
mod mechanism;
mod modelled;
mod variants;

pub(super) use self::locks::Locks;
pub(super) use self::mechanism::LockMechanism;
pub(crate) use self::modelled::{modelled_variants, over_model};

use super::contender::Contender;

/// Every variant in the registry of lock backends.
pub(super) fn contenders() -> Vec<Contender> {
    variants::contenders()
}
