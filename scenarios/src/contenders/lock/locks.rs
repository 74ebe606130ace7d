//! What a mechanism of locks is made of.

use std::fmt;
use std::sync::Arc;

use harness::model::NodeId;
use harness::servers::ServerKind;
use lock_backends::{Capabilities, ClientOptions, Endpoint, LockBackend, LockError};

use crate::contenders::setting::Setting;

/// The locks of a contender: one of our own variants, or a program that speaks over the port.
pub(in crate::contenders) trait Locks: fmt::Debug + Send + Sync {
    /// The contender's name, for errors.
    fn name(&self) -> &str;

    /// What they promise.
    fn capabilities(&self) -> Capabilities;

    /// The server that they need.
    fn server(&self) -> Option<ServerKind>;

    /// Whether the requests that they send to it are counted.
    fn are_counted(&self) -> bool;

    /// How their callers are treated.
    fn options(&self) -> ClientOptions;

    /// Whether the nodes of one process may open their sessions on one backend, unless each has a link of its own.
    fn may_share(&self) -> bool;

    /// Opens a backend for a node that reaches the server at this address.
    ///
    /// # Errors
    /// When the address is none for it.
    fn open(
        &self,
        node: NodeId,
        endpoint: &Endpoint,
        setting: &Setting,
    ) -> Result<Arc<dyn LockBackend>, LockError>;
}
