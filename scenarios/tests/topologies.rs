//! Servers of several members, as `lockbench doctor` and a record tell them: who does what, how far each is, and its clock.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use harness::record::{MemberFacts, RunRecord};
use harness::servers::{Finding, Server, ServerKind, ServerOptions, Topology, find};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A Sentinel. Killed when it is dropped.
struct Sentinel(Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn is_here(name: &str) -> bool {
    if let Finding::Missing { remedy } = find(ServerKind::named(name)) {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing in CI: {remedy}");
        eprintln!("skipped: {remedy}");
        return false;
    }
    true
}

/// Password and address of a private Redis.
fn login(server: &Server) -> (&str, &str) {
    server.endpoint().strip_prefix("redis://:").unwrap().split_once('@').unwrap()
}

async fn say(address: &str, lines: &[String]) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    connection.write_all(format!("{}\r\n", lines.join("\r\n")).as_bytes()).await.unwrap();
    // Sentinels know no QUIT: what has come when nothing more comes is the answer.
    let (mut answers, mut some) = (Vec::new(), [0; 4096]);
    let patience = Duration::from_millis(500);
    while let Ok(Ok(n @ 1..)) = tokio::time::timeout(patience, connection.read(&mut some)).await {
        answers.extend(&some[..n]);
    }
    String::from_utf8_lossy(&answers).into_owned()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn lockbench(name: &str, url: &str, folder: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args(words)
        .env(format!("LOCKBENCH_{}", name.to_uppercase()), url)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn record(folder: &Path) -> RunRecord {
    let mut folders = vec![folder.join("out")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("record.json") {
                return serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            }
        }
    }
    panic!("no record");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_with_a_replica_that_a_sentinel_names_is_told_in_doctor_and_record() {
    if !is_here("redis") {
        return;
    }
    let redis = ServerKind::named("redis");
    let primary = Server::start(redis, &ServerOptions::default()).await.unwrap();
    let replica = Server::start(redis, &ServerOptions::default()).await.unwrap();
    let ((password, place), (own, follower)) = (login(&primary), login(&replica));
    let (host, port) = place.split_once(':').unwrap();
    let follow = [
        format!("AUTH {own}"),
        format!("CONFIG SET masterauth {password}"),
        format!("CONFIG SET requirepass {password}"),
        format!("REPLICAOF {host} {port}"),
    ];
    say(follower, &follow).await;
    let info = [format!("AUTH {password}"), "INFO replication".to_owned()];
    for _ in 0..600 {
        if say(follower, &info).await.contains("master_link_status:up") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let folder = tempfile::tempdir().unwrap();
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = folder.path().join("sentinel.conf");
    let lines = format!(
        "bind 127.0.0.1\nport {at}\ndir {}\nsentinel monitor locks {host} {port} 1\nsentinel auth-pass locks {password}\n",
        folder.path().display()
    );
    std::fs::write(&config, lines).unwrap();
    let program = Command::new("redis-server")
        .arg(&config)
        .arg("--sentinel")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _sentinel = Sentinel(program.unwrap());
    for _ in 0..600 {
        if TcpStream::connect(("127.0.0.1", at)).await.is_ok()
            && say(&format!("127.0.0.1:{at}"), &["INFO sentinel".to_owned()]).await.contains("slaves=1")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let url = format!("redis+sentinel://:{password}@127.0.0.1:{at}/locks");
    let told = said(&lockbench("redis", &url, folder.path(), &["doctor"]));
    for text in [
        "topology=\"named by Sentinels, a primary with replicas: 1\"",
        "WAIT=\"not used",
        &format!("primary {place}: round trip "),
        &format!("replica {follower}: round trip "),
        "its clock is ",
        "works with redis-poll, redis-pubsub, redis-fenced, redis-queue",
    ] {
        assert!(told.contains(text), "{text}: {told}");
    }
    assert!(!told.contains(password), "{told}");

    let refused = lockbench("redis", &format!("redis://:{password}@{follower}"), folder.path(), &["doctor"]);
    assert!(said(&refused).contains("this is a replica"), "{}", said(&refused));
    assert_eq!(refused.status.code(), Some(2));

    let run = ["run", "smoke", "--blocks", "1", "--duration", "1", "--set", "warm_up_s=0.0"];
    let run = [&run[..], &["--set", r#"contenders=["redis-queue"]"#]].concat();
    let ran = lockbench("redis", &url, folder.path(), &run);
    assert_eq!(ran.status.code(), Some(4), "without controls nothing is proven: {}", said(&ran));
    let server = record(folder.path()).server.unwrap();
    assert_eq!(server.settings["topology"], "named by Sentinels, a primary with replicas: 1");
    let roles: Vec<&str> = server.members.iter().map(|member| member.role.as_str()).collect();
    assert_eq!(roles, ["primary", "replica"]);
    for MemberFacts { place, round_trip_p50_ns, clock, failure, .. } in &server.members {
        assert_eq!(*failure, None, "{place}");
        assert!(round_trip_p50_ns.is_some_and(|ns| ns > 0), "{place}");
        // One machine, one clock: the bound has to cover what is left.
        let clock = clock.unwrap();
        assert!(clock.ahead_ns.unsigned_abs() <= clock.error_ns, "{place}: {clock:?}");
    }
    primary.stop().await.unwrap();
    replica.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_member_of_a_list_is_told_with_how_far_it_is() {
    for name in ["etcd", "zookeeper", "nats"] {
        if !is_here(name) {
            continue;
        }
        let options = ServerOptions { topology: Topology::Replicated, ..ServerOptions::default() };
        let server = Server::start(ServerKind::named(name), &options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let told = said(&lockbench(name, server.endpoint(), folder.path(), &["doctor"]));
        assert_eq!(told.matches("round trip ").count(), 3, "{name}: {told}");
        assert!(!told.contains("not with"), "{name}: {told}");
        match name {
            "etcd" => {
                assert_eq!(told.matches("follower 127.0.0.1:").count(), 2, "{told}");
                assert_eq!(told.matches("leader 127.0.0.1:").count(), 1, "{told}");
                // It has no command for it.
                assert_eq!(told.matches("its clock is told to nobody").count(), 3, "{told}");
                assert!(told.contains("could not be seen: unsafe-no-fsync"), "{told}");
            }
            "zookeeper" => {
                assert_eq!(told.matches("its clock is ").count(), 3, "{told}");
                assert!(told.contains("could not be seen: forceSync"), "{told}");
            }
            _ => {}
        }
        server.stop().await.unwrap();
    }
}
