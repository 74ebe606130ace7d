//! Every product as a real server: started, asked, stopped, and gone whatever happens.

use std::io::{BufRead, BufReader};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::FutureExt;
use harness::processors::Processors;
use harness::servers::{
    Durability, Finding, Server, ServerError, ServerKind, ServerOptions, Topology, find, redact,
    sweep_leftovers,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Set in the child process that is to be killed: to the name of the product that it starts, or to this.
const VICTIM: &str = "LOCKBENCH_TEST_VICTIM";
const ALL: &str = "all";

/// Longer than any start or end takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The products that are installed here. CI installs them all, so there a missing one is a failure.
fn installed() -> Vec<ServerKind> {
    let there = |kind: &ServerKind| match find(*kind) {
        Finding::Found { .. } => true,
        Finding::Missing { remedy } => {
            assert!(std::env::var_os("CI").is_none(), "{remedy}");
            eprintln!("skipped: {remedy}");
            false
        }
    };
    ServerKind::ALL.iter().copied().filter(there).collect()
}

fn options(durability: Durability) -> ServerOptions {
    ServerOptions { durability, ..ServerOptions::default() }
}

/// What has to be gone afterwards.
#[derive(Debug)]
struct Trace {
    /// The main process first. The others may come and go: Postgres forks for every client.
    pids: Vec<u32>,
    folder: PathBuf,
}

impl Trace {
    fn of(server: &Server) -> Self {
        Self { pids: server.pids(), folder: server.folder().expect("it is private").to_owned() }
    }

    fn alive(&self) -> Vec<u32> {
        self.pids.iter().copied().filter(|pid| is_alive(*pid)).collect()
    }

    fn is_up(&self) -> bool {
        self.pids.first().is_some_and(|pid| is_alive(*pid))
    }

    fn assert_gone(&self) {
        assert_eq!(self.alive(), Vec::<u32>::new(), "processes are left");
        assert!(!self.folder.exists(), "{} is left", self.folder.display());
        assert_eq!(segments_of(&self.pids), 0, "shared memory is left");
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = procfs::process::Process::new(pid.cast_signed()).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.state != 'Z')
}

/// How many System V segments these processes have made and not removed.
fn segments_of(pids: &[u32]) -> usize {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let maker = |line: &str| line.split_whitespace().nth(4).and_then(|pid| pid.parse::<u32>().ok());
    table.lines().skip(1).filter_map(maker).filter(|pid| pids.contains(pid)).count()
}

#[tokio::test]
async fn every_installed_server_starts_answers_and_stops() {
    for kind in installed() {
        let server = Server::start(kind, &ServerOptions::default()).await.unwrap();
        println!("{kind} {} at {}: {:?}", server.version(), redact(server.endpoint()), server.settings());
        assert!(server.version().starts_with(|c: char| c.is_ascii_digit()), "{}", server.version());
        assert_eq!(server.pids().first().copied(), server.pid());
        assert!(server.cpu_ns().is_some());

        let again = Server::attach(kind, server.endpoint()).await.unwrap();
        assert_eq!(again.version(), server.version());
        assert_eq!((again.pid(), again.cpu_ns()), (None, None));
        again.stop().await.unwrap();

        let trace = Trace::of(&server);
        assert!(trace.is_up(), "letting go of a handle must not stop the server");
        server.stop().await.unwrap();
        trace.assert_gone();
    }
}

#[tokio::test]
async fn an_acknowledged_write_is_flushed_or_not_as_the_profile_says() {
    for kind in installed() {
        let mut told = Vec::new();
        for durability in [Durability::Durable, Durability::Memory] {
            let server = Server::start(kind, &options(durability)).await.unwrap();
            for (name, value) in kind.effective(durability) {
                assert_eq!(server.settings().get(*name).map(String::as_str), Some(*value), "{kind}: {name}");
            }
            assert!(server.settings().contains_key("data"));
            told.push(server.settings().clone());
            server.stop().await.unwrap();
        }
        // That neither profile is the other under another name does not rest on what the product expects of itself.
        let differs = |name: &str| told[0].get(name) != told[1].get(name);
        assert!(
            kind.effective(Durability::Durable).iter().any(|(name, _)| differs(name)),
            "{kind}: {told:?}"
        );
    }
}

#[tokio::test]
async fn a_server_keeps_its_data_where_it_is_told_to() {
    let root = tempfile::tempdir().unwrap();
    // The server may run as another user.
    std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    for kind in installed() {
        let here = ServerOptions { data_root: Some(root.path().to_owned()), ..ServerOptions::default() };
        let server = Server::start(kind, &here).await.unwrap();
        assert_eq!(server.folder().unwrap().parent(), Some(root.path().canonicalize().unwrap().as_path()));
        server.stop().await.unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "{kind} left something");
    }
}

#[tokio::test]
async fn zookeeper_grants_the_session_timeout_that_the_run_wants() {
    if !installed().contains(&ServerKind::named("zookeeper")) {
        return;
    }
    for detect_ms in [500, 2_000, 10_000] {
        let options = ServerOptions { detect: Duration::from_millis(detect_ms), ..ServerOptions::default() };
        let server = Server::start(ServerKind::named("zookeeper"), &options).await.unwrap();
        let ms = |name: &str| server.settings()[name].parse::<u64>().unwrap();
        let granted = ms("minSessionTimeout")..=ms("maxSessionTimeout");
        assert!(granted.contains(&detect_ms), "{detect_ms} ms is outside {granted:?}");
        server.stop().await.unwrap();
    }
}

#[tokio::test]
async fn two_servers_of_a_kind_run_side_by_side() {
    for kind in installed() {
        let options = options(Durability::Memory);
        let (one, two) = tokio::join!(Server::start(kind, &options), Server::start(kind, &options));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_ne!(one.endpoint(), two.endpoint());
        let (first, second) = (Trace::of(&one), Trace::of(&two));
        one.stop().await.unwrap();
        first.assert_gone();
        assert!(second.is_up(), "stopping one must not touch the other");
        drop(Server::attach(kind, two.endpoint()).await.unwrap());
        two.stop().await.unwrap();
        second.assert_gone();
    }
}

#[tokio::test]
async fn a_killed_server_starts_again_on_the_same_port_and_data() {
    for kind in installed() {
        let mut server = Server::start(kind, &options(Durability::Durable)).await.unwrap();
        let (before, endpoint) = (Trace::of(&server), server.endpoint().to_owned());
        let mark = server.folder().unwrap().join("data").join("mark-of-the-test");
        std::fs::write(&mark, "kept").unwrap();
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        assert!(before.alive().is_empty(), "{kind}: {:?} live on", before.alive());
        assert_eq!((server.endpoint(), mark.exists()), (endpoint.as_str(), true));
        let asked = Server::attach(kind, &endpoint).await.unwrap();
        assert_eq!(asked.version(), server.version());
        let after = Trace::of(&server);
        server.stop().await.unwrap();
        after.assert_gone();
    }
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    for kind in installed() {
        let server = Server::start(kind, &options(Durability::Memory)).await.unwrap();
        let trace = Trace::of(&server);
        drop(server);
        trace.assert_gone();
    }
}

#[tokio::test]
async fn a_panic_leaves_nothing() {
    for kind in installed() {
        let mut trace = None;
        let story = async {
            let server = Server::start(kind, &options(Durability::Memory)).await.unwrap();
            trace = Some(Trace::of(&server));
            panic!("expected: the run panics while {} runs", server.kind());
        };
        assert!(AssertUnwindSafe(story).catch_unwind().await.is_err());
        trace.expect("the server had started").assert_gone();
    }
}

#[tokio::test]
async fn a_server_that_a_fault_has_paused_can_be_stopped() {
    for kind in installed() {
        let server = Server::start(kind, &options(Durability::Memory)).await.unwrap();
        let trace = Trace::of(&server);
        // The main process first: it can then fork no other.
        kill(Pid::from_raw(server.pid().unwrap().cast_signed()), Signal::SIGSTOP).unwrap();
        for pid in server.pids() {
            kill(Pid::from_raw(pid.cast_signed()), Signal::SIGSTOP).ok();
        }
        server.stop().await.unwrap();
        trace.assert_gone();
    }
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_takes_its_server_along() {
    for kind in installed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::set_permissions(root.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let options =
            ServerOptions { data_root: Some(root.path().to_owned()), ..options(Durability::Memory) };
        let log = || {
            let folder = std::fs::read_dir(root.path()).unwrap().flatten().next();
            folder.is_some_and(|folder| folder.path().join("log").exists())
        };
        let spawned = async {
            while !log() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            () = spawned => {}
            server = Server::start(kind, &options) => server.unwrap().stop().await.unwrap(),
        }
        // Where the drop comes before the spawning thread has answered, that thread does the killing.
        tokio::time::timeout(PATIENCE, async {
            while !servers_in(root.path()).is_empty() || std::fs::read_dir(root.path()).unwrap().count() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("{kind} is left: {:?}", servers_in(root.path())));
    }
}

/// The processes that work in this folder.
fn servers_in(root: &Path) -> Vec<i32> {
    let processes = procfs::process::all_processes().expect("/proc is readable").flatten();
    processes.filter(|p| p.cwd().is_ok_and(|cwd| cwd.starts_with(root))).map(|p| p.pid).collect()
}

/// Killed also when the test fails.
struct Victim(Child);

impl Victim {
    fn kill_9(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.kill_9();
        sweep_leftovers();
    }
}

#[tokio::test]
async fn kill_9_of_lockbench_leaves_no_process_and_the_next_start_sweeps_the_rest() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "this_process_starts_every_server_and_is_killed", "--nocapture"]);
    let mut victim = Victim(command.env(VICTIM, ALL).stdout(Stdio::piped()).spawn().unwrap());
    let traces: Vec<Trace> = BufReader::new(victim.0.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .take_while(|line| line != "READY")
        .filter_map(|line| {
            let mut words = line.strip_prefix("SERVER ")?.split(' ').map(str::to_owned);
            let folder = words.next()?.into();
            Some(Trace { folder, pids: words.map(|pid| pid.parse().unwrap()).collect() })
        })
        .collect();
    assert_eq!(traces.len(), installed().into_iter().map(|kind| largest(kind).members()).sum::<usize>());
    assert!(traces.iter().all(Trace::is_up), "{traces:?}");

    // While its owner lives, no folder is a leftover.
    sweep_leftovers();
    assert!(traces.iter().all(|trace| trace.folder.exists()), "{traces:?}");

    victim.kill_9();
    let gone = async {
        while traces.iter().any(|trace| !trace.alive().is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, gone).await;
    assert!(in_time.is_ok(), "left: {:?}", traces.iter().map(Trace::alive).collect::<Vec<_>>());

    swept(traces.iter().map(|trace| trace.folder.as_path())).await;
    for trace in traces {
        trace.assert_gone();
    }
}

#[tokio::test]
async fn the_folder_of_a_lockbench_in_another_container_is_no_leftover() {
    let Some(kind) = installed().into_iter().next() else { return };
    // As root as in a container: its process ids are others than here.
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
    let possible = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "--", "true"]).status();
    if !possible.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("CI").is_none() || !nix::unistd::geteuid().is_root());
        eprintln!("skipped: no namespace of process ids can be made here");
        return;
    }
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", "this_process_starts_every_server_and_is_killed", "--nocapture"]);
    let mut victim = Victim(command.env(VICTIM, kind.name()).stdout(Stdio::piped()).spawn().unwrap());
    let folders: Vec<PathBuf> = BufReader::new(victim.0.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .take_while(|line| line != "READY")
        .filter_map(|line| Some(line.strip_prefix("SERVER ")?.split(' ').next()?.into()))
        .collect();
    assert!(!folders.is_empty());
    sweep_leftovers();
    assert!(folders.iter().all(|folder| !servers_in(folder).is_empty()), "{folders:?}");

    victim.kill_9();
    tokio::time::timeout(PATIENCE, async {
        while !folders.iter().all(|folder| servers_in(folder).is_empty()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("they die with their namespace");
    swept(folders.iter().map(PathBuf::as_path)).await;
}

/// A sweep passes over what another lockbench sweeps at that moment.
async fn swept<'a>(folders: impl Iterator<Item = &'a Path>) {
    let folders: Vec<_> = folders.collect();
    let gone = async {
        loop {
            sweep_leftovers();
            if !folders.iter().any(|folder| folder.exists()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, gone).await;
    assert!(
        in_time.is_ok(),
        "left: {:?}",
        folders.iter().filter(|folder| folder.exists()).collect::<Vec<_>>()
    );
}

/// As many members as this product can have here.
fn largest(kind: ServerKind) -> Topology {
    if kind.can_be_replicated() { Topology::Replicated } else { Topology::Single }
}

/// Passes at once, except in the process that the test above starts.
#[tokio::test]
async fn this_process_starts_every_server_and_is_killed() {
    let Ok(wanted) = std::env::var(VICTIM) else { return };
    let mut servers = Vec::new();
    for kind in installed().into_iter().filter(|kind| wanted == ALL || kind.name() == wanted) {
        let options = ServerOptions { topology: largest(kind), ..options(Durability::Memory) };
        let server = Server::start(kind, &options).await.unwrap();
        for member in server.members() {
            let pids: Vec<String> = member.pids().iter().map(u32::to_string).collect();
            println!("\nSERVER {} {}", member.path().display(), pids.join(" "));
        }
        servers.push(server);
    }
    println!("READY");
    tokio::time::sleep(PATIENCE).await;
    panic!("nobody killed this process; {} servers were waiting", servers.len());
}

/// The URL of a server on this port with a login, where its form has room for one.
fn url(kind: ServerKind, port: u16) -> String {
    // What follows says what else there is.
    let form = kind.url().split([',', ' ']).next().unwrap_or_default();
    match form.split_once("://") {
        Some((scheme, rest)) => {
            let path =
                rest.split_once('/').map_or("", |(_, path)| path.split('[').next().unwrap_or_default());
            format!("{scheme}://me:s3cret@127.0.0.1:{port}/{path}")
        }
        None => format!("127.0.0.1:{port}"),
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error_that_names_it_without_its_password() {
    // Nobody accepts from this listener, so connections succeed and answers do not come; port 1 has none.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for port in [1, silent.local_addr().unwrap().port()] {
        let asked = installed().into_iter().map(|kind| (kind, url(kind, port)));
        let asked: Vec<_> = asked.collect();
        let errors = asked.iter().map(|(kind, url)| Server::attach(*kind, url));
        for ((kind, _), result) in asked.iter().zip(futures_util::future::join_all(errors).await) {
            let error = result.unwrap_err();
            assert!(matches!(error, ServerError::Unreachable { .. }), "{error}");
            let message = error.to_string();
            let place = format!("127.0.0.1:{port}");
            assert!(message.contains(kind.title()) && message.contains(&place), "{message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }
}

#[tokio::test]
async fn every_member_of_a_list_has_to_answer() {
    for kind in installed().into_iter().filter(|kind| kind.can_be_replicated()) {
        let options = options(Durability::Memory);
        let (one, two) = tokio::join!(Server::start(kind, &options), Server::start(kind, &options));
        let (one, two) = (one.unwrap(), two.unwrap());
        let both = format!("{},{}", one.endpoint(), two.endpoint());
        assert_eq!(Server::attach(kind, &both).await.unwrap().endpoint(), both);
        two.stop().await.unwrap();
        assert!(matches!(Server::attach(kind, &both).await, Err(ServerError::Unreachable { .. })));
        one.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_url_of_another_product_is_refused() {
    let foreign = |kind: ServerKind| {
        // Of a form without a scheme, only that it has none tells it apart, and etcd takes those too.
        let others =
            ServerKind::ALL.iter().filter(move |other| **other != kind && other.url().contains("://"));
        others.map(|other| url(*other, 1))
    };
    let pairs = ServerKind::ALL.iter().flat_map(|kind| foreign(*kind).map(move |url| (*kind, url)));
    let no_port = (ServerKind::named("redis"), "redis://127.0.0.1:no-port".to_owned());
    for (kind, url) in pairs.chain([no_port]) {
        let error = Server::attach(kind, &url).await.unwrap_err();
        assert!(matches!(error, ServerError::BadUrl { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let nowhere = PathBuf::from("/proc/no-such-folder");
    for kind in installed() {
        let options = ServerOptions { data_root: Some(nowhere.clone()), ..ServerOptions::default() };
        let error = Server::start(kind, &options).await.unwrap_err();
        assert!(matches!(error, ServerError::Folder { .. }), "{error}");
        assert!(error.to_string().contains("/proc/no-such-folder"), "{error}");
    }
}

#[test]
fn every_kind_is_known_by_its_name() {
    for kind in ServerKind::ALL {
        assert_eq!(kind.name().parse::<ServerKind>().unwrap(), *kind);
    }
    let error = "oracle".parse::<ServerKind>().unwrap_err().to_string();
    let names: Vec<_> = ServerKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(error, format!("no server is called `oracle`; there are {}", names.join(", ")));
}

/// What the kernel says of a process, as of each of its threads.
fn allowed(pid: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let line = line.expect("the kernel says so");
    line.trim().to_owned()
}

#[tokio::test]
async fn a_server_stays_on_the_processors_that_it_was_given_also_when_it_is_started_again() {
    let all = Processors::allowed().unwrap();
    let Ok(dealt) = all.deal(2) else {
        eprintln!("skipped: there is one processor");
        return;
    };
    for kind in installed() {
        let options = ServerOptions { processors: vec![dealt[1].clone()], ..options(Durability::Memory) };
        let mut server = Server::start(kind, &options).await.unwrap();
        for again in [false, true] {
            if again {
                server.kill().await.unwrap();
                server.restart().await.unwrap();
            }
            assert_eq!(allowed(server.pid().unwrap()), dealt[1].to_string(), "{kind}, again: {again}");
        }
        // Whoever comes next, from the same thread, is not bound by that.
        let other = Server::start(kind, &self::options(Durability::Memory)).await.unwrap();
        assert_eq!(allowed(other.pid().unwrap()), all.to_string(), "{kind}");
    }
}

#[tokio::test]
async fn a_server_of_a_program_that_is_named_is_that_one_and_says_so() {
    for kind in installed() {
        let Finding::Found { path, version } = find(kind) else { panic!("{kind}") };
        let named = ServerOptions { program: Some(path.clone()), ..options(Durability::Memory) };
        let server = Server::start(kind, &named).await.unwrap_or_else(|error| panic!("{kind}: {error}"));
        assert_eq!(server.version(), version, "{kind}");
        let program = &server.settings()["program"];
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(program.starts_with(&format!("{name}, digest ")), "{kind}: {program}");
        server.stop().await.unwrap();

        let nowhere =
            ServerOptions { program: Some("/no/such/server".into()), ..options(Durability::Memory) };
        let error = Server::start(kind, &nowhere).await.unwrap_err();
        assert!(matches!(error, ServerError::Program { .. }), "{kind}: {error}");
    }
}
