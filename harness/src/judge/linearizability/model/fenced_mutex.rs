//! A mutex whose grants carry rising fences.

use super::super::object::Model;
use super::mutex::{Mutex, MutexOp};

/// As [`Mutex`]; and the fence of each grant is greater than the highest of all grants before it.
#[derive(Debug, Clone, Copy)]
pub struct FencedMutex;

/// An operation on a [`FencedMutex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FencedMutexOp {
    /// What it does to the mutex.
    pub op: MutexOp,
    /// Fence of an acquire; `None` when it is not known, and for everything else.
    pub fence: Option<u128>,
}

impl Model for FencedMutex {
    type Op = FencedMutexOp;
    /// The holder, and the highest fence seen.
    type State = (Option<u32>, Option<u128>);

    fn initial(&self) -> Self::State {
        (None, None)
    }

    fn step(
        &self,
        (holder, highest): &Self::State,
        FencedMutexOp { op, fence }: &FencedMutexOp,
    ) -> Option<Self::State> {
        let holder = Mutex.step(holder, op)?;
        // `None` is less than any fence. An unknown fence may have been any, so it rules nothing out.
        (fence.is_none() || fence > highest).then_some((holder, fence.or(*highest)))
    }

    fn woken(&self, op: &FencedMutexOp, other: &FencedMutexOp) -> bool {
        Mutex.woken(&op.op, &other.op)
    }
}
