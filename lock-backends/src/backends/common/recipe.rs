//! How a variant takes a key on a server whose sessions are the same for all of its variants.

use std::fmt;
use std::sync::Arc;

use crate::session::{BoxFuture, Grant, LockError, Request};

/// The part of a protocol in which variants on one server differ: taking the key. `Node` is what is theirs in common, a
/// node's session there, with renewal, release and withdrawal.
pub(in crate::backends) trait Recipe<Node>: fmt::Debug + Send + Sync + 'static {
    /// As [`acquire`](crate::session::LockSession::acquire), for the one key of the request.
    fn acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Grant, LockError>>;

    /// As [`try_acquire`](crate::session::LockSession::try_acquire), for the one key of the request.
    fn try_acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Option<Grant>, LockError>>;
}
