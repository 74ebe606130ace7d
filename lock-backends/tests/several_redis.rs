//! Several Redis servers: a copy that takes its primary's place, five that know nothing of each other, and one whose clock jumps. What
//! the faults of the harness do to them, and what that does to locks.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use harness::servers::{ClockOf, Durability, Server, ServerError, ServerKind, ServerOptions, Topology};
use lock_backends::{LockError, variant};

use support::{Bench, PATIENCE, free_again, unique};

/// Longer than any test waits.
const LASTING: Duration = Duration::from_secs(600);

async fn start(topology: Topology, clock: ClockOf) -> Option<Server> {
    let options =
        ServerOptions { durability: Durability::Memory, topology, clock, ..ServerOptions::default() };
    match Server::start(ServerKind::named("redis"), &options).await {
        Ok(server) => Some(server),
        Err(missing @ ServerError::Missing { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: {missing}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn bench(name: &str, endpoint: &str) -> Bench {
    Bench::with_ttl(variant(name).unwrap(), endpoint, LASTING)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_takes_its_primarys_place_has_all_but_what_it_had_not_heard_of() {
    let Some(mut server) = start(Topology::Copied, ClockOf::Machine).await else { return };
    // Twice, so that either has been the copy.
    for _ in 0..2 {
        let (heard, unheard) = (unique("heard"), unique("unheard"));
        let _known = mine_at(&server, &heard).await;
        eventually_copied(&server, &heard).await;
        server.leave_behind().await.unwrap();
        let _lost = mine_at(&server, &unheard).await;
        let address = server.promote().await.unwrap();

        let after = bench("redis-fenced", &server.endpoint_over(&[address]));
        let other = after.node().await;
        assert!(other.try_acquire_request(after.ask(&heard)).await.unwrap().is_none(), "it has heard of it");
        let beside = other.try_acquire_request(after.ask(&unheard)).await.unwrap();
        beside.expect("granted beside its holder").release().await.unwrap();
        server.restart_as_copy().await.unwrap();
    }
    server.stop().await.unwrap();
}

/// Holds a key at whoever is the primary now.
async fn mine_at(server: &Server, key: &str) -> (lock_backends::LockClient, lock_backends::Guard) {
    let bench = bench("redis-fenced", &server.endpoint_over(&server.doors()));
    let node = bench.node().await;
    let guard = node.acquire_request(bench.ask(key)).await.unwrap();
    (node, guard)
}

/// Waits until the copy has the key.
async fn eventually_copied(server: &Server, key: &str) {
    let copy = server.members().iter().find(|member| !server.doors().contains(&member.address())).unwrap();
    let client = redis::Client::open(copy.endpoint()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let copied = async {
        loop {
            let all: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
            if all.iter().any(|there| there.contains(key)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, copied).await.expect("the copy hears of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn most_of_five_servers_are_enough_and_all_that_come_back_empty_let_a_second_one_in() {
    let Some(mut server) = start(Topology::Independent, ClockOf::Machine).await else { return };
    let bench = bench("redis-redlock", server.endpoint());
    let (a, b, key) = (bench.node().await, bench.node().await, unique("quorum"));
    for place in [1, 3] {
        server.member(place).unwrap().kill().await.unwrap();
    }
    let held = a.acquire_request(bench.ask(&key)).await.unwrap();
    assert!(b.try_acquire_request(bench.ask(&key)).await.unwrap().is_none(), "held by three of five");
    held.release().await.unwrap();
    free_again(&bench, &b, &key).await;

    let held = a.acquire_request(bench.ask(&key)).await.unwrap();
    server.member(4).unwrap().kill().await.unwrap();
    let asked = b.try_acquire_request(bench.ask(&unique("quorum"))).await;
    assert!(
        matches!(asked, Err(LockError::Unavailable(_) | LockError::Unknown(_))),
        "two of five: {asked:?}"
    );

    // None of them stays away for a lease, and none has kept its keys.
    for place in [0, 2] {
        server.member(place).unwrap().kill().await.unwrap();
    }
    server.restart().await.unwrap();
    let other = bench.node().await;
    let beside =
        other.try_acquire_request(bench.ask(&key)).await.unwrap().expect("granted beside its holder");
    beside.release().await.unwrap();
    drop(held);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ends_every_lease_and_is_seen_to_have_jumped() {
    let Some(mut server) = start(Topology::Single, ClockOf::Itself).await else { return };
    let bench = bench("redis-poll", server.endpoint());
    let (a, b, key) = (bench.node().await, bench.node().await, unique("clock"));
    let held = a.acquire_request(bench.ask(&key)).await.unwrap();
    assert!(b.try_acquire_request(bench.ask(&key)).await.unwrap().is_none());
    server.set_clock(LASTING * 2).await.unwrap();
    let beside = b.try_acquire_request(bench.ask(&key)).await.unwrap();
    assert!(beside.is_some() && !held.lost().is_cancelled(), "granted beside its holder");
    server.set_clock(Duration::ZERO).await.unwrap();
    server.stop().await.unwrap();

    let Some(mut server) = start(Topology::Single, ClockOf::Machine).await else { return };
    let told = server.set_clock(LASTING).await.unwrap_err();
    assert!(told.contains("no clock of its own"), "{told}");
    server.stop().await.unwrap();
}
