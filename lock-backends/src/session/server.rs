//! What a server product says of itself.

use std::fmt;

use super::backend::BoxFuture;
use super::contents::ContentsRet;
use super::endpoint::Endpoint;
use super::error::LockError;
use super::variant::Variant;

/// A server product and all that is asked of it: its one line in [`SERVERS`](crate::backends::SERVERS).
#[derive(Debug)]
pub struct Server {
    /// Name on the command line, in records and in reports, such as `redis`.
    pub name: &'static str,
    /// Form of the URL under which it is reached: `name://host:port`, with several members `name://host:port,host:port`.
    /// Anything else is refused with [`LockError::BadUrl`], which says this.
    pub url: &'static str,
    /// The variants on it.
    pub variants: &'static [&'static Variant],
    /// Settings of the server that decide what a lock is worth, each with what it decides.
    pub settings: &'static [(&'static str, &'static str)],
    /// Connects a client that only asks. Leaves a small key or table of its own on the server. The error says that the
    /// server cannot be reached.
    pub bare: fn(&Endpoint) -> BoxFuture<'_, BareRet>,
    /// Connects to look what is on the server, and to remove what is ours.
    pub contents: fn(&Endpoint) -> BoxFuture<'_, ContentsRet>,
}

/// A client that only asks, or why there is none.
pub type BareRet = Result<Box<dyn Bare>, LockError>;

/// A connection to a server for one request at a time, in the shortest way that its client library has: no variant may be
/// quicker than this yardstick, so it takes no detour that one of them does without.
pub trait Bare: Send + Sync + fmt::Debug {
    /// A round trip that writes nothing.
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>>;

    /// A small write that the server acknowledges, round trip included.
    fn write(&self) -> BoxFuture<'_, Result<(), LockError>>;
}
