//! The password of a server that a run starts stays between the server and the run's own processes: no command line has it,
//! no record and no output.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::servers::{Finding, ServerKind, find};

/// What is in a file that a private Redis reads and that stands beside its data, once a server of this process is there.
fn password(lockbench: u32) -> Option<String> {
    let processes = procfs::process::all_processes().unwrap().flatten();
    let children = processes.filter(|process| {
        process.stat().is_ok_and(|stat| stat.ppid == lockbench.cast_signed() && stat.comm == "redis-server")
    });
    let configs = children.filter_map(|server| Some(server.cwd().ok()?.parent()?.join("redis.conf")));
    let config = configs.filter_map(|config| std::fs::read_to_string(config).ok()).next()?;
    Some(config.trim().strip_prefix("requirepass ")?.to_owned())
}

fn command_lines() -> Vec<String> {
    let processes = procfs::process::all_processes().unwrap().flatten();
    processes.filter_map(|process| Some(process.cmdline().ok()?.join(" "))).collect()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_in(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn neither_command_lines_nor_records_nor_output_have_the_password_of_a_server() {
    if let Finding::Missing { remedy } = find(ServerKind::named("redis")) {
        assert!(std::env::var_os("CI").is_none(), "Redis is missing in CI: {remedy}");
        eprintln!("skipped: {remedy}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let told = std::fs::File::create(folder.path().join("told")).unwrap();
    let mut lockbench = Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args(["run", "smoke", "--placement", "process", "--blocks", "1", "--duration", "3"])
        .args(["--set", "warm_up_s=0.0", "--set", r#"contenders=["redis-fenced"]"#])
        .current_dir(folder.path())
        .env("RUST_LOG", "trace")
        .stdout(Stdio::from(told.try_clone().unwrap()))
        .stderr(Stdio::from(told))
        .spawn()
        .unwrap();
    let (mut passwords, mut nodes_seen) = (std::collections::BTreeSet::new(), false);
    while lockbench.try_wait().unwrap().is_none() {
        passwords.extend(password(lockbench.id()));
        let lines = command_lines();
        nodes_seen |= lines.iter().any(|line| line.contains("lockbench node --driver"));
        let seen = passwords.iter().any(|password| lines.iter().any(|line| line.contains(password)));
        assert!(!seen, "a command line has a password");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        lockbench.wait().unwrap().code(),
        Some(4),
        "without the controls a run proves nothing, and says so"
    );
    assert!(!passwords.is_empty() && nodes_seen, "neither server nor node was seen");
    for file in files_in(folder.path()) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!passwords.iter().any(|password| text.contains(password)), "{} has it", file.display());
    }
}
