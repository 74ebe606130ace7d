//! Locks on servers of three members: whichever member fails, every node goes on, and what was written stays.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use harness::servers::{Durability, Server as Running, ServerError, ServerKind, ServerOptions, Topology};
use lock_backends::{LockClient, Variant, backends};
use support::{Bench, PATIENCE, unique};
use tokio::task::JoinSet;

/// Outlives an election, so that most sessions do.
const TTL: Duration = Duration::from_secs(4);

/// Three members; none with the reason printed where the product is missing, which in CI is a failure.
async fn three(kind: ServerKind) -> Option<Running> {
    let (durability, topology) = (Durability::Memory, Topology::Replicated);
    let options = ServerOptions { durability, topology, detect: TTL, ..ServerOptions::default() };
    match Running::start(kind, &options).await {
        Ok(server) => Some(server),
        Err(missing @ ServerError::Missing { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {missing}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Those that are there to be used.
fn variants(of: &str) -> impl Iterator<Item = &'static Variant> {
    let all = backends::server(of).into_iter().flat_map(|server| server.variants).copied();
    all.filter(|variant| !variant.is_unsafe())
}

/// Takes the key and gives it back, in a new session where the last was lost on the way.
async fn pass(bench: &Bench, node: &mut LockClient, key: &str) -> u64 {
    let passed = async {
        loop {
            match node.acquire_request(bench.ask(key)).await {
                Ok(guard) => {
                    let token = guard.token().map_or(0, |token| token.sequence);
                    // Where the answer is lost, the client itself sees to the rest.
                    drop(guard.release().await);
                    return token;
                }
                Err(error) => {
                    eprintln!("{}: {error}", bench.variant.name);
                    if let Ok(again) = bench.try_node().await {
                        *node = again;
                    }
                }
            }
        }
    };
    // Members of ZooKeeper that miss each other's votes ask again after ever longer pauses, of a minute at most (`maxNotificationInterval` of
    // its FastLeaderElection): meanwhile nobody leads.
    let elected = 2 * PATIENCE;
    tokio::time::timeout(elected, passed).await.unwrap_or_else(|_| panic!("{}: {key}", bench.variant.name))
}

async fn every_node_goes_on(of: &str) {
    let kind = of.parse().unwrap();
    let Some(mut server) = three(kind).await else { return };
    for variant in variants(of) {
        let bench = Bench::with_ttl(variant, server.endpoint(), TTL);
        let mut nodes = vec![bench.node().await, bench.node().await, bench.node().await];
        let key = unique(variant.name);
        let mut last = 0;
        // Each is the one that some node talks to, and one of them leads.
        for place in 0..3 {
            for node in &mut nodes {
                last = last.max(pass(&bench, node, &key).await);
            }
            server.member(place).unwrap().pause().await.unwrap();
            for node in &mut nodes {
                let token = pass(&bench, node, &key).await;
                assert!(token >= last, "{}: tokens fell from {last} to {token}", variant.name);
                last = token;
            }
            server.member(place).unwrap().resume();
        }
        let leader = server.leader().await.unwrap();
        server.member(leader).unwrap().kill().await.unwrap();
        for node in &mut nodes {
            let token = pass(&bench, node, &key).await;
            assert!(token >= last, "{}: tokens fell from {last} to {token}", variant.name);
            last = token;
        }
        server.member(leader).unwrap().restart().await.unwrap();
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_etcd_every_node_goes_on_whichever_member_fails() {
    every_node_goes_on("etcd").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_zookeeper_every_node_goes_on_whichever_member_fails() {
    every_node_goes_on("zookeeper").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_nats_every_node_goes_on_whichever_member_fails() {
    every_node_goes_on("nats").await;
}

/// Many ask at once, so that requests for a key are under way side by side between the members.
async fn one_at_a_time_is_let_in(of: &str) {
    let kind = of.parse().unwrap();
    let Some(server) = three(kind).await else { return };
    for variant in variants(of) {
        let bench = Arc::new(Bench::with_ttl(variant, server.endpoint(), TTL));
        let (key, inside) = (unique(variant.name), Arc::new(AtomicUsize::new(0)));
        let mut nodes = JoinSet::new();
        for _ in 0..6 {
            let (bench, key, inside) = (Arc::clone(&bench), key.clone(), Arc::clone(&inside));
            nodes.spawn(async move {
                // Members that have just started may still elect those who are to keep the locks.
                let node = answered(|| async { bench.try_node().await.ok() }).await;
                for _ in 0..20 {
                    let guard = node.acquire_request(bench.ask(&key)).await.unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "{}", bench.variant.name);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            });
        }
        while let Some(joined) = nodes.join_next().await {
            joined.unwrap();
        }
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_three_members_of_etcd_one_at_a_time_is_let_in() {
    one_at_a_time_is_let_in("etcd").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_three_members_of_zookeeper_one_at_a_time_is_let_in() {
    one_at_a_time_is_let_in("zookeeper").await;
}

/// Before 2.10 members compare revisions only before they agree: of several writes that replace one revision, all may be
/// accepted.
#[tokio::test(flavor = "multi_thread")]
async fn on_three_members_of_nats_one_at_a_time_is_let_in() {
    one_at_a_time_is_let_in("nats").await;
}

/// Asks until there is an answer: during an election there is none.
async fn answered<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_etcd_acknowledged_before_its_leader_was_killed_is_read_from_the_others() {
    let Some(mut server) = three(ServerKind::named("etcd")).await else { return };
    let leader = server.leader().await.unwrap();
    let mut client = etcd_client::Client::connect([server.members()[leader].endpoint()], None).await.unwrap();
    client.put("kept", "value", None).await.unwrap();
    server.member(leader).unwrap().kill().await.unwrap();
    for (place, member) in server.members().iter().enumerate().filter(|(place, _)| *place != leader) {
        let client = etcd_client::Client::connect([member.endpoint()], None).await.unwrap();
        let read = answered(|| async { client.kv_client().get("kept", None).await.ok() }).await;
        assert_eq!(read.kvs()[0].value(), b"value", "member {place}");
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_zookeeper_acknowledged_before_its_leader_was_killed_is_read_from_the_others() {
    use zookeeper_client::{Acls, Client, CreateMode};
    let Some(mut server) = three(ServerKind::named("zookeeper")).await else { return };
    let leader = server.leader().await.unwrap();
    let client = Client::connect(server.members()[leader].endpoint()).await.unwrap();
    let kept = CreateMode::Persistent.with_acls(Acls::anyone_all());
    client.create("/kept", b"value", &kept).await.unwrap();
    server.member(leader).unwrap().kill().await.unwrap();
    for (place, member) in server.members().iter().enumerate().filter(|(place, _)| *place != leader) {
        let client = answered(|| async { Client::connect(member.endpoint()).await.ok() }).await;
        client.sync("/").await.unwrap();
        assert_eq!(client.get_data("/kept").await.unwrap().0, b"value", "member {place}");
    }
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nats_acknowledged_before_its_leader_was_killed_is_told_by_each_of_the_others() {
    let Some(mut server) = three(ServerKind::named("nats")).await else { return };
    let variant = lock_backends::variant("nats-kv").unwrap();
    let all = Bench::with_ttl(variant, server.endpoint(), Duration::from_secs(60));
    let node = all.node().await;
    let guard = node.acquire_request(all.ask("kept").describing("stands")).await.unwrap();
    // The bucket is there, so that this is the member that keeps it.
    let leader = server.leader().await.unwrap();
    server.member(leader).unwrap().kill().await.unwrap();
    for (place, member) in server.members().iter().enumerate().filter(|(place, _)| *place != leader) {
        let bench = Bench::with_ttl(variant, member.endpoint(), Duration::from_secs(60));
        let reader = answered(|| async { bench.try_node().await.ok() }).await;
        let holder = answered(|| async { reader.holder("kept").await.ok() }).await;
        assert_eq!(holder.as_deref(), Some("stands"), "member {place}");
    }
    drop(guard.release().await);
    server.stop().await.unwrap();
}
