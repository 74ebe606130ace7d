//! Membership through PostgreSQL, against a real server.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::time::Duration;

use harness::servers::{Durability, Finding, Server, ServerKind, ServerOptions, find};
use queue_lockfree::postgres::{PgMember, PgMemberOptions};
use queue_lockfree::{HashKind, Member, Membership, NodeId};
use sqlx::{Connection as _, Executor as _, PgConnection};

const PATIENCE: Duration = Duration::from_secs(60);

async fn server() -> Option<Server> {
    if let Finding::Missing { remedy } = find(ServerKind::named("postgres")) {
        assert!(std::env::var_os("CI").is_none(), "{remedy}");
        eprintln!("skipped: {remedy}");
        return None;
    }
    let options = ServerOptions { durability: Durability::Memory, ..ServerOptions::default() };
    Some(Server::start(ServerKind::named("postgres"), &options).await.unwrap())
}

/// Heartbeats each half second, suspected after three: longer than a busy machine makes a live member wait.
async fn join(server: &Server, id: u16) -> (PgMember, Membership) {
    let membership = Membership::new();
    let options = PgMemberOptions {
        url: server.endpoint().to_owned(),
        member: Member {
            id: NodeId(id),
            name: format!("node-{id}"),
            address: ([127, 0, 0, 1], 7000 + id).into(),
        },
        membership: membership.clone(),
        hash: HashKind::Mixed,
        factor: 0.1,
    };
    (PgMember::join(options).await.unwrap(), membership)
}

fn view(membership: &Membership) -> (u64, Vec<u16>) {
    let view = membership.view();
    (view.epoch(), view.members().iter().map(|member| member.id.0).collect())
}

async fn comes_to(membership: &Membership, expected: (u64, &[u16])) {
    let expected = (expected.0, expected.1.to_vec());
    let mut changes = membership.subscribe();
    let waiting = async {
        while view(membership) != expected {
            changes.changed().await.unwrap();
        }
    };
    let came = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(came.is_ok(), "the view is {:?} and not {expected:?}", view(membership));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_and_leaves_raise_the_epoch_by_one_each_and_everybody_sees_them() {
    let Some(server) = server().await else { return };
    let (first, first_view) = join(&server, 1).await;
    assert_eq!(view(&first_view), (1, vec![1]));
    let (second, second_view) = join(&server, 2).await;
    let (third, third_view) = join(&server, 3).await;
    for membership in [&first_view, &second_view, &third_view] {
        comes_to(membership, (3, &[1, 2, 3])).await;
    }
    second.leave().await.unwrap();
    for membership in [&first_view, &third_view] {
        comes_to(membership, (4, &[1, 3])).await;
    }
    let members = first_view.view().members().to_vec();
    assert_eq!((members[1].name.as_str(), members[1].address), ("node-3", ([127, 0, 0, 1], 7003).into()));
    first.leave().await.unwrap();
    third.leave().await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_member_is_evicted_once_and_one_that_comes_back_counts_as_two_changes() {
    let Some(server) = server().await else { return };
    let mut members = Vec::new();
    for id in 1..=4 {
        members.push(join(&server, id).await);
    }
    drop(members.pop());
    // Three members see that it is silent; one deletes the row.
    for (_, membership) in &members {
        comes_to(membership, (5, &[1, 2, 3])).await;
    }
    // A restart before anybody noticed: its former self left and it joined.
    drop(members.pop());
    members.push(join(&server, 3).await);
    for (_, membership) in &members {
        comes_to(membership, (7, &[1, 2, 3])).await;
    }
    assert!(members.iter().all(|(member, _)| !member.stopped().is_cancelled()));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_stops_itself_when_its_row_is_gone_or_the_database_is() {
    let Some(server) = server().await else { return };
    let (evicted, its_view) = join(&server, 1).await;
    let (other, others_view) = join(&server, 2).await;
    let mut database = PgConnection::connect(server.endpoint()).await.unwrap();
    let evict = "WITH gone AS (DELETE FROM lockbench_ring_member WHERE id = 1) \
                 UPDATE lockbench_ring_epoch SET epoch = epoch + 1";
    database.execute(evict).await.unwrap();
    tokio::time::timeout(PATIENCE, evicted.stopped().cancelled()).await.unwrap();
    comes_to(&its_view, (3, &[2])).await;
    assert!(its_view.is_evicted() && !others_view.is_evicted());
    assert!(!other.stopped().is_cancelled());
    server.stop().await.unwrap();
    tokio::time::timeout(PATIENCE, other.stopped().cancelled()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_heartbeat_in_the_future_is_suspect_too() {
    let Some(server) = server().await else { return };
    let (watcher, its_view) = join(&server, 1).await;
    let (silent, _) = join(&server, 2).await;
    drop(silent);
    let mut database = PgConnection::connect(server.endpoint()).await.unwrap();
    let ahead =
        "UPDATE lockbench_ring_member SET heartbeat = clock_timestamp() + interval '1 hour' WHERE id = 2";
    database.execute(ahead).await.unwrap();
    comes_to(&its_view, (3, &[1])).await;
    watcher.leave().await.unwrap();
    server.stop().await.unwrap();
}
