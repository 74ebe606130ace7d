//! Clients that do nothing but send the requests of a pair: a file and a line for each server.

mod etcd;
mod mariadb;
mod nats;
mod postgres;
mod redis;
mod zookeeper;

use std::sync::Arc;

use harness::servers::Server;
use lock_backends::{BoxFuture, Variant};

use super::lane::{Lane, Pairs};

/// What a server's variants are compared with, and what is worth comparing.
pub(crate) struct Yardstick {
    /// Name of the server in the registry.
    pub(crate) server: &'static str,
    /// The variant that is measured first where there is no bare client: the others are told as multiples of it.
    first: &'static str,
    /// Variants that have a connection for each caller that holds or waits: no crowd for one session.
    connection_each: &'static [&'static str],
    /// Waiters that are worth showing where each of them goes to the server.
    pub(crate) waiters_max: usize,
    connect: fn(&str) -> BoxFuture<'_, Arc<dyn Pairs>>,
    /// Another program's figure, printed beside ours.
    pub(crate) beside: fn(&Server),
}

/// In the order in which they are measured.
pub(crate) const ALL: &[Yardstick] = &[
    redis::YARDSTICK,
    postgres::YARDSTICK,
    etcd::YARDSTICK,
    zookeeper::YARDSTICK,
    mariadb::YARDSTICK,
    nats::YARDSTICK,
];

impl Yardstick {
    /// The variants of the server, the first that they are compared with at the head.
    pub(crate) fn variants(&self) -> Vec<&'static Variant> {
        let server = lock_backends::server(self.server).expect("the benchmark has every feature");
        let mut variants = server.variants.to_vec();
        variants.retain(|variant| !variant.is_unsafe());
        variants.sort_by_key(|variant| variant.name != self.first);
        variants
    }

    /// Whether many callers can share one session of the variant.
    pub(crate) fn takes_crowds(&self, variant: &Variant) -> bool {
        !self.connection_each.contains(&variant.name)
    }

    pub(crate) async fn lane(&self, server: &Server) -> Lane {
        Lane::bare((self.connect)(server.endpoint()).await)
    }
}
