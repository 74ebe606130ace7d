//! A folder for each server with one line in [`SERVERS`], in it a file for each variant with one line in the server's own
//! list. The other files of a folder are what its variants share, and `common` is what those of several servers share.

mod names;

#[cfg(any(
    feature = "etcd",
    feature = "nats",
    feature = "postgres",
    feature = "redis",
    feature = "zookeeper"
))]
#[cfg_attr(
    not(all(
        feature = "etcd",
        feature = "nats",
        feature = "postgres",
        feature = "redis",
        feature = "zookeeper"
    )),
    allow(dead_code, unused_imports, reason = "each server uses its part")
)]
mod common;

mod local_mutex;

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "zookeeper")]
mod zookeeper;

mod registry;

pub use self::names::NoVariant;
pub use self::registry::{LOCAL, SERVERS, all, server, server_of, variant};
