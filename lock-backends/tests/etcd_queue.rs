//! What only `etcd-queue` promises: the names of its keys are used again, also after lost answers, and no two attempts
//! share one meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use etcd_client::{Client, GetOptions, WatchOptions, WatchStream};
use futures_util::future::join_all;
use harness::servers::Server;
use lock_backends::{ClientOptions, LockClient, variant};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use support::{Bench, PATIENCE, balanced, eventually};

/// No renewal comes while a test runs.
const LASTING: Duration = Duration::from_secs(600);

const QUEUES: &str = "lockbench/queue/";

async fn bench(ttl: Duration) -> Option<(Server, Bench)> {
    let Ok(variant) = variant("etcd-queue") else {
        eprintln!("skipped: built without the feature etcd");
        return None;
    };
    let server = support::start("etcd").await?;
    let bench = Bench::with_ttl(variant, server.endpoint(), ttl);
    Some((server, bench))
}

/// Several attempts of a node on one lock are at the server at once.
fn crowd() -> ClientOptions {
    ClientOptions { local_fifo: false, ..ClientOptions::default() }
}

async fn watch(client: &mut Client) -> WatchStream {
    client.watch(QUEUES, Some(WatchOptions::new().with_prefix())).await.unwrap()
}

/// Names of keys put since then, and how often one was put.
async fn names(client: &mut Client, mut watched: WatchStream) -> (HashSet<Vec<u8>>, usize) {
    let now = client.put("end", "", None).await.unwrap().header().unwrap().revision();
    let (mut names, mut puts, mut seen) = (HashSet::new(), 0, 0);
    client.put(format!("{QUEUES}end"), "", None).await.unwrap();
    while seen <= now {
        let news = timeout(PATIENCE, watched.message()).await.expect("news").unwrap().expect("a stream");
        for event in news.events() {
            let kv = event.kv().unwrap();
            seen = seen.max(kv.mod_revision());
            if event.event_type() == etcd_client::EventType::Put && kv.mod_revision() <= now {
                names.insert(kv.key().to_vec());
                puts += 1;
            }
        }
    }
    client.delete(format!("{QUEUES}end"), None).await.unwrap();
    (names, puts)
}

async fn left_at_the_server(client: &mut Client) -> i64 {
    let all = GetOptions::new().with_prefix().with_count_only();
    client.get(QUEUES, Some(all)).await.unwrap().count()
}

#[tokio::test]
async fn four_callers_need_four_names_however_often_they_come() {
    let Some((server, bench)) = bench(support::TTL).await else { return };
    let mut client = Client::connect([server.endpoint()], None).await.unwrap();
    let watched = watch(&mut client).await;
    let node = bench.node_with(crowd()).await;
    join_all((0..4).map(|_| async {
        for _ in 0..25 {
            node.acquire_request(bench.ask("hot")).await.unwrap().release().await.unwrap();
        }
    }))
    .await;
    let (names, puts) = names(&mut client, watched).await;
    assert_eq!(puts, 100);
    assert!(names.len() <= 4, "{} names", names.len());
    server.stop().await.unwrap();
}

/// Each session follows the queue, and whoever is next hears that it is: a grant costs what puts its key and what deletes it.
#[tokio::test]
async fn a_grant_of_a_hot_lock_is_two_requests() {
    const NODES: usize = 4;
    const CALLERS: usize = 8;
    const TURNS: usize = 10;
    let Some((server, bench)) = bench(LASTING).await else { return };
    let nodes = join_all((0..NODES).map(|_| bench.node())).await;
    let asked = || -> u64 { nodes.iter().map(|node| node.counts().operations).sum() };
    let before = asked();
    join_all(nodes.iter().flat_map(|node| [node; CALLERS]).map(|node| async {
        for _ in 0..TURNS {
            node.acquire_request(bench.ask("hot")).await.unwrap().release().await.unwrap();
        }
    }))
    .await;
    let asked = asked() - before;
    let grants = (NODES * CALLERS * TURNS) as u64;
    eprintln!("{asked} requests for {grants} grants");
    // And for each node two watches, of its session's own key and of the queue, and a read with which each begins.
    assert!(asked <= 2 * grants + 4 * NODES as u64, "{asked}");
    server.stop().await.unwrap();
}

/// Silences longer than a withdrawal waits for its answer (half the lease), so that seats are taken while the fate of
/// others is unknown. The lease, renewed every third, has a sixth left after them: it is long, so that this is seconds.
#[tokio::test]
async fn lost_answers_leave_the_lock_exclusive_and_no_key_behind() {
    const TTL: Duration = Duration::from_secs(12);
    const SILENCE: Duration = Duration::from_millis(6200);
    const SILENCES: usize = 3;
    let Some((server, bench)) = bench(TTL).await else { return };
    let mut client = Client::connect([server.endpoint()], None).await.unwrap();
    let watched = watch(&mut client).await;
    let (behind, link) = bench.node_behind_a_link_with(crowd()).await;
    let nodes = [behind, bench.node_with(crowd()).await];
    let ended = CancellationToken::new();
    let inside = AtomicU64::new(0);
    let (served, last_token) = (AtomicU64::new(0), AtomicU64::new(0));
    let call = async |node: &LockClient, patience: Duration| {
        let Ok(guard) = node.acquire_request(bench.ask_within("hot", patience)).await else { return };
        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "alone");
        let token = guard.token().unwrap().sequence;
        assert!(last_token.fetch_max(token, Ordering::SeqCst) < token, "tokens rise");
        served.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(1)).await;
        inside.fetch_sub(1, Ordering::SeqCst);
        // What is not answered in time goes on in the background.
        drop(timeout(Duration::from_millis(100), guard.release()).await);
    };
    let calls = join_all((0..8).map(|caller| {
        let (call, node, ended) = (&call, &nodes[caller % 2], &ended);
        async move {
            for round in 0.. {
                // An attempt on a lost session ends at once; the others must come to their turn then too.
                tokio::task::yield_now().await;
                if ended.is_cancelled() || node.lost().is_cancelled() {
                    return;
                }
                // Some with hardly any time, so that requests are withdrawn.
                call(node, Duration::from_millis([5, 20, 100, 500][(caller / 2 + round) % 4])).await;
            }
        }
    }));
    let faults = async {
        for round in 1..=SILENCES {
            sleep(Duration::from_millis(200)).await;
            link.swallow();
            sleep(SILENCE).await;
            if round == SILENCES {
                link.cut();
            }
            link.restore();
        }
        sleep(Duration::from_millis(200)).await;
        ended.cancel();
    };
    tokio::join!(calls, faults);
    for node in &nodes {
        assert!(!node.lost().is_cancelled(), "silences are shorter than the lease");
        eventually("every attempt ends", || balanced(node)).await;
    }
    timeout(PATIENCE, async {
        while left_at_the_server(&mut client).await > 0 {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("every key is deleted");
    let unknown = nodes[0].counts().unknown;
    let (names, puts) = names(&mut client, watched).await;
    eprintln!("{} served, {unknown} unknown, {puts} puts, {} names", served.into_inner(), names.len());
    assert!(unknown > 0);
    assert!(names.len() * 2 < puts, "{} names for {puts} puts", names.len());
    server.stop().await.unwrap();
}
