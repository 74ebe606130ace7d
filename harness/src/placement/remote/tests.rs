//! Hosts, their driver, and strangers, in one process; the processes of nodes are shells that do as the test needs.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::host::{JoinError, Joining, join};
use super::hosts::{Hosts, HostsError};
use super::keys::make_keys;
use crate::child::on_path;
use crate::model::{Arrival, Holder, Mode, NodeId, Plan, PlanSettings, Resource, ResourceKind, StepTree};
use crate::secret::Secret;

/// Every wait below ends in time, or the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

fn keys(folder: &Path, name: &str) -> PathBuf {
    let keys = folder.join(name);
    make_keys(&keys).unwrap();
    keys
}

/// A plan of so many nodes.
fn plan(nodes: u16) -> Arc<Plan> {
    let settings = PlanSettings { seed: 1, nodes, window_ns: 1, deadline_ns: 1, holder: Holder::Checks };
    let resource = Resource { kind: ResourceKind::Vm, id: 0, level: 1 };
    let root =
        StepTree { resource, mode: Mode::Exclusive, hold_ns: 0, create_ns: None, children: Vec::new() };
    Arc::new(
        Plan::new(settings, vec!["vm".into()], [Arrival { kind: 0, at_ns: 0, entry: NodeId(0), root }])
            .unwrap(),
    )
}

async fn driver(keys: &Path) -> Hosts {
    Hosts::listen(([127, 0, 0, 1], 0).into(), keys, "1.0 abc").await.unwrap()
}

/// A host whose nodes do what this says in a shell.
fn joining(hosts: &Hosts, keys: &Path, name: &str, nodes: u16, does: &str) -> Joining {
    Joining {
        driver: hosts.address().to_string(),
        keys: keys.to_owned(),
        patience: PATIENCE,
        name: name.to_owned(),
        nodes,
        build: "1.0 abc".to_owned(),
        address: None,
        program: (on_path("sh").unwrap(), ["-c", does].map(Into::into).into()),
    }
}

fn joined(hosts: &Hosts, keys: &Path, name: &str, nodes: u16, does: &str) -> JoinSet<Result<(), JoinError>> {
    let mut host = JoinSet::new();
    host.spawn(join(joining(hosts, keys, name, nodes, does)));
    host
}

async fn ended(mut host: JoinSet<Result<(), JoinError>>) -> Result<(), JoinError> {
    timeout(PATIENCE, host.join_next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_dealt_to_hosts_one_after_the_other_as_long_as_they_have_room() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), "keys");
    let hosts = driver(&keys).await;
    let all = [("b", 3), ("a", 1), ("c", 2)].map(|(name, nodes)| joined(&hosts, &keys, name, nodes, "true"));
    hosts.gathered(6, PATIENCE).await.unwrap();
    assert_eq!(hosts.there(), [("a".to_owned(), 1), ("b".to_owned(), 3), ("c".to_owned(), 2)]);
    let (lodging, _incoming) = hosts.lodge(&plan(6)).await.unwrap();
    let (facts, moved) = lodging.facts().await;
    let mut of: Vec<_> = facts.iter().map(|host| (&*host.name, &host.nodes[..])).collect();
    of.sort_unstable();
    assert_eq!(of, [("a", &[0][..]), ("b", &[1, 3, 5]), ("c", &[2, 4])]);
    // One clock: it has not moved against itself.
    assert_eq!(moved, Vec::<String>::new());
    let too_few = hosts.gathered(7, Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(too_few, HostsError::TooFew { wanted: 7, there: 6, .. }), "{too_few}");
    hosts.dismiss().await;
    for host in all {
        ended(host).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_on_both_sides_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (keys(folder.path(), "ours"), keys(folder.path(), "theirs"));
    let hosts = driver(&ours).await;
    let other = Joining { build: "1.0 def".to_owned(), ..joining(&hosts, &ours, "other", 1, "true") };
    let refused = join(other).await.unwrap_err().to_string();
    assert!(refused.contains("it is lockbench 1.0 def, and the driver 1.0 abc"), "{refused}");
    // With old keys it does not even believe the driver; nor would the driver believe it.
    let refused = join(joining(&hosts, &theirs, "old", 1, "true")).await.unwrap_err().to_string();
    assert!(refused.contains("are the keys of both from one `lockbench keys`?"), "{refused}");
    // Who believes the driver, and has a certificate of somebody else.
    let mixed = folder.path().join("mixed");
    std::fs::create_dir(&mixed).unwrap();
    std::fs::copy(ours.join("ca.pem"), mixed.join("ca.pem")).unwrap();
    for file in ["node.pem", "node.key"] {
        std::fs::copy(theirs.join(file), mixed.join(file)).unwrap();
    }
    let refused = join(joining(&hosts, &mixed, "mixed", 1, "true")).await.unwrap_err().to_string();
    assert!(refused.contains("are the keys of both"), "{refused}");
    // Who speaks no TLS at all.
    let mut plain = tokio::net::TcpStream::connect(hosts.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let four = async {
        while hosts.refused().len() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, four).await.unwrap();
    assert_eq!(hosts.there(), []);
    assert!(hosts.refused().iter().all(|who| who.starts_with("127.0.0.1:")), "{:?}", hosts.refused());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_there_is_stopped_killed_and_ended_as_one_here() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), "keys");
    let hosts = driver(&keys).await;
    let host = joined(&hosts, &keys, "a", 3, "exec sleep 600");
    hosts.gathered(3, PATIENCE).await.unwrap();
    let (lodging, _incoming) = hosts.lodge(&plan(3)).await.unwrap();
    let mut guests = Vec::new();
    for node in 0..3 {
        guests.push(lodging.start(NodeId(node), &Secret::fresh(), true).await.unwrap());
    }
    assert_eq!(guests[0].pause().await, Ok(0), "it has said nothing");
    guests[0].resume().await.unwrap();
    assert_eq!(guests[0].ended(), None);
    guests[0].kill().await.unwrap();
    let how = timeout(PATIENCE, guests[0].wait()).await.unwrap();
    assert!(how.contains("signal: 9"), "{how}");
    assert!(guests[0].pause().await.is_err(), "it is gone");
    let (events, _) = guests[0].last_words(0).await.unwrap();
    assert_eq!(events, [], "a shell has none");
    // The others: one is let go, and one is left to its host.
    drop(guests.pop());
    hosts.dismiss().await;
    ended(host).await.unwrap();
    let how = timeout(PATIENCE, guests[1].wait()).await.unwrap();
    assert!(how.contains("its host a is gone"), "{how}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_loses_its_driver_says_so_and_leaves_no_process() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), "keys");
    let hosts = driver(&keys).await;
    let (begun, does) = (folder.path().join("begun"), folder.path().join("does"));
    std::fs::write(&does, format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", begun.display()))
        .unwrap();
    let host = joined(&hosts, &keys, "a", 1, &format!(". {}", does.display()));
    hosts.gathered(1, PATIENCE).await.unwrap();
    let (lodging, _incoming) = hosts.lodge(&plan(1)).await.unwrap();
    let guest = lodging.start(NodeId(0), &Secret::fresh(), false).await.unwrap();
    let process = async {
        loop {
            if let Ok(text) = std::fs::read_to_string(&begun) {
                return text.trim().parse::<i32>().unwrap();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let process = timeout(PATIENCE, process).await.unwrap();
    drop(hosts);
    let lost = ended(host).await.unwrap_err();
    assert!(matches!(lost, JoinError::Lost(_)), "{lost}");
    assert!(procfs::process::Process::new(process).is_err(), "it has ended with its host's work");
    drop(guest);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_in_vain_says_where_and_who_has_no_keys_how_they_are_made() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), "keys");
    let nobody = Joining {
        driver: "127.0.0.1:1".to_owned(),
        patience: Duration::from_millis(10),
        ..joining(&driver(&keys).await, &keys, "a", 1, "true")
    };
    let in_vain = join(nobody.clone()).await.unwrap_err().to_string();
    assert!(in_vain.starts_with("no driver at 127.0.0.1:1 within 0 s: "), "{in_vain}");
    let none = Joining { keys: folder.path().join("none"), ..nobody };
    let without = join(none).await.unwrap_err().to_string();
    assert!(without.contains("ca.pem") && without.contains("lockbench keys DIR"), "{without}");
    assert!(make_keys(&keys).unwrap_err().contains("is there already"));
}
