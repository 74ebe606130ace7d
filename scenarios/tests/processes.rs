//! Nodes as processes, as a user meets them: a node that dies is accounted for, strangers do no harm, and nothing is
//! left behind, however the run ends.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use harness::record::RunRecord;

/// Everything below has this many hundredths of a second to happen; far more than it needs.
const PATIENCE: u32 = 6_000;

async fn eventually<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE {
        if let Some(happened) = happened() {
            return happened;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not happen in time: {what}");
}

/// A node's process, as `/proc` shows it.
#[derive(Debug, Clone)]
struct NodeProcess {
    pid: u32,
    driver: String,
}

/// The nodes of a driver.
fn nodes_of(driver: u32) -> Vec<NodeProcess> {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>();
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<&str> = line.split('\0').collect();
        // Before that it is still the program that ties its life to the driver's.
        let ours = words.first()?.ends_with("lockbench") && parent == Ok(driver);
        let at = words.iter().position(|word| *word == "--driver")?;
        ours.then(|| NodeProcess { pid, driver: words[at + 1].to_owned() })
    });
    processes.collect()
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

fn start(folder: &Path, seconds: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_lockbench"))
        .args(["run", "smoke", "--placement", "process", "--blocks", "1", "--duration", seconds])
        .args(["--set", "warm_up_s=0.0", "--set", r#"contenders=["ring-queue"]"#])
        .current_dir(folder)
        .env("TMPDIR", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// All three nodes of a driver, once they are there.
async fn nodes(driver: &Child) -> Vec<NodeProcess> {
    let nodes = || Some(nodes_of(driver.id())).filter(|nodes| nodes.len() == 3);
    eventually("three nodes run", nodes).await
}

fn signal(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

async fn end(driver: &mut Child) -> ExitStatus {
    eventually("lockbench ends", || driver.try_wait().unwrap()).await
}

fn record(folder: &Path) -> RunRecord {
    let batch = std::fs::read_dir(folder.join("out")).unwrap().next().unwrap().unwrap().path();
    let record = std::fs::read(batch.join("1-ring-queue/record.json")).unwrap();
    serde_json::from_slice(&record).unwrap()
}

/// Every process of a run has its folder.
fn at_work_in(folder: &Path) -> Vec<String> {
    let folder = folder.canonicalize().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let process = entry.ok()?.path();
        let there = std::fs::read_link(process.join("cwd")).ok()?.starts_with(&folder);
        there.then(|| std::fs::read_to_string(process.join("cmdline")).unwrap_or_default())
    });
    processes.collect()
}

fn left_behind(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| name != "out").collect()
}

#[tokio::test]
async fn a_node_that_dies_on_the_way_is_named_and_its_tasks_are_accounted_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = start(folder.path(), "6");
    let nodes = nodes(&driver).await;
    // Well into the run, so that there are tasks before and after.
    tokio::time::sleep(Duration::from_secs(3)).await;
    signal(nodes[1].pid, "-KILL");
    assert_eq!(end(&mut driver).await.code(), Some(4), "a run that lost a node proves nothing");
    let record = record(folder.path());
    let named = |reason: &String| reason.contains("died") && reason.contains("signal: 9");
    assert!(record.invalid.iter().any(named), "{:?}", record.invalid);
    let tasks = record.tasks;
    assert!(tasks.completed > 0 && tasks.refused > 0, "{tasks:?}");
    assert_eq!(tasks.not_offered, 0, "{tasks:?}");
    let gone =
        tasks.completed + tasks.partial + tasks.rejected + tasks.refused + tasks.failed + tasks.timed_out;
    assert_eq!(gone + tasks.unknown + tasks.unfinished, tasks.planned, "{tasks:?}");
    assert!(!record.invalid.iter().any(|reason| reason.contains("conservation")), "{:?}", record.invalid);
}

#[tokio::test]
async fn garbage_at_the_driver_s_port_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = start(folder.path(), "2");
    let port = nodes(&driver).await[0].driver.clone();
    let mut sent = 0;
    let mut silent = Vec::new();
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[0, 0, 0, 2, b'{', b'}'], &[0; 9], b""] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(&port).unwrap();
            // It may have been closed already.
            sent += usize::from(stream.write_all(garbage).is_ok());
            silent.push(stream);
        }
    }
    assert!(sent > 0);
    end(&mut driver).await;
    drop(silent);
    let record = record(folder.path());
    assert_eq!(record.tasks.completed, record.tasks.planned);
    assert!(!record.invalid.iter().any(|reason| reason.contains("died")), "{:?}", record.invalid);
}

#[tokio::test]
async fn the_secret_is_in_no_process_list() {
    let folder = tempfile::tempdir().unwrap();
    let mut driver = start(folder.path(), "1");
    let pid = nodes(&driver).await[0].pid;
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let secret = environment.split('\0').find_map(|pair| pair.strip_prefix("LOCKBENCH_SECRET=")).unwrap();
    assert_eq!(secret.len(), 64);
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap();
    assert!(!line.contains(secret));
    end(&mut driver).await;
}

#[tokio::test]
async fn a_node_without_secret_or_driver_says_so_and_ends_with_2() {
    let node = |secret: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
        command.args(["node", "--driver", "127.0.0.1:1", "--node", "0"]).env_remove("LOCKBENCH_SECRET");
        command.envs(secret.map(|secret| ("LOCKBENCH_SECRET", secret)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(node(None).contains("LOCKBENCH_SECRET is not set"));
    assert!(node(Some("x")).contains("cannot reach the driver at 127.0.0.1:1"));
}

#[tokio::test]
async fn nodes_die_with_their_driver_however_it_ends() {
    for how in ["-INT", "-TERM", "-KILL"] {
        let folder = tempfile::tempdir().unwrap();
        let mut driver = start(folder.path(), "60");
        let nodes = nodes(&driver).await;
        signal(driver.id(), how);
        let status = end(&mut driver).await;
        assert_eq!(status.code(), (how != "-KILL").then_some(130), "{how}");
        let gone = || (!nodes.iter().any(|node| alive(node.pid))).then_some(());
        eventually("its nodes are gone", gone).await;
    }
}

/// 20 times in `make test`, 300 times in `make test-long` (`LOCKBENCH_STARTS`).
#[tokio::test]
async fn many_starts_and_stops_leave_no_process_no_port_and_no_folder_behind() {
    let starts = std::env::var("LOCKBENCH_STARTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut listened = 0;
    for _ in 0..starts {
        let folder = tempfile::tempdir().unwrap();
        let mut driver = start(folder.path(), "0.05");
        // They live for a moment, in which this test may not get a turn.
        let mut nodes = Vec::new();
        let ended = || {
            if nodes.is_empty() {
                nodes = nodes_of(driver.id());
            }
            driver.try_wait().unwrap()
        };
        assert!(eventually("lockbench ends", ended).await.code().is_some());
        assert_eq!(record(folder.path()).tasks.not_offered, 0);
        assert_eq!(at_work_in(folder.path()), Vec::<String>::new());
        assert_eq!(left_behind(folder.path()), Vec::<String>::new());
        if let Some(node) = nodes.first() {
            listened += 1;
            assert!(TcpStream::connect(&node.driver).is_err(), "nobody listens any more");
        }
    }
    assert!(listened > 0, "no node was ever seen");
}
