//! Redis as it is run where one server is not enough: a primary with replicas, Sentinels that name the primary, a Cluster. Each from
//! Debian's `redis-server`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod servers;
mod cluster;
mod sentinel;
mod tls;

use lock_backends::{LockError, server, variant};
use servers::{Instance, PASSWORD, is_installed};
use support::{Bench, TTL, let_in, take, unique};
use tokio::time::sleep;

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

/// As a promotion leaves the old primary for a moment: a replica that has not been sent anything yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_has_nothing_yet_does_not_tell_a_holder_that_its_lock_is_gone() {
    if !is_installed() {
        return;
    }
    let (demoted, empty) = (Instance::server(&[]).await, Instance::server(&[]).await);
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", demoted.port);
    for name in ["redis-fenced", "redis-queue"] {
        // Its renewals are each third of it.
        let bench = Bench::with_ttl(variant(name).unwrap(), &url, TTL * 8);
        let node = bench.node().await;
        let guard = node.acquire_request(bench.ask(&unique("demoted"))).await.unwrap();
        demoted.say::<()>(&format!("REPLICAOF 127.0.0.1 {}", empty.port)).await;
        demoted.says("INFO replication", "master_link_status:up").await;
        assert_eq!(demoted.say::<u64>("DBSIZE").await, 0, "{name}");
        sleep(TTL * 4).await;
        assert!(!guard.lost().is_cancelled(), "{name}: the replica was believed");
        assert!(guard.release().await.is_err(), "{name}: released at a replica");
        demoted.say::<()>("REPLICAOF NO ONE").await;
        node.close().await;
    }
}
