//! Clients that do nothing but ask, the yardstick of the variants: what a request and a write take on a server, through
//! the detour that the variants take too (a task that drives the connection).

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "zookeeper")]
mod zookeeper;

use std::fmt;

use crate::session::{BoxFuture, Endpoint, LockError, Server};

/// A connection to a server, for one request at a time.
pub trait Bare: Send + Sync + fmt::Debug {
    /// A round trip that writes nothing.
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>>;

    /// A small write that the server acknowledges, round trip included.
    fn write(&self) -> BoxFuture<'_, Result<(), LockError>>;
}

/// Connects to a server; `None` where there is none to connect to, in this build or at all. Leaves a small key or table
/// of its own on the server.
///
/// # Errors
/// When the server cannot be reached.
pub async fn connect(server: Server, endpoint: &Endpoint) -> Result<Option<Box<dyn Bare>>, LockError> {
    Ok(match server {
        #[cfg(feature = "redis")]
        Server::Redis => Some(Box::new(redis::Redis::connect(endpoint).await?)),
        #[cfg(feature = "postgres")]
        Server::Postgres => Some(Box::new(postgres::Postgres::connect(endpoint).await?)),
        #[cfg(feature = "etcd")]
        Server::Etcd => Some(Box::new(etcd::Etcd::connect(endpoint).await?)),
        #[cfg(feature = "zookeeper")]
        Server::Zookeeper => Some(Box::new(zookeeper::Zookeeper::connect(endpoint).await?)),
        _ => {
            let _ = endpoint;
            None
        }
    })
}

#[cfg(any(feature = "redis", feature = "postgres", feature = "etcd", feature = "zookeeper"))]
fn unavailable(error: impl fmt::Display) -> LockError {
    LockError::Unavailable(error.to_string())
}
