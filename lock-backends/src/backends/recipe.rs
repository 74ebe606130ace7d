//! What a variant is, where the session with the server is shared by all variants on it.

use std::fmt;
use std::sync::Arc;

use crate::session::{BoxFuture, Grant, LockError, Request};

/// How a variant takes a key in a session `N`. All else is the session's.
pub(in crate::backends) trait Recipe<N>: fmt::Debug + Send + Sync + 'static {
    /// As [`crate::session::LockSession::acquire`], of a single key.
    fn acquire<'a>(
        &'a self,
        node: &'a N,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Grant, LockError>>;

    /// As [`crate::session::LockSession::try_acquire`], of a single key.
    fn try_acquire<'a>(
        &'a self,
        node: &'a N,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Option<Grant>, LockError>>;
}
