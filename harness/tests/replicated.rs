//! Servers of three members: they start as one, lose their leader, go on without it, take it back, and are gone.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::PathBuf;

use harness::servers::{
    Durability, Finding, Member, Server, ServerError, ServerKind, ServerOptions, Topology, find,
};

/// The products here that can be replicated.
fn replicated() -> impl Iterator<Item = ServerKind> {
    ServerKind::ALL.iter().copied().filter(|kind| kind.can_be_replicated() && is_here(*kind))
}

/// CI installs all servers, so there a missing one is a failure.
fn is_here(kind: ServerKind) -> bool {
    match find(kind) {
        Finding::Found { .. } => true,
        Finding::Missing { remedy } => {
            assert!(std::env::var_os("CI").is_none(), "{remedy}");
            eprintln!("skipped: {remedy}");
            false
        }
    }
}

fn options() -> ServerOptions {
    let (durability, topology) = (Durability::Memory, Topology::Replicated);
    ServerOptions { durability, topology, ..ServerOptions::default() }
}

fn is_alive(pid: u32) -> bool {
    let stat = procfs::process::Process::new(pid.cast_signed()).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.state != 'Z')
}

#[tokio::test]
async fn three_members_run_in_processes_and_folders_of_their_own_and_leave_nothing() {
    for kind in replicated() {
        let mut server = Server::start(kind, &options()).await.unwrap();
        assert_eq!(
            server.settings().get("members").map(String::as_str),
            Some("3"),
            "{:?}",
            server.settings()
        );
        let pids: Vec<u32> = server.members().iter().map(Member::pid).collect();
        let folders: Vec<PathBuf> = server.members().iter().map(|member| member.path().to_owned()).collect();
        let different = |count: usize, of: &str| assert_eq!(count, 3, "{kind}: {of}");
        different(pids.iter().collect::<std::collections::BTreeSet<_>>().len(), "processes");
        different(folders.iter().collect::<std::collections::BTreeSet<_>>().len(), "folders");
        assert!(folders.iter().all(|folder| folder.parent() == folders[0].parent() && folder.exists()));
        assert!(pids.iter().all(|pid| is_alive(*pid)));
        assert!(server.leader().await.unwrap() < 3);
        // Each of the list has to answer.
        let attached = Server::attach(kind, server.endpoint()).await.unwrap();
        assert_eq!((attached.endpoint().split(',').count(), attached.members().len()), (3, 0));
        server.stop().await.unwrap();
        assert!(!pids.iter().any(|pid| is_alive(*pid)), "{kind}: processes are left");
        assert!(!folders.iter().any(|folder| folder.exists()), "{kind}: folders are left");
    }
}

#[tokio::test]
async fn zookeeper_tells_when_its_members_part() {
    let kind = ServerKind::named("zookeeper");
    if is_here(kind) {
        let server = Server::start(kind, &options()).await.unwrap();
        assert!(server.settings().contains_key("syncLimit"), "{:?}", server.settings());
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn another_member_leads_when_the_leader_is_killed_or_paused_and_it_comes_back() {
    for kind in replicated() {
        let mut server = Server::start(kind, &options()).await.unwrap();
        let first = server.leader().await.unwrap();
        server.member(first).unwrap().kill().await.unwrap();
        assert_eq!(server.cpu_ns(), None, "{kind}: a member is down");
        let second = server.leader().await.unwrap();
        assert_ne!(second, first, "{kind}");
        server.member(first).unwrap().restart().await.unwrap();

        // Only with the one that was killed are the others a majority now.
        server.member(second).unwrap().pause().await.unwrap();
        let third = server.leader().await.unwrap();
        assert_ne!(third, second, "{kind}");
        let used_ns = server.cpu_ns().unwrap();
        server.member(second).unwrap().resume();
        // It learns that it does not lead any more.
        let follows = async {
            while Server::attach(kind, server.endpoint()).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), follows).await.unwrap();
        assert_eq!(server.leader().await.unwrap(), third, "{kind}");
        assert!(server.cpu_ns().unwrap() >= used_ns, "{kind}: CPU time does not go back");
        let pids = server.pids();
        drop(server);
        assert!(!pids.iter().any(|pid| is_alive(*pid)), "{kind}: processes are left");
    }
}

#[tokio::test]
async fn a_product_that_is_not_replicated_here_says_so() {
    for kind in ServerKind::ALL.iter().copied().filter(|kind| !kind.can_be_replicated()) {
        let error = Server::start(kind, &options()).await.unwrap_err();
        assert!(matches!(error, ServerError::NotReplicated { .. }), "{error}");
        assert!(error.to_string().contains("etcd, ZooKeeper and NATS can be replicated"), "{error}");
    }
}
