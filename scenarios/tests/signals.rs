//! Ended in the middle of a run, lockbench leaves no server behind, however it is ended.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use harness::servers::{Finding, ServerKind, find};

/// Everything below has this many tenths of a second to happen; far more than it needs.
const PATIENCE: u32 = 300;

async fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    for _ in 0..PATIENCE {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("did not happen in time: {what}");
}

/// Pids of the children of a process that are servers, not shells on their way to one.
fn servers_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        let of_parent = rest.split_whitespace().nth(1)?.parse() == Ok(parent);
        (of_parent && name.ends_with("(redis-server")).then_some(pid)
    });
    processes.collect()
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn start(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args(["run", "hot-key", "--contenders", "redis-fenced", "--duration", "60", "--blocks", "1"])
        .args(["--set", r#"contenders=["redis-fenced"]"#])
        .current_dir(folder)
        .env("TMPDIR", folder)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

async fn end_with(signal: &str) -> Option<ExitStatus> {
    if let Finding::Missing { remedy } = find(ServerKind::Redis) {
        assert!(std::env::var_os("CI").is_none(), "Redis is missing in CI: {remedy}");
        eprintln!("skipped: {remedy}");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut lockbench = start(folder.path());
    let mut servers = Vec::new();
    eventually("a server runs", || {
        servers = servers_of(lockbench.id());
        !servers.is_empty()
    })
    .await;
    let sent = Command::new("kill").args([signal, &lockbench.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut status = None;
    eventually("lockbench ends", || {
        status = lockbench.try_wait().unwrap();
        status.is_some()
    })
    .await;
    eventually("its servers are gone", || !servers.iter().any(|pid| alive(*pid))).await;
    status
}

#[tokio::test]
async fn an_interrupt_ends_with_130_and_no_server() {
    if let Some(status) = end_with("-INT").await {
        assert_eq!(status.code(), Some(130));
    }
}

#[tokio::test]
async fn a_termination_ends_with_130_and_no_server() {
    if let Some(status) = end_with("-TERM").await {
        assert_eq!(status.code(), Some(130));
    }
}

#[tokio::test]
async fn a_kill_leaves_no_server() {
    if let Some(status) = end_with("-KILL").await {
        assert_eq!(status.code(), None);
    }
}
