//! Locks of this crate's own state, all taken in one way.

use std::sync::PoisonError;

use crate::sync::{Mutex, MutexGuard};

/// Takes a lock, poisoned or not. No code of a caller runs under one, except its clock, and no lock guards what a panic
/// could leave half done: a poisoned one means that our own bookkeeping panicked, and that message is the better one.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
