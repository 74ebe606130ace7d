//! A mutex that knows its owner.

use super::super::object::Model;

/// Held by one process at a time; only the holder can release it. Not re-entrant.
#[derive(Debug, Clone, Copy)]
pub struct Mutex;

/// An operation on a [`Mutex`] that was answered with success, or a release that was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MutexOp {
    /// The process took it.
    Acquire(u32),
    /// The process, its holder, gave it back.
    Release(u32),
    /// A release of the process failed, and after it the process does not hold it, whether or not it did before.
    NotHeldAfter(u32),
}

impl Model for Mutex {
    type Op = MutexOp;
    type State = Option<u32>;

    fn initial(&self) -> Option<u32> {
        None
    }

    fn step(&self, holder: &Option<u32>, op: &MutexOp) -> Option<Option<u32>> {
        match *op {
            MutexOp::Acquire(process) => holder.is_none().then_some(Some(process)),
            MutexOp::Release(process) => (*holder == Some(process)).then_some(None),
            MutexOp::NotHeldAfter(process) => Some(holder.filter(|holder| *holder != process)),
        }
    }

    fn woken(&self, op: &MutexOp, other: &MutexOp) -> bool {
        woken(op, other)
    }
}

/// For each lock: only an acquire of the same process gives a failed release something to end.
pub(super) fn woken(op: &MutexOp, other: &MutexOp) -> bool {
    match op {
        MutexOp::NotHeldAfter(process) => *other == MutexOp::Acquire(*process),
        MutexOp::Acquire(_) | MutexOp::Release(_) => true,
    }
}
