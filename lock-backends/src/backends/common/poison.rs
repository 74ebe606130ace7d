//! Mutexes that stay usable after a panic: what they hold is whole between any two statements.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also what a panic left poisoned: a session has to give its locks back all the same.
pub(in crate::backends) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
