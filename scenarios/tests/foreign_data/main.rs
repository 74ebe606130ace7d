//! A server that others use too: it is used only where that is said, what they have there stays as it is, however a run ends, and
//! they do not wait for long.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod theirs;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::servers::{Finding, Server, ServerKind, ServerOptions, find};
use lock_backends::{Endpoint, Held, server as locks_on};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

async fn started(name: &str) -> Option<Server> {
    let kind = ServerKind::named(name);
    if let Finding::Missing { remedy } = find(kind) {
        assert!(std::env::var_os("CI").is_none(), "{name} is missing in CI: {remedy}");
        eprintln!("skipped: {remedy}");
        return None;
    }
    Some(Server::start(kind, &ServerOptions::default()).await.unwrap())
}

async fn held(server: &Server) -> Held {
    let endpoint = Endpoint::from(server.endpoint());
    let contents = (locks_on(server.kind().name()).unwrap().contents)(&endpoint).await.unwrap();
    contents.held().await.unwrap()
}

fn lockbench(server: &Server, folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
    let variable = format!("LOCKBENCH_{}", server.kind().name().to_uppercase());
    command.args(words).env(variable, server.endpoint()).current_dir(folder);
    command
}

/// A run of all locks on a server; or of those with a lease, which have something there as soon as they are held.
fn run(server: &Server, leased: bool) -> Vec<String> {
    let variants = locks_on(server.kind().name()).unwrap().variants.iter();
    let names = variants.filter(|of| of.capabilities.lease || !leased).map(|variant| variant.name);
    let contenders = format!("contenders={:?}", names.collect::<Vec<_>>());
    let words = ["run", "smoke", "--blocks", "1", "--set", "warm_up_s=0.0", "--set", &contenders];
    // A machine with much to do is slow for everybody.
    let words = words.into_iter().chain(["--bystander-bound", "off"]);
    words.map(str::to_owned).collect()
}

fn with<'a>(words: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    words.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Waits until the run has begun, and has put something of its own there; or until it has ended.
async fn at_work(server: &Server, folder: &Path, run: &mut Child) {
    let begun = || {
        let batches = std::fs::read_dir(folder.join("out")).into_iter().flatten().flatten();
        batches.filter(|batch| batch.path().join("manifest.json").exists()).count() > 0
    };
    for _ in 0..600 {
        if begun() && held(server).await.ours > 0 {
            return;
        }
        if run.try_wait().unwrap().is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the run never came to use the server");
}

/// Whatever happens to a run, what others have there stays, and only a crash leaves something of ours, which is told and removed.
async fn stays_as_it_is(name: &str) {
    let Some(server) = started(name).await else { return };
    theirs::put(&server).await;
    let (before, others) = (theirs::read(&server).await, held(&server).await.others.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (run, leased) = (self::run(&server, false), self::run(&server, true));
    let long = with(&leased, &["--duration", "60", "--shared-server"]);

    let refused = lockbench(&server, folder.path(), &with(&run, &[])).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let told = said(&refused);
    assert!(told.contains(&format!("{others} keys")) && told.contains("--shared-server"), "{told}");
    assert!(!folder.path().join("out").exists());

    let short = with(&run, &["--duration", "1", "--shared-server"]);
    let ran = lockbench(&server, folder.path(), &short).output().unwrap();
    assert_eq!(ran.status.code(), Some(4), "without controls nothing is proven: {}", said(&ran));
    assert_eq!(theirs::read(&server).await, before, "{name}: after a run");
    assert_eq!(held(&server).await, Held { ours: 0, others: Some(others) }, "{name}: after a run");

    let start = |folder: &Path| {
        lockbench(&server, folder, &long).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let interrupted_in = tempfile::tempdir().unwrap();
    let mut interrupted = start(interrupted_in.path());
    at_work(&server, interrupted_in.path(), &mut interrupted).await;
    kill(Pid::from_raw(interrupted.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(interrupted.wait().unwrap().code(), Some(130));
    assert_eq!(theirs::read(&server).await, before, "{name}: after Ctrl-C");
    assert_eq!(held(&server).await, Held { ours: 0, others: Some(others) }, "{name}: after Ctrl-C");

    let killed_in = tempfile::tempdir().unwrap();
    let mut killed = start(killed_in.path());
    at_work(&server, killed_in.path(), &mut killed).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(theirs::read(&server).await, before, "{name}: after a crash");
    // What the crash left is told, and not mistaken for nothing; `doctor` removes it.
    let refused = lockbench(&server, folder.path(), &short).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert!(said(&refused).contains("doctor --clean"), "{}", said(&refused));
    let cleaned = lockbench(&server, folder.path(), &["doctor", "--clean"]).output().unwrap();
    let told = format!("removed, 0 of lockbench's and {others} others");
    assert!(said(&cleaned).contains(&told), "{}", said(&cleaned));
    assert!(
        said(&cleaned).contains("round trip ") && said(&cleaned).contains("works with "),
        "{}",
        said(&cleaned)
    );
    assert_eq!(theirs::read(&server).await, before, "{name}: after it was cleaned");
    assert_eq!(held(&server).await, Held { ours: 0, others: Some(others) }, "{name}: after it was cleaned");
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_on_redis_stays_as_it_is_however_a_run_ends() {
    stays_as_it_is("redis").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_on_postgres_stays_as_it_is_however_a_run_ends() {
    stays_as_it_is("postgres").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_on_etcd_stays_as_it_is_however_a_run_ends() {
    stays_as_it_is("etcd").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_on_zookeeper_stays_as_it_is_however_a_run_ends() {
    stays_as_it_is("zookeeper").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_on_mariadb_stays_as_it_is_however_a_run_ends() {
    stays_as_it_is("mariadb").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_on_nats_stays_as_it_is_however_a_run_ends() {
    stays_as_it_is("nats").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_are_refused_where_a_server_is_not_ours() {
    let Some(server) = started("redis").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let run = run(&server, false);
    for broken in [
        "rtt_ms=1.0",
        r#"faults=[{ verb = "kill", target = "server", for_ms = 100.0, every_s = 1.0, quiet_s = 0.0 }]"#,
    ] {
        let refused = lockbench(&server, folder.path(), &with(&run, &["--set", broken])).output().unwrap();
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        assert!(said(&refused).contains("need a private one"), "{}", said(&refused));
    }
    server.stop().await.unwrap();
}

/// Has the server work for others, a tenth of a second at a time, for as long as it is told to.
async fn kept_busy(server: &Server, busy: Arc<AtomicBool>) {
    let (password, address) = server.endpoint().strip_prefix("redis://:").unwrap().split_once('@').unwrap();
    let client = redis::Client::open(format!("redis://:{password}@{address}")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let work = "local t = redis.call('TIME'); local ends = t[1] * 1000000 + t[2] + 100000; \
                repeat local n = redis.call('TIME') until n[1] * 1000000 + n[2] >= ends";
    while busy.load(Ordering::Relaxed) {
        let worked: redis::RedisResult<redis::Value> =
            redis::cmd("EVAL").arg(work).arg(0).query_async(&mut connection).await;
        drop(worked);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_once_others_wait_too_long_for_the_servers_answers_unless_told_otherwise() {
    let Some(server) = started("redis").await else { return };
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "run",
        "smoke",
        "--blocks",
        "1",
        "--set",
        "warm_up_s=0.0",
        "--set",
        r#"contenders=["redis-fenced"]"#,
    ];
    for (bound, duration, stopped) in [("3", "60", true), ("off", "3", false)] {
        let told = [&words[..], &["--duration", duration, "--bystander-bound", bound]].concat();
        let mut command = lockbench(&server, folder.path(), &told);
        let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        at_work(&server, folder.path(), &mut running).await;
        let busy = Arc::new(AtomicBool::new(true));
        let load = kept_busy(&server, Arc::clone(&busy));
        let ending = async {
            let output =
                tokio::task::spawn_blocking(move || running.wait_with_output().unwrap()).await.unwrap();
            busy.store(false, Ordering::Relaxed);
            output
        };
        let ((), output) = tokio::join!(load, ending);
        let told = said(&output);
        assert_eq!(told.contains("stopped: others who use this Redis wait"), stopped, "{bound}: {told}");
        assert_eq!(output.status.code(), Some(4), "{bound}: {told}");
        assert_eq!(held(&server).await, Held { ours: 0, others: Some(0) }, "{bound}: it was left as it was");
        std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    }
    server.stop().await.unwrap();
}
