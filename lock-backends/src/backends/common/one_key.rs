//! The requests that a session takes whose variant has neither levels nor several keys.

use std::sync::Arc;

use crate::session::{LockError, Mode, Request};

/// The key of a request for one key of level 1, in whatever mode.
///
/// # Errors
/// [`LockError::Unsupported`] for anything else.
pub(in crate::backends) fn single_key(request: &Request) -> Result<&Arc<str>, LockError> {
    match (request.keys.as_slice(), request.level) {
        ([key], 1) => Ok(key),
        _ => Err(LockError::Unsupported("one key of level 1 at a time")),
    }
}

/// As [`single_key`], where there is no shared mode either.
///
/// # Errors
/// [`LockError::Unsupported`] for anything else.
pub(in crate::backends) fn exclusive_key(request: &Request) -> Result<&Arc<str>, LockError> {
    match request.mode {
        Mode::Exclusive => single_key(request),
        Mode::Shared => Err(LockError::Unsupported("shared mode")),
    }
}
