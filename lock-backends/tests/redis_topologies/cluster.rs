//! A Cluster: all keys of one request in one slot, and requests to whoever has it now.

use std::time::Duration;

use harness::servers::Tls;
use lock_backends::{Endpoint, Held, LockError, server, variant};
use tokio::time::{sleep, timeout};

use crate::servers::{Instance, PASSWORD, free_port, is_installed};
use crate::support::{Bench, PATIENCE, TTL, let_in, take, unique};

/// Three primaries, and a replica of the first.
pub(crate) struct Cluster {
    pub(crate) members: Vec<Instance>,
}

const PRIMARIES: usize = 3;

impl Cluster {
    /// Over TLS where it is given, among themselves too.
    pub(crate) async fn start(tls: Option<&Tls>) -> Self {
        let mut members = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..=PRIMARIES {
            let bus = free_port();
            let lines = [
                "cluster-enabled yes".to_owned(),
                "cluster-node-timeout 1000".to_owned(),
                format!("cluster-port {bus}"),
                format!("tls-cluster {}", if tls.is_some() { "yes" } else { "no" }),
            ];
            members.push(Instance::server_over(tls, &lines).await);
            buses.push(bus);
        }
        for (place, member) in members.iter().enumerate() {
            let _: String = member.say(&format!("CLUSTER SET-CONFIG-EPOCH {}", place + 1)).await;
            if place > 0 {
                let (port, bus) = (member.port, buses[place]);
                let _: String = members[0].say(&format!("CLUSTER MEET 127.0.0.1 {port} {bus}")).await;
            }
        }
        for (place, (first, last)) in [(0, 5460), (5461, 10922), (10923, 16383)].into_iter().enumerate() {
            let _: String = members[place].say(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).await;
        }
        let cluster = Self { members };
        for member in &cluster.members {
            member.says("CLUSTER INFO", &format!("cluster_known_nodes:{}", PRIMARIES + 1)).await;
        }
        let first = cluster.id(0).await;
        let _: String = cluster.members[PRIMARIES].say(&format!("CLUSTER REPLICATE {first}")).await;
        cluster.members[PRIMARIES].says("INFO replication", "master_link_status:up").await;
        for member in &cluster.members {
            member.says("CLUSTER INFO", "cluster_state:ok").await;
            // The replica is known as one.
            member.says("CLUSTER NODES", &format!("slave {first}")).await;
        }
        cluster
    }

    /// One member is named: it names the others.
    pub(crate) fn url(&self) -> String {
        format!("redis+cluster://:{PASSWORD}@127.0.0.1:{}", self.members[1].port)
    }

    async fn id(&self, place: usize) -> String {
        self.members[place].say("CLUSTER MYID").await
    }

    /// The place of the primary that has the key of this lock, and its name there.
    async fn holds(&self, key: &str) -> (usize, String) {
        for place in 0..PRIMARIES {
            let found: Vec<String> = self.members[place].say(&format!("KEYS lockbench:*:lock:{key}")).await;
            if let [name] = &found[..] {
                return (place, name.clone());
            }
        }
        panic!("nobody has {key}");
    }

    /// Moves all of a slot from one primary to another.
    async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        let (source, target) = (&self.members[from], &self.members[to]);
        let _: String =
            target.say(&format!("CLUSTER SETSLOT {slot} IMPORTING {}", self.id(from).await)).await;
        let _: String = source.say(&format!("CLUSTER SETSLOT {slot} MIGRATING {}", self.id(to).await)).await;
        let keys: Vec<String> = source.say(&format!("CLUSTER GETKEYSINSLOT {slot} 1000")).await;
        let mut migrate = redis::cmd("MIGRATE");
        migrate.arg("127.0.0.1").arg(target.port).arg("").arg(0).arg(5000);
        migrate.arg("AUTH").arg(PASSWORD).arg("KEYS").arg(&keys);
        let mut connection = source.connection().await.unwrap();
        migrate.exec_async(&mut connection).await.unwrap();
        let id = self.id(to).await;
        for place in [to, from] {
            let _: String = self.members[place].say(&format!("CLUSTER SETSLOT {slot} NODE {id}")).await;
        }
    }
}

pub(crate) const SERVED: [&str; 4] = ["redis-poll", "redis-pubsub", "redis-fenced", "redis-naive"];

#[tokio::test(flavor = "multi_thread")]
async fn locks_whose_keys_are_in_one_slot_are_served_and_the_others_refused_in_words() {
    if !is_installed() {
        return;
    }
    let cluster = Cluster::start(None).await;
    let url = cluster.url();
    for variant in server("redis").unwrap().variants {
        if SERVED.contains(&variant.name) {
            take(variant, &url).await.unwrap_or_else(|error| panic!("{}: {error}", variant.name));
        } else {
            let error = let_in(variant, &url).await.expect_err("refused");
            let reason =
                if variant.name == "redis-redlock" { "know nothing of each other" } else { "PUBLISH" };
            let told = matches!(&error, LockError::Unsupported(why) if why.contains(reason));
            assert!(told, "{}: {error}", variant.name);
        }
        // A member has a part of the keys: by itself it is no server of locks.
        let alone = format!("redis://:{PASSWORD}@127.0.0.1:{}", cluster.members[0].port);
        let error = let_in(variant, &alone).await.expect_err("refused").to_string();
        assert!(error.contains("redis+cluster://"), "{}: {error}", variant.name);
    }

    for name in SERVED {
        let bench = Bench::new(variant(name).unwrap(), &url);
        let (node, other) = (bench.node().await, bench.node().await);
        // Of three slots of one resource, each is had once.
        let key = unique("slots");
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(node.acquire_request(bench.ask(&key).at_level(3)).await.unwrap());
        }
        assert!(other.try_acquire_request(bench.ask(&key).at_level(3)).await.unwrap().is_none(), "{name}");
        // Many, at all primaries, renewed for longer than a lease.
        let keys: Vec<String> = (0..30).map(|_| unique("many")).collect();
        for key in &keys {
            held.push(node.acquire_request(bench.ask(key)).await.unwrap());
        }
        sleep(TTL + TTL / 2).await;
        for key in &keys {
            assert!(other.try_acquire_request(bench.ask(key)).await.unwrap().is_none(), "{name}: {key}");
        }
        for guard in held {
            guard.release().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        node.close().await;
        other.close().await;
    }
    for member in &cluster.members[..PRIMARIES] {
        assert!(member.say::<u64>("DBSIZE").await > 0, "{}: no key was here", member.port);
    }
    let endpoint = Endpoint::from(&*url);
    let contents = (server("redis").unwrap().contents)(&endpoint).await.unwrap();
    let held = contents.held().await.unwrap();
    assert!(held.ours > 0 && held.others == Some(0), "{held:?}");
    contents.clear().await.unwrap();
    assert_eq!(contents.held().await.unwrap(), Held { ours: 0, others: Some(0) });
    let bare = (server("redis").unwrap().bare)(&endpoint).await.unwrap();
    bare.ping().await.unwrap();
    bare.write().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_and_a_primary_that_dies_are_followed() {
    if !is_installed() {
        return;
    }
    let mut cluster = Cluster::start(None).await;
    let bench = Bench::with_ttl(variant("redis-fenced").unwrap(), &cluster.url(), TTL * 4);
    let (node, other) = (bench.node().await, bench.node().await);
    let key = unique("moves");
    let guard = node.acquire_request(bench.ask(&key)).await.unwrap();
    let token = guard.token();
    let (from, name) = cluster.holds(&key).await;
    let slot: u16 = cluster.members[from].say(&format!("CLUSTER KEYSLOT {name}")).await;
    // Somebody waits, who is told of the release at the member that has the key then.
    let waiting = other.acquire_request(bench.ask(&key));
    let moved = async {
        sleep(Duration::from_millis(300)).await;
        cluster.move_slot(slot, from, (from + 1) % PRIMARIES).await;
        guard.release().await
    };
    let (waited, released) = tokio::join!(timeout(PATIENCE, waiting), moved);
    released.unwrap();
    let guard = waited.expect("in time").unwrap();
    assert!(guard.token() > token, "{:?} after {token:?}", guard.token());
    assert_eq!(cluster.holds(&key).await.0, (from + 1) % PRIMARIES);
    guard.release().await.unwrap();

    // A key of the first primary, which has a replica.
    let (key, guard) = loop {
        let key = unique("dies");
        let guard = node.acquire_request(bench.ask(&key)).await.unwrap();
        if cluster.holds(&key).await.0 == 0 {
            break (key, guard);
        }
        guard.release().await.unwrap();
    };
    cluster.members[0].is_copied().await;
    cluster.members[0].kill();
    cluster.members[PRIMARIES].says("INFO replication", "role:master").await;
    cluster.members[PRIMARIES].says("CLUSTER INFO", "cluster_state:ok").await;
    assert!(other.try_acquire_request(bench.ask(&key)).await.unwrap().is_none(), "two hold it");
    guard.release().await.unwrap();
    let again = other.acquire_request(bench.ask(&key)).await.unwrap();
    again.release().await.unwrap();
    node.close().await;
    other.close().await;
}
