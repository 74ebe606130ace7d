//! Ended in the middle of a run, lockbench leaves no server behind, however it is ended.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use harness::record::{RunRecord, TOO_BUSY};
use harness::servers::{Finding, ServerKind, find};
use tempfile::TempDir;

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

/// A lockbench in the middle of a run, and its servers.
struct UnderWay {
    folder: TempDir,
    lockbench: Child,
    servers: Vec<u32>,
}

impl UnderWay {
    async fn start() -> Option<Self> {
        if let Finding::Missing { remedy } = find(ServerKind::named("redis")) {
            assert!(std::env::var_os("CI").is_none(), "Redis is missing in CI: {remedy}");
            eprintln!("skipped: {remedy}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // The server runs as another user where we are root.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let lockbench = start(folder.path());
        let mut servers = Vec::new();
        eventually("a server runs", || {
            servers = servers_of(lockbench.id());
            !servers.is_empty()
        })
        .await;
        Some(Self { folder, lockbench, servers })
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.lockbench.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until it has ended, and its servers too.
    async fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("lockbench ends", || {
            status = self.lockbench.try_wait().unwrap();
            status.is_some()
        })
        .await;
        eventually("its servers are gone", || !self.servers.iter().any(|pid| alive(*pid))).await;
        status.unwrap()
    }
}

async fn end_with(signal: &str) -> Option<ExitStatus> {
    let mut under_way = UnderWay::start().await?;
    under_way.signal(signal);
    Some(under_way.ended().await)
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

/// The records in the folders of a folder, by their names.
fn records(folder: &Path) -> Vec<(String, RunRecord)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap());
    let records = entries.filter_map(|entry| {
        let bytes = std::fs::read(entry.path().join("record.json")).ok()?;
        Some((entry.file_name().into_string().unwrap(), serde_json::from_slice(&bytes).unwrap()))
    });
    records.collect()
}

/// A busy stranger: no child of lockbench's.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs `smoke` and lets its first run stand still for a moment, so that a tenth of its tasks starts late and its median does not;
/// with strangers at work meanwhile, or alone. The folder of the batch, within the one to keep.
async fn stood_still(strangers: u32) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut lockbench = Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args(["run", "smoke", "--blocks", "1", "--rate", "50", "--duration", "4", "--set", "warm_up_s=0"])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(lockbench.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.contains("block 1/1")), "the first run begins");
    let busy = |_| Stranger(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap());
    let strangers: Vec<Stranger> = (0..strangers).map(busy).collect();
    for (signal, pause) in [("-STOP", Duration::from_secs(1)), ("-CONT", Duration::from_millis(400))] {
        tokio::time::sleep(pause).await;
        assert!(Command::new("kill").args([signal, &lockbench.id().to_string()]).status().unwrap().success());
    }
    drop(strangers);
    drop(told.collect::<Vec<_>>());
    lockbench.wait().unwrap();
    let batch = std::fs::read_dir(folder.path().join("out")).unwrap().next().unwrap().unwrap().path();
    (folder, batch)
}

#[tokio::test]
async fn a_run_that_others_made_late_is_repeated_and_says_so() {
    let (_folder, batch) = stood_still(2).await;
    let late = records(&batch.join("late"));
    let (place, spoiled) = late.first().expect("the spoiled attempt is kept");
    assert!(spoiled.invalid[0].starts_with(TOO_BUSY), "{:?}", spoiled.invalid);
    let counted = records(&batch);
    let (_, again) = counted.iter().find(|(_, record)| record.contender == spoiled.contender).unwrap();
    assert!(again.repeated.iter().any(|told| told.contains(place.as_str())), "{place}: {:?}", again.repeated);
    assert_eq!(again.plan_digest, spoiled.plan_digest, "the same run once more");
}

#[tokio::test]
async fn a_run_that_was_late_by_itself_counts_as_it_is() {
    let (_folder, batch) = stood_still(0).await;
    let counted = records(&batch);
    let by_others = |record: &RunRecord| record.machine_was_busy();
    if counted.iter().any(|(_, record)| by_others(record)) || batch.join("late").exists() {
        eprintln!("skipped: other tests keep this machine busy");
        return;
    }
    let own =
        |record: &RunRecord| record.warnings.iter().any(|warning| warning.contains("not by others' work"));
    assert!(counted.iter().any(|(_, record)| own(record)), "{counted:?}");
}

/// Told to end twice, it does not wait for sessions and servers to end in good order; still nothing is left.
#[tokio::test]
async fn a_second_interrupt_ends_at_once_and_leaves_nothing() {
    let Some(mut under_way) = UnderWay::start().await else { return };
    under_way.signal("-INT");
    // It may have ended already.
    let pid = under_way.lockbench.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert_eq!(under_way.ended().await.code(), Some(130));
    let entries = std::fs::read_dir(under_way.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = entries.filter(|name| name.to_string_lossy().starts_with("lockbench-")).collect();
    assert_eq!(left, Vec::<std::ffi::OsString>::new());
}
