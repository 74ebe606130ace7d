//! What a server product says of itself.

use std::fmt;
use std::sync::Arc;

use super::backend::BoxFuture;
use super::contents::ContentsRet;
use super::endpoint::Endpoint;
use super::error::LockError;
use super::passage::{AtKill, Modelled};
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
    /// Names of those of them that may be on several such servers that know nothing of each other: their URLs are a list.
    pub of_a_quorum: &'static [&'static str],
    /// Settings of the server that decide what a lock is worth, each with what it decides.
    pub settings: &'static [(&'static str, &'static str)],
    /// Connects a client that only asks. Leaves a small key or table of its own on the server. The error says that the
    /// server cannot be reached.
    pub bare: fn(&Endpoint) -> BoxFuture<'_, BareRet>,
    /// Connects to look what is on the server, and to remove what is ours.
    pub contents: fn(&Endpoint) -> BoxFuture<'_, ContentsRet>,
    /// Each member behind a URL, of which a client may talk to several.
    pub members: fn(&Endpoint) -> BoxFuture<'_, MembersRet>,
    /// A server in memory, behind which variants run unchanged in virtual time; `None`: there is no model of it.
    pub model: Option<fn(AtKill) -> Arc<dyn Modelled>>,
}

/// The members, or why they are not known.
pub type MembersRet = Result<Vec<Member>, LockError>;

/// One of the servers that a URL stands for.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its `host:port`.
    pub place: String,
    /// What it does among the others, in the product's own word; empty of one that is alone, or does not say.
    pub role: String,
    /// The same login at this member alone.
    pub endpoint: Endpoint,
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

    /// What the server's clock shows, in one round trip; `None`: nothing that this server can be asked for tells it.
    fn clock(&self) -> BoxFuture<'_, Result<Option<ServerTime>, LockError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A moment as a server told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTime {
    /// Since 1970, UTC.
    pub unix_us: i64,
    /// It shows times that are so far apart.
    pub step_us: u64,
}
