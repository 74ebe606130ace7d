//! Nodes on other machines: hosts join, run what the driver wants, and go; strangers are refused, and nobody is left behind.
//!
//! A host is a process here whose clock counts from another start (a time namespace), and in the last test one with a network of its
//! own, where this machine lets us make such; else that part is left out, which is said.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::record::{RunRecord, Verdict};
use harness::servers::{Finding, ServerKind, find};

const LOCKBENCH: &str = env!("CARGO_BIN_EXE_lockbench");

/// Long enough for whatever happens at all.
const PATIENCE: Duration = Duration::from_secs(300);

fn keys(folder: &Path, name: &str) -> PathBuf {
    let keys = folder.join(name);
    let made = Command::new(LOCKBENCH).arg("keys").arg(&keys).output().unwrap();
    assert!(made.status.success(), "{}", told(&made));
    keys
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether clocks of processes can be set apart here.
fn has_time_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--time", "--monotonic", "5", "--fork", "true"]).output();
    let can = tried.is_ok_and(|tried| tried.status.success());
    if !can {
        eprintln!("all hosts have one clock: time namespaces are for root, on a kernel that has them");
    }
    can
}

/// How often it is looked whether it has happened.
const POLL: Duration = Duration::from_millis(20);

/// Looks until something is there.
fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
        if let Some(found) = look() {
            return found;
        }
        std::thread::park_timeout(POLL);
    }
    panic!("in vain: {what}");
}

/// A process that is killed when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Running {
    fn wait(&mut self) -> ExitStatus {
        await_some("it ends", || self.0.try_wait().unwrap())
    }
}

/// The processes that one has started.
fn nodes_of(host: &Running) -> Vec<i32> {
    let all = procfs::process::all_processes().unwrap().flatten();
    let stats = all.filter_map(|process| process.stat().ok());
    stats.filter(|stat| u32::try_from(stat.ppid) == Ok(host.0.id())).map(|stat| stat.pid).collect()
}

/// A driver that waits for hosts, and where.
struct Driver {
    run: Running,
    port: u16,
    said: std::thread::JoinHandle<String>,
}

impl Driver {
    fn start(folder: &Path, mut command: Command) -> Self {
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut run = Running(command.spawn().unwrap());
        let mut lines = BufReader::new(run.0.stderr.take().unwrap()).lines();
        let mut before = String::new();
        let waits = lines.by_ref().map_while(Result::ok).find(|line| {
            before.push_str(line);
            line.starts_with("waiting at ")
        });
        let waits = waits.unwrap_or_else(|| panic!("it does not wait: {before}"));
        let address = waits.split_whitespace().nth(2).unwrap();
        let port = address.rsplit(':').next().unwrap().parse().unwrap();
        let said = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        Self { run, port, said }
    }

    fn end(mut self) -> (ExitStatus, String) {
        let status = self.run.wait();
        (status, self.said.join().unwrap())
    }
}

fn run(arguments: &[&str], keys: &Path) -> Command {
    let mut command = Command::new(LOCKBENCH);
    command.args(["run", "smoke", "--placement", "remote", "--blocks", "1", "--progress", "plain"]);
    command.args(["--seed", "5", "--keys"]).arg(keys).args(arguments);
    command
}

fn host(name: &str, place: &str, keys: &Path, nodes: u16, ahead_s: Option<u32>) -> Command {
    let mut command = match ahead_s {
        Some(ahead_s) => {
            let mut command = Command::new("unshare");
            let ahead_s = ahead_s.to_string();
            command.args(["--time", "--monotonic", &ahead_s, "--fork", "--kill-child", "--"]).arg(LOCKBENCH);
            command
        }
        None => Command::new(LOCKBENCH),
    };
    command.args(["node", "--join", place, "--name", name, "--nodes", &nodes.to_string(), "--keys"]);
    command.arg(keys).stdin(Stdio::null());
    command
}

fn record(folder: &Path, run: &str, said: &str) -> RunRecord {
    let batch = std::fs::read_dir(folder.join("out")).unwrap().next().unwrap().unwrap().path();
    serde_json::from_slice(&std::fs::read(batch.join(run).join("record.json")).expect(said)).unwrap()
}

#[test]
fn hosts_whose_clocks_count_from_other_starts_run_a_batch_together_and_go_when_it_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), "keys");
    let contenders = ["--listen", "127.0.0.1:0", "--contenders", "ring-queue", "--duration", "3"];
    let driver = Driver::start(folder.path(), run(&contenders, &keys));
    let place = format!("127.0.0.1:{}", driver.port);
    let apart = has_time_namespaces();
    let mut hosts: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .zip([1_000, 5_000_000, 77])
        .map(|(name, ahead_s)| host(name, &place, &keys, 1, apart.then_some(ahead_s)))
        .map(|mut command| Running(command.spawn().unwrap()))
        .collect();
    let (status, said) = driver.end();
    passes(status, &said);
    for host in &mut hosts {
        assert_eq!(host.wait().code(), Some(0), "they hear that no more is wanted");
    }
    let ran = record(folder.path(), "1-ring-queue", &said);
    assert!(ran.invalid.iter().all(|reason| reason.contains("late at")), "{:?}", ran.invalid);
    assert!(ran.tasks.completed > 100 && ran.tasks.completed == ran.tasks.planned, "{:?}", ran.tasks);
    let names: Vec<_> = ran.hosts.iter().map(|host| (&*host.name, &host.nodes[..])).collect();
    assert_eq!(names, [("a", &[0][..]), ("b", &[1]), ("c", &[2])]);
    // It crosses loopback: half a second would be as good as nothing known.
    assert!(ran.hosts.iter().all(|host| host.clock_bound_ns.is_some_and(|bound| bound < 500_000_000)));
}

#[test]
fn a_killed_holder_s_last_deeds_are_known_and_its_node_comes_back_at_its_host() {
    let Some(redis) = redis("127.0.0.1") else { return };
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), "keys");
    let mut command = faults(&keys, &redis.1);
    command.args(["--listen", "127.0.0.1:0"]);
    let driver = Driver::start(folder.path(), command);
    let place = format!("127.0.0.1:{}", driver.port);
    let apart = has_time_namespaces().then_some(4_000);
    let mut hosts = Vec::new();
    for name in ["a", "b"] {
        hosts.push(Running(host(name, &place, &keys, 2, apart).spawn().unwrap()));
    }
    let (status, said) = driver.end();
    assert!(hosts.iter_mut().all(|host| host.wait().success()));
    let ran = record(folder.path(), "1-redis-fenced", &said);
    let killed = ran.faults.faults.iter().filter(|fault| fault.failure.is_none()).count();
    assert!(killed >= 2, "{:?}", ran.faults);
    // What a dead node did last is known: none of them counts as unplanned.
    keeps_apart(&ran, &said);
    passes(status, &said);
}

/// Pauses and kills of holders, on a Redis that is there.
fn faults(keys: &Path, redis: &str) -> Command {
    let mut command = Command::new(LOCKBENCH);
    command.args(["run", "holder-kill", "--small", "--placement", "remote", "--blocks", "1"]);
    command.args(["--contenders", "redis-fenced", "--redis", redis, "--seed", "5", "--progress", "plain"]);
    command.args(["--bystander-bound", "off", "--keys"]).arg(keys);
    command
}

/// What the same scenario tells where nodes are processes beside the driver.
fn keeps_apart(ran: &RunRecord, said: &str) {
    assert!(ran.invalid.iter().all(|reason| reason.contains("late at")), "{:?}: {said}", ran.invalid);
    let exclusion = ran.verdicts.iter().find(|check| check.check == "exclusion").unwrap();
    assert!(exclusion.verdict == Verdict::Holds && exclusion.examined > 50, "{exclusion:?}");
}

/// That it passes; where the machine was too busy for the controls, that it says so and nothing worse.
fn passes(status: ExitStatus, said: &str) {
    let busy = said.contains("the machine was too busy");
    assert!(status.code() == Some(0) || busy && status.code() == Some(4), "{status}: {said}");
}

/// A Redis of this test's own, at an address; nothing where there is none, which CI may not have.
fn redis(address: &str) -> Option<(Running, String)> {
    let program = match find(ServerKind::named("redis")) {
        Finding::Found { path, .. } => path,
        Finding::Missing { remedy } => {
            assert!(std::env::var_os("CI").is_none(), "missing in CI: {remedy}");
            eprintln!("skipped: {remedy}");
            return None;
        }
    };
    let port = std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program);
    command.args(["--bind", address, "--port", &port.to_string(), "--save", "", "--protected-mode", "no"]);
    let redis = Running(command.stdout(Stdio::null()).spawn().unwrap());
    await_some("it starts", || std::net::TcpStream::connect((address, port)).ok());
    Some((redis, format!("redis://{address}:{port}")))
}

#[test]
fn a_driver_that_is_killed_takes_its_nodes_with_it_and_hosts_say_that_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), "keys");
    let command = run(&["--listen", "127.0.0.1:0", "--contenders", "ring-queue", "--duration", "60"], &keys);
    let mut driver = Driver::start(folder.path(), command);
    let place = format!("127.0.0.1:{}", driver.port);
    let mut command = host("a", &place, &keys, 3, None);
    let mut at = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let theirs = await_some("nodes", || Some(nodes_of(&at)).filter(|theirs| theirs.len() == 3));
    driver.run.0.kill().unwrap();
    assert_eq!(at.wait().code(), Some(2));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut at.0.stderr.take().unwrap(), &mut said).unwrap();
    assert!(said.contains("lost the driver, and ended its nodes"), "{said}");
    assert!(theirs.iter().all(|pid| procfs::process::Process::new(*pid).is_err()), "{theirs:?}");
}

#[test]
fn what_cannot_be_is_said_before_anybody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), "keys");
    let refused = |arguments: &[&str]| {
        let output = run(arguments, &keys).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        told(&output)
    };
    let links = refused(&["--listen", "127.0.0.1:0", "--rtt", "2"]);
    assert!(links.contains("links of nodes on other machines are as they are"), "{links}");
    let nowhere = refused(&[]);
    assert!(nowhere.contains("--listen ADDRESS:PORT --keys DIR"), "{nowhere}");
    let private = refused(&["--listen", "127.0.0.1:0", "--contenders", "redis-fenced"]);
    assert!(private.contains("cannot reach a private server of this one"), "{private}");
    let without = Command::new(LOCKBENCH)
        .args(["run", "smoke", "--placement", "process", "--listen", "127.0.0.1:0", "--keys"])
        .arg(&keys)
        .output()
        .unwrap();
    assert!(told(&without).contains("add --placement remote"), "{}", told(&without));
}

/// Four networks that only a bridge joins: a driver's, and those of three hosts. Gone when the test is over.
struct Networks(String);

impl Networks {
    /// `None`, which is said, where this machine lets us make none.
    fn make() -> Option<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let networks = Self(format!("lockbench-{}-{number}", std::process::id()));
        let driver = networks.of("driver");
        if !ip(&["netns", "add", &driver]) {
            eprintln!(
                "skipped: networks of one's own are for root, with iproute2, where the system allows it"
            );
            return None;
        }
        assert!(ip(&["-n", &driver, "link", "set", "lo", "up"]));
        assert!(ip(&["-n", &driver, "link", "add", "bridge", "type", "bridge"]));
        assert!(ip(&["-n", &driver, "address", "add", "10.213.0.1/24", "dev", "bridge"]));
        assert!(ip(&["-n", &driver, "link", "set", "bridge", "up"]));
        for (number, host) in ["a", "b", "c"].into_iter().enumerate() {
            let name = networks.of(host);
            let address = format!("10.213.0.{}/24", number + 2);
            assert!(ip(&["netns", "add", &name]));
            assert!(ip(&[
                "-n", &driver, "link", "add", "name", host, "type", "veth", "peer", "name", "wire", "netns",
                &name
            ]));
            assert!(ip(&["-n", &driver, "link", "set", "dev", host, "master", "bridge", "up"]));
            assert!(ip(&["-n", &name, "address", "add", &address, "dev", "wire"]));
            for device in ["lo", "wire"] {
                assert!(ip(&["-n", &name, "link", "set", device, "up"]));
            }
        }
        Some(networks)
    }

    fn of(&self, host: &str) -> String {
        format!("{}-{host}", self.0)
    }

    /// The same command in one of them.
    fn within(&self, host: &str, command: &Command) -> Command {
        let mut within = Command::new("ip");
        within.args(["netns", "exec", &self.of(host)]).arg(command.get_program()).args(command.get_args());
        within
    }

    /// Whether anything gets through between a host and the others.
    fn set(&self, host: &str, state: &str) {
        assert!(ip(&["-n", &self.of("driver"), "link", "set", "dev", host, state]));
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for host in ["a", "b", "c", "driver"] {
            ip(&["netns", "delete", &self.of(host)]);
        }
    }
}

fn ip(arguments: &[&str]) -> bool {
    let done = Command::new("ip").args(arguments).stderr(Stdio::null()).status();
    done.is_ok_and(|done| done.success())
}

/// Three hosts with networks of their own, and the driver of a lock on a Redis that they can reach; once the controls have run.
struct Apart {
    networks: Networks,
    folder: tempfile::TempDir,
    driver: Driver,
    hosts: Vec<Running>,
    redis: Running,
}

impl Apart {
    /// `None`, which is said, where this machine lets us make no networks.
    fn make(nodes_each: u16, arguments: &[&str]) -> Option<Self> {
        let Finding::Found { path: redis, .. } = find(ServerKind::named("redis")) else {
            assert!(std::env::var_os("CI").is_none(), "no Redis in CI");
            return None;
        };
        let networks = Networks::make()?;
        let folder = tempfile::tempdir().unwrap();
        let keys = keys(folder.path(), "keys");
        let mut command = Command::new(redis);
        command.args(["--bind", "10.213.0.1", "--port", "6379", "--save", "", "--protected-mode", "no"]);
        let redis = Running(networks.within("driver", &command).stdout(Stdio::null()).spawn().unwrap());
        let mut looks = Command::new("bash");
        looks.args(["-c", "until (: < /dev/tcp/10.213.0.1/6379) 2>/dev/null; do sleep 0.05; done"]);
        assert!(networks.within("driver", &looks).status().unwrap().success());
        let mut command = run(&["--listen", "10.213.0.1:7400", "--contenders", "redis-fenced"], &keys);
        command
            .args(["--redis", "redis://10.213.0.1:6379", "--bystander-bound", "off", "--rate", "60"])
            .args(arguments);
        let driver = Driver::start(folder.path(), networks.within("driver", &command));
        let apart = has_time_namespaces();
        let mut hosts = Vec::new();
        for (name, ahead_s) in [("a", 300), ("b", 90_000), ("c", 5)] {
            let command = host(name, "10.213.0.1:7400", &keys, nodes_each, apart.then_some(ahead_s));
            hosts.push(Running(networks.within(name, &command).spawn().unwrap()));
        }
        let batch =
            || std::fs::read_dir(folder.path().join("out")).ok()?.next()?.ok().map(|batch| batch.path());
        let ran = |run: &str| batch().is_some_and(|batch| batch.join(run).join("record.json").is_file());
        // With this seed the lock comes after the controls.
        await_some("the controls have run", || (ran("1-none") && ran("1-noop")).then_some(()));
        assert!(!ran("1-redis-fenced"), "the controls do not come first");
        // Some way into the run: a cut at whatever time must do no harm.
        std::thread::park_timeout(Duration::from_secs(4));
        Some(Self { networks, folder, driver, hosts, redis })
    }
}

#[test]
fn three_hosts_with_networks_of_their_own_one_of_which_is_cut_off_for_five_seconds_keep_everybody_apart() {
    // Leases outlast the cut, so that nobody has a right to come in meanwhile.
    let arguments = ["--nodes", "12", "--duration", "12", "--detect", "15000"];
    let Some(Apart { networks, folder, driver, mut hosts, redis: _redis }) = Apart::make(4, &arguments)
    else {
        return;
    };
    networks.set("a", "down");
    std::thread::park_timeout(Duration::from_secs(5));
    networks.set("a", "up");
    let (status, said) = driver.end();
    let ended: Vec<_> = hosts.iter_mut().map(|host| host.wait().code()).collect();
    assert_eq!(ended, [Some(0); 3], "{said}");
    let ran = record(folder.path(), "1-redis-fenced", &said);
    assert_eq!(ran.hosts.iter().map(|host| host.nodes.len()).collect::<Vec<_>>(), [4, 4, 4]);
    assert_eq!((ran.tasks.not_offered, ran.tasks.unfinished), (0, 0), "{:?}", ran.tasks);
    assert!(ran.tasks.completed > ran.tasks.planned / 2, "{:?}", ran.tasks);
    let longest_ns = ran.latency.response.quantile_ns(1.0).unwrap();
    assert!(longest_ns > 2_000_000_000, "nobody felt the cut: {longest_ns}");
    keeps_apart(&ran, &said);
    passes(status, &said);
}

#[test]
fn a_host_that_is_cut_off_for_good_is_missed_and_whoever_was_inside_there_is_no_witness_against_the_others() {
    // Its leases run out before it is missed.
    let arguments = ["--nodes", "3", "--duration", "25", "--detect", "2000"];
    let Some(Apart { networks, folder, driver, mut hosts, redis: _redis }) = Apart::make(1, &arguments)
    else {
        return;
    };
    networks.set("a", "down");
    let (status, said) = driver.end();
    // Tasks that waited for whoever was inside there may count against the lock, until the host was missed.
    assert!(matches!(status.code(), Some(3 | 4)), "{said}");
    let ran = record(folder.path(), "1-redis-fenced", &said);
    assert!(ran.invalid.iter().any(|reason| reason.contains("node 0")), "{:?}", ran.invalid);
    let exclusion = ran.verdicts.iter().find(|check| check.check == "exclusion").unwrap();
    assert!(!matches!(exclusion.verdict, Verdict::Violated { .. }), "{exclusion:?}");
    // It has missed its driver, too, and the others were let go.
    let ended: Vec<_> = hosts.iter_mut().map(|host| host.wait().code()).collect();
    assert_eq!(ended, [Some(2), Some(0), Some(0)]);
}

#[test]
fn a_host_that_is_lost_spoils_its_run_alone_and_another_takes_its_place_in_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys(folder.path(), "keys");
    let command = run(&["--listen", "127.0.0.1:0", "--contenders", "ring-queue", "--duration", "8"], &keys);
    let driver = Driver::start(folder.path(), command);
    let place = format!("127.0.0.1:{}", driver.port);
    let join = |name: &str, nodes| Running(host(name, &place, &keys, nodes, None).spawn().unwrap());
    let (mut stays, mut goes) = (join("a", 2), join("b", 1));
    let out = folder.path().join("out");
    let begun = || {
        let batch = std::fs::read_dir(&out).ok()?.next()?.ok()?.path();
        batch.join("manifest.json").is_file().then_some(batch)
    };
    let batch = await_some("it begins", begun);
    // Its first node warms up, the next is of the first run.
    let first = await_some("a node", || nodes_of(&goes).first().copied());
    await_some("the next", || nodes_of(&goes).first().copied().filter(|next| *next != first));
    std::thread::park_timeout(Duration::from_secs(4));
    goes.0.kill().unwrap();
    let mut comes = join("c", 1);
    let (status, said) = driver.end();
    assert_eq!(status.code(), Some(4), "{said}");
    assert!(stays.wait().success() && comes.wait().success());
    let records: Vec<RunRecord> = ["1-none", "1-noop", "1-ring-queue"]
        .iter()
        .filter_map(|run| std::fs::read(batch.join(run).join("record.json")).ok())
        .map(|record| serde_json::from_slice(&record).unwrap())
        .collect();
    let lost = |record: &&RunRecord| record.invalid.iter().any(|reason| reason.contains("host b is gone"));
    assert_eq!(records.iter().filter(lost).count(), 1, "{said}");
    let replaced = |record: &&RunRecord| record.hosts.iter().any(|host| host.name == "c");
    assert_eq!(records.iter().filter(replaced).count(), records.len() - 1, "{said}");
}
