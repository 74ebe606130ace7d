//! Why there is no lock.

use std::fmt;

/// Why a lock operation did not do what was asked. Being held by another is not an error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LockError {
    /// The server did not answer or refused the connection; nothing happened.
    #[error("lock server unavailable: {0}")]
    Unavailable(String),
    /// The deadline passed and it is proven that no grant can follow.
    #[error("deadline passed while waiting; the request is withdrawn")]
    TimedOut,
    /// It may have happened: the answer was lost.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The session is gone, and all its grants with it.
    #[error("session lost: {0}")]
    SessionLost(String),
    /// The server answered something that the protocol does not allow.
    #[error("protocol error: {0}")]
    Protocol(String),
    /// What was held ended before it was given back; somebody else may have held it meanwhile.
    #[error("the lock was lost before its release")]
    AlreadyLost,
    /// The URL of the server is not of this form. (It is not repeated: it may hold a password.)
    #[error("a URL of the form {0} is expected")]
    BadUrl(&'static str),
    /// This variant cannot do that; its [`Capabilities`](crate::Capabilities) say so.
    #[error("not supported by this variant: {0}")]
    Unsupported(&'static str),
}

/// An error of a client crate that says that the server cannot be reached.
pub(crate) fn unavailable(error: impl fmt::Display) -> LockError {
    LockError::Unavailable(error.to_string())
}
