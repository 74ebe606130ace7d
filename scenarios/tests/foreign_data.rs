//! A server that others use too: it is used only where that is said, and what they have there stays as it is, byte for byte, however
//! a run ends.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use harness::servers::{Finding, Server, ServerKind, ServerOptions, find};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Says commands to the server and returns its answers, as bytes.
async fn say(server: &Server, commands: &[&str]) -> Vec<u8> {
    let (password, address) = server.endpoint().strip_prefix("redis://:").unwrap().split_once('@').unwrap();
    let mut connection = TcpStream::connect(address).await.unwrap();
    let all = format!("AUTH {password}\r\n{}\r\nQUIT\r\n", commands.join("\r\n"));
    connection.write_all(all.as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    connection.read_to_end(&mut answers).await.unwrap();
    answers
}

/// All that others have there, in the form in which the server itself would store it.
async fn theirs(server: &Server) -> Vec<u8> {
    let dumps = ["DUMP a", "DUMP b", "DUMP c", "DUMP lockbenches", "SELECT 3", "DUMP d", "DBSIZE"];
    say(server, &dumps).await
}

/// How many keys are in the database that the run uses.
async fn keys(server: &Server) -> String {
    String::from_utf8_lossy(&say(server, &["DBSIZE"]).await).into_owned()
}

fn lockbench(server: &Server, folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
    command.args(words).env("LOCKBENCH_REDIS", server.endpoint()).current_dir(folder);
    command
}

const RUN: [&str; 8] = [
    "run",
    "smoke",
    "--blocks",
    "1",
    "--set",
    "warm_up_s=0.0",
    "--set",
    r#"contenders=["redis-fenced", "redis-queue"]"#,
];

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until the run has put something of its own there.
async fn at_work(server: &Server, run: &mut Child) {
    for _ in 0..600 {
        if !keys(server).await.contains(":4\r\n") {
            return;
        }
        assert!(run.try_wait().unwrap().is_none(), "it ended before it began");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the run never came to use the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_on_a_server_stays_as_it_is_however_a_run_ends() {
    let redis = ServerKind::named("redis");
    if let Finding::Missing { remedy } = find(redis) {
        assert!(std::env::var_os("CI").is_none(), "Redis is missing in CI: {remedy}");
        return eprintln!("skipped: {remedy}");
    }
    let server = Server::start(redis, &ServerOptions::default()).await.unwrap();
    let put = ["SET a 1", "RPUSH b x y z", "HSET c f v g w", "SET lockbenches theirs", "SELECT 3", "SET d 2"];
    say(&server, &put).await;
    let before = theirs(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let long = [&RUN[..], &["--duration", "60", "--shared-server"]].concat();

    let refused = lockbench(&server, folder.path(), &RUN).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(
        said(&refused).contains("5 keys") && said(&refused).contains("--shared-server"),
        "{}",
        said(&refused)
    );
    assert!(!folder.path().join("out").exists());

    for broken in [
        "rtt_ms=1.0",
        r#"faults=[{ verb = "kill", target = "server", for_ms = 100.0, every_s = 1.0, quiet_s = 0.0 }]"#,
    ] {
        let faults = [&RUN[..], &["--shared-server", "--set", broken]].concat();
        let refused = lockbench(&server, folder.path(), &faults).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains("need a private one"), "{}", said(&refused));
    }

    let short = [&RUN[..], &["--duration", "1", "--shared-server"]].concat();
    let ran = lockbench(&server, folder.path(), &short).output().unwrap();
    assert_eq!(ran.status.code(), Some(4), "without controls nothing is proven: {}", said(&ran));
    assert_eq!(theirs(&server).await, before, "after a run");
    assert!(keys(&server).await.contains(":4\r\n"), "after a run: {}", keys(&server).await);

    let start =
        || lockbench(&server, folder.path(), &long).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut interrupted = start().unwrap();
    at_work(&server, &mut interrupted).await;
    kill(Pid::from_raw(interrupted.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(interrupted.wait().unwrap().code(), Some(130));
    assert_eq!(theirs(&server).await, before, "after Ctrl-C");
    assert!(keys(&server).await.contains(":4\r\n"), "after Ctrl-C: {}", keys(&server).await);

    let mut killed = start().unwrap();
    at_work(&server, &mut killed).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(theirs(&server).await, before, "after a crash");
    // What the crash left is told, and not mistaken for nothing; `doctor` removes it.
    let refused = lockbench(&server, folder.path(), &short).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("doctor --clean"), "{}", said(&refused));
    let cleaned = lockbench(&server, folder.path(), &["doctor", "--clean"]).output().unwrap();
    assert!(said(&cleaned).contains("removed, 0 of lockbench's and 5 others"), "{}", said(&cleaned));
    for told in ["version 7", "appendfsync=", "round trip ", "works with redis-poll, redis-pubsub"] {
        assert!(said(&cleaned).contains(told), "{told}: {}", said(&cleaned));
    }
    assert_eq!(theirs(&server).await, before, "after it was cleaned");
    assert!(keys(&server).await.contains(":4\r\n"), "after it was cleaned: {}", keys(&server).await);
    server.stop().await.unwrap();
}
