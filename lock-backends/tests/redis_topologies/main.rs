//! Redis as it is run where one server is not enough: a primary with replicas, Sentinels that name the primary, a Cluster. Each from
//! Debian's `redis-server`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod servers;
mod cluster;
mod sentinel;
mod tls;

use lock_backends::{LockError, server};
use servers::{Instance, PASSWORD, is_installed};
use support::{let_in, take};

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_with_a_replica_serves_and_its_replica_is_refused_with_the_url_that_would_be_right() {
    if !is_installed() {
        return;
    }
    let primary = Instance::server(&[]).await;
    let replica = Instance::server(&[format!("replicaof 127.0.0.1 {}", primary.port)]).await;
    replica.says("INFO replication", "master_link_status:up").await;
    let url = |instance: &Instance| format!("redis://:{PASSWORD}@127.0.0.1:{}", instance.port);
    for variant in server("redis").unwrap().variants {
        take(variant, &url(&primary)).await.unwrap_or_else(|error| panic!("{}: {error}", variant.name));
        let refused = let_in(variant, &url(&replica)).await;
        let told = matches!(&refused, Err(LockError::Unavailable(why)) if why.contains("redis+sentinel://"));
        assert!(told, "{}: {:?}", variant.name, refused.err());
    }
}
