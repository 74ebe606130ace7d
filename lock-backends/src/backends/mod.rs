//! A folder for each server with one line in [`SERVERS`], in it a file for each variant with one line in the server's own
//! list. The other files of a folder are what its variants share, `sql` is what those of several SQL servers share, and
//! `common` what those of several servers share.

mod names;

#[cfg(feature = "_server")]
#[cfg_attr(not(feature = "default"), allow(dead_code, unused_imports, reason = "each server uses its part"))]
mod common;

#[cfg(feature = "_sql")]
#[cfg_attr(not(feature = "default"), allow(dead_code, unused_imports, reason = "each server uses its part"))]
mod sql;

mod local_mutex;

#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "mariadb")]
mod mariadb;
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
