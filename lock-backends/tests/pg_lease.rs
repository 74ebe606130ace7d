//! What only a table of leases can break: renewals that wait behind other statements.

mod support;

use std::time::Duration;

use lock_backends::{ClientOptions, variant};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use tokio::task::JoinSet;
use tokio::time::sleep;

use support::{Bench, TTL, unique};

/// Many statements hang on a row that somebody has locked, more than a node has connections. The lease of another row runs
/// on all the same.
#[tokio::test]
async fn a_lease_is_renewed_while_every_other_connection_hangs() {
    let Ok(variant) = variant("pg-lease") else {
        return eprintln!("skipped: built without the feature postgres");
    };
    let Some(server) = support::start("postgres").await else { return };
    let bench = Bench::with_ttl(variant, server.endpoint(), TTL);
    let node = bench.node_with(ClientOptions { local_fifo: false, ..ClientOptions::default() }).await;
    let (held, stuck) = (unique("renewed"), unique("stuck"));
    node.acquire_request(bench.ask(&stuck)).await.unwrap().release().await.unwrap();
    let guard = node.acquire_request(bench.ask(&held)).await.unwrap();
    let mut stranger = PgConnection::connect(server.endpoint()).await.unwrap();
    let mut locked = stranger.begin().await.unwrap();
    let lock = format!("SELECT 1 FROM lockbench_lease WHERE name = '{stuck}' FOR UPDATE");
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *locked).await.unwrap();
    let mut hanging = JoinSet::new();
    for _ in 0..24 {
        let (node, request) = (node.clone(), bench.ask_within(&stuck, 4 * TTL));
        hanging.spawn(async move { node.acquire_request(request).await.map(drop) });
    }
    // It needs two renewals to come this far.
    sleep(2 * TTL + Duration::from_millis(200)).await;
    assert!(!guard.lost().is_cancelled(), "its renewals wait behind the others");
    locked.rollback().await.unwrap();
    guard.release().await.unwrap();
    hanging.join_all().await;
    server.stop().await.unwrap();
}
