//! The defect of the server's own lock RPC on series 3.4, which `etcd-v3lock` names.

mod support;

use std::time::Duration;

use etcd_client::{Client, LockOptions};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use support::PATIENCE;

/// A bare client waits for the lock on a lease that ends meanwhile. On 3.4 it is told that it holds the lock, and no key
/// says so: the next one is granted beside it.
#[tokio::test]
async fn series_3_4_grants_a_lock_to_a_lease_that_has_ended() {
    let Some(server) = support::start("etcd").await else { return };
    if !server.version().starts_with("3.4.") {
        eprintln!("skipped: etcd {} is not of the series with the defect", server.version());
        return server.stop().await.unwrap();
    }
    let mut client = Client::connect([server.endpoint()], None).await.unwrap();
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(client.lease_grant(60, None).await.unwrap().id());
    }
    let on = |lease| Some(LockOptions::new().with_lease(lease));
    let first = client.lock("bare", on(leases[0])).await.unwrap();
    let mut waiting = JoinSet::new();
    let (mut waiter, lease) = (client.clone(), leases[1]);
    waiting.spawn(async move { waiter.lock("bare", Some(LockOptions::new().with_lease(lease))).await });
    let mut queued = 0;
    while queued < 2 {
        let line = etcd_client::GetOptions::new().with_prefix().with_count_only();
        queued = client.get("bare/", Some(line)).await.unwrap().count();
        sleep(Duration::from_millis(5)).await;
    }
    client.lease_revoke(lease).await.unwrap();
    client.unlock(first.key()).await.unwrap();

    let granted = timeout(PATIENCE, waiting.join_next()).await.unwrap().unwrap().unwrap();
    let granted = granted.expect("3.4 says Ok");
    assert!(client.get(granted.key(), None).await.unwrap().kvs().is_empty(), "nothing stands behind it");
    timeout(PATIENCE, client.lock("bare", on(leases[2]))).await.expect("granted beside it").unwrap();
    server.stop().await.unwrap();
}
