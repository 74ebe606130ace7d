//! `--pin`: the parties of a run have processors of their own, and the record says which; or it is refused.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::processors::Processors;
use harness::record::{Manifest, Pinning};
use harness::servers::{Finding, ServerKind, find};

fn lockbench(folder: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
    command.args(["run", "smoke", "--blocks", "1", "--pin"]).args(arguments);
    command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// What the kernel says that each thread of a process may use.
fn allowed(pid: i32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let status = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("status")).ok());
    let list = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Some(line.trim().to_owned())
    };
    status.filter_map(list).collect()
}

fn children(of: &Child) -> Vec<procfs::process::Stat> {
    let all = procfs::process::all_processes().unwrap().flatten();
    let stats = all.filter_map(|process| process.stat().ok());
    stats
        .filter(|stat| u32::try_from(stat.ppid) == Ok(of.id()) && stat.comm != "setpriv" && stat.comm != "sh")
        .collect()
}

fn pinning(folder: &std::path::Path) -> Pinning {
    let batch = std::fs::read_dir(folder.join("out")).unwrap().next().unwrap().unwrap().path();
    let manifest: Manifest =
        serde_json::from_slice(&std::fs::read(batch.join("manifest.json")).unwrap()).unwrap();
    let page = std::fs::read_to_string(batch.join("report.html")).unwrap();
    let pinning = manifest.pinning.unwrap();
    assert!(page.contains(&format!("driver {}", pinning.driver)), "the report says so");
    let count = Processors::allowed().unwrap().count();
    assert_eq!(manifest.machine.cores as usize, count, "those of all parties");
    pinning
}

#[test]
fn driver_and_server_run_on_processors_of_their_own_and_the_record_says_on_which() {
    let enough = Processors::allowed().unwrap().deal(2).is_ok();
    if !enough || matches!(find(ServerKind::named("redis")), Finding::Missing { .. }) {
        eprintln!("skipped: one processor, or no Redis");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut command = lockbench(folder.path(), &["--contenders", "redis-fenced", "--duration", "2"]);
    let run = command.spawn().unwrap();
    let (mut servers, mut own) = (Vec::new(), Vec::new());
    let mut run = run;
    while run.try_wait().unwrap().is_none() {
        for server in children(&run).iter().filter(|stat| stat.comm.starts_with("redis")) {
            servers = allowed(server.pid);
            own = allowed(run.id().cast_signed());
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let told = pinning(folder.path());
    assert!(told.driver != told.members[0] && told.members.len() == 1 && told.nodes.is_empty(), "{told:?}");
    assert!(!servers.is_empty() && servers.iter().all(|list| *list == told.members[0]), "{servers:?}");
    // All threads of the driver but the one that is about to start somebody.
    let elsewhere = own.iter().filter(|list| **list != told.driver).count();
    assert!(own.len() > 1 && elsewhere <= 1, "{own:?}");
}

#[test]
fn each_node_in_a_process_has_its_own() {
    if Processors::allowed().unwrap().deal(2).is_err() {
        eprintln!("skipped: one processor");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "--set",
        "contenders=[\"noop\",\"none\"]",
        "--nodes",
        "1",
        "--placement",
        "process",
        "--duration",
        "1",
    ];
    let mut run = lockbench(folder.path(), &arguments).spawn().unwrap();
    let mut nodes = Vec::new();
    while run.try_wait().unwrap().is_none() {
        let found: Vec<_> = children(&run).iter().flat_map(|node| allowed(node.pid)).collect();
        if !found.is_empty() {
            nodes = found;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    let told = pinning(folder.path());
    assert!(told.driver != told.nodes[0] && told.nodes.len() == 1 && told.members.is_empty(), "{told:?}");
    assert!(!nodes.is_empty() && nodes.iter().all(|list| *list == told.nodes[0]), "{nodes:?}");
}

#[test]
fn too_few_processors_are_a_usage_error_that_says_how_many_are_needed() {
    let here = Processors::allowed().unwrap().count();
    let folder = tempfile::tempdir().unwrap();
    let nodes = here.to_string();
    let arguments = ["--set", "contenders=[\"noop\",\"none\"]", "--placement", "process", "--nodes", &nodes];
    let output = lockbench(folder.path(), &arguments).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    let expected = format!("{} processors are needed, one for each, and {here} may be used here", here + 1);
    assert!(told.contains(&expected) && told.contains("--pin"), "{told}");
    assert!(!folder.path().join("out").exists(), "nothing is written before");
}
