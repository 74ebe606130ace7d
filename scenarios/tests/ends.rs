//! Told to end, or killed, at any moment of a run, lockbench leaves no process, no port and no folder behind, whatever server
//! it was about to start, to ask or to stop.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use harness::servers::{Durability, Finding, ServerKind, default_root, find};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::net::TcpState;
use procfs::process::{FDTarget, MMapPath, Process};
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep, timeout};

/// How many runs are ended: 12 in `make test`, 1,000 in `make test-long`.
const ENDS: &str = "LOCKBENCH_ENDS";

/// Of the first end, drawn unless it is given; each further one has the next number.
const SEED: &str = "LOCKBENCH_ENDS_SEED";

/// A contender for each product that lockbench starts by itself.
const CONTENDERS: [(&str, &str); 6] = [
    ("redis", "redis-fenced"),
    ("postgres", "pg-lease"),
    ("etcd", "etcd-cas"),
    ("zookeeper", "zk-seq"),
    ("mariadb", "mysql-lease"),
    ("nats", "nats-kv"),
];

/// Before a run's server is started the machine is looked at, for two seconds.
const BEFORE: Duration = Duration::from_millis(2_000);

/// From the first folder of a server on: its start, a moment with tasks, its stop and the report.
const WITH_A_SERVER: Duration = Duration::from_millis(1_200);

/// Nothing below takes longer: a server that is told to stop gets 5 s before it is killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder without an owner may be in the making for a minute.
const MADE: Duration = Duration::from_secs(61);

/// How one run is ended.
struct End {
    seed: u64,
    contender: &'static str,
    placement: &'static str,
    signal: Signal,
    /// Counted from the first folder of a server, or, in one of six, from the start of lockbench.
    after: Duration,
    server_first: bool,
    /// Told once more, so long after the first time.
    again: Option<Duration>,
}

impl End {
    /// The products take turns, so that a few ends meet them all.
    fn drawn(seed: u64, installed: &[&'static str]) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let turn = usize::try_from(seed).unwrap() % installed.len();
        let signal = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL].choose(&mut random).copied().unwrap();
        let again = signal != Signal::SIGKILL && random.random_bool(0.5);
        let server_first = random.random_ratio(5, 6);
        let mut within = |longest: Duration| longest.mul_f64(random.random());
        Self {
            seed,
            contender: installed[turn],
            placement: if (seed / 6).is_multiple_of(2) { "single" } else { "process" },
            signal,
            after: within(if server_first { WITH_A_SERVER } else { BEFORE }),
            server_first,
            again: again.then(|| within(Duration::from_millis(300))),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, contender, placement, signal, after, server_first, again } = self;
        let since = if *server_first { "of the server's start" } else { "of its own" };
        write!(f, "{contender}, {placement}, {signal} after {after:.3?} {since}")?;
        if let Some(again) = again {
            write!(f, " and once more {again:.3?} later")?;
        }
        write!(f, "; alone: {ENDS}=1 {SEED}={seed}")
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
}

/// The contenders whose servers are installed. CI installs them all, so there a missing one is a failure.
fn installed() -> Vec<&'static str> {
    assert_eq!(ServerKind::ALL.len(), CONTENDERS.len(), "every product has its turn");
    let there = |(kind, contender)| match find(ServerKind::named(kind)) {
        Finding::Found { .. } => Some(contender),
        Finding::Missing { remedy } => {
            assert!(std::env::var_os("CI").is_none(), "{remedy}");
            eprintln!("skipped: {remedy}");
            None
        }
    };
    CONTENDERS.into_iter().filter_map(there).collect()
}

/// `lockbench run`, in a folder of its own in which its servers have theirs.
fn run(folder: &Path, contender: &str, placement: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockbench"));
    command.args(["run", "smoke", "--blocks", "1", "--duration", "0.2", "--durability", "memory"]);
    command.args(["--placement", placement, "--set", "warm_up_s=0.0"]);
    command.args(["--set", &format!("contenders=[{contender:?}]")]);
    command.current_dir(folder).env("TMPDIR", folder).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Who works in this folder, also when it is gone: lockbench and all that it started, whoever is their parent now.
fn those_in(folder: &Path) -> Vec<Process> {
    let processes = procfs::process::all_processes().unwrap().flatten();
    let alive = |process: &Process| process.stat().is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'));
    processes.filter(|process| process.cwd().is_ok_and(|cwd| cwd.starts_with(folder))).filter(alive).collect()
}

/// What was there of a run.
#[derive(Default)]
struct Seen {
    pids: BTreeSet<i32>,
    /// Sockets that listened, with their ports, by the numbers that no other socket has.
    listeners: BTreeMap<u64, u16>,
    /// Files of shared memory that PostgreSQL had.
    memory: BTreeSet<PathBuf>,
}

fn listening() -> BTreeMap<u64, u16> {
    let sockets = procfs::net::tcp().unwrap().into_iter().chain(procfs::net::tcp6().unwrap_or_default());
    let listening = sockets.filter(|socket| socket.state == TcpState::Listen);
    listening.map(|socket| (socket.inode, socket.local_address.port())).collect()
}

impl Seen {
    fn look(&mut self, folder: &Path) {
        let listening = listening();
        for process in those_in(folder) {
            self.pids.insert(process.pid);
            self.memory.extend(process.maps().into_iter().flatten().filter_map(|map| match map.pathname {
                MMapPath::Path(path) if path.starts_with("/dev/shm/") && !path.starts_with(folder) => {
                    Some(path)
                }
                _ => None,
            }));
            for fd in process.fd().into_iter().flatten().flatten() {
                if let FDTarget::Socket(socket) = fd.target
                    && let Some(port) = listening.get(&socket)
                {
                    self.listeners.insert(socket, *port);
                }
            }
        }
    }

    /// Ports of it on which somebody listens still.
    fn ports_left(&self) -> Vec<u16> {
        let listening = listening();
        self.listeners
            .iter()
            .filter(|(socket, _)| listening.contains_key(socket))
            .map(|(_, port)| *port)
            .collect()
    }

    /// Shared memory that its processes made, as files and as segments of System V: PostgreSQL has both.
    fn memory_left(&self) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        let maker = |line: &&str| line.split_whitespace().nth(4).and_then(|pid| pid.parse().ok());
        let ours = |line: &&str| maker(line).is_some_and(|pid: i32| self.pids.contains(&pid));
        let segments = table.lines().skip(1).filter(ours).map(str::to_owned);
        let files = self.memory.iter().filter(|path| path.exists()).map(|path| path.display().to_string());
        segments.chain(files).collect()
    }
}

/// Everything that is there besides the results.
fn left_in(folder: &Path) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| !path.ends_with("out")).collect()
}

/// Killed also when the test fails, with what it started.
struct Driver<'a> {
    child: Child,
    folder: &'a Path,
}

impl Driver<'_> {
    fn tell(&self, signal: Signal) {
        // It may have ended, but nobody has reaped it.
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Until the first folder of a server is there.
    async fn makes_a_folder(&mut self) -> Result<(), String> {
        let made = timeout(PATIENCE, async {
            while left_in(self.folder).is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
        });
        made.await.map_err(|_| "starts no server".to_owned())
    }

    /// Its end, if that comes before this time is over; looks at what there is meanwhile.
    async fn ends_within(&mut self, time: Duration, seen: &mut Seen) -> Option<ExitStatus> {
        let until = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            seen.look(self.folder);
            sleep(Duration::from_millis(15).min(until - Instant::now())).await;
        }
    }
}

impl Drop for Driver<'_> {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The next start removes what a killed one left. Told to end as soon as it has done so, which it says.
async fn next_start(folder: &Path) {
    let mut next = run(folder, "noop", "single").stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(next.stderr.take().unwrap()).lines().map_while(Result::ok);
    let begun = told.any(|line| line.contains("seed"));
    kill(Pid::from_raw(next.id().cast_signed()), Signal::SIGINT).unwrap();
    drop(told.collect::<Vec<_>>());
    next.wait().unwrap();
    assert!(begun, "the next start begins");
}

async fn end(end: &End) -> Result<(), String> {
    // In memory, where the servers' folders are then too.
    let root = default_root(Durability::Memory);
    let folder = tempfile::tempdir_in(root.canonicalize().unwrap()).unwrap();
    // The servers run as other users where we are root.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let folder = folder.path();
    let child = run(folder, end.contender, end.placement).spawn().unwrap();
    let (mut driver, mut seen) = (Driver { child, folder }, Seen::default());

    if end.server_first {
        driver.makes_a_folder().await?;
    }
    let mut status = driver.ends_within(end.after, &mut seen).await;
    if status.is_none() {
        driver.tell(end.signal);
        if let Some(pause) = end.again {
            status = driver.ends_within(pause, &mut seen).await;
            if status.is_none() {
                driver.tell(end.signal);
            }
        }
    }
    let status = match status {
        Some(status) => status,
        None => driver.ends_within(PATIENCE, &mut seen).await.ok_or("lockbench does not end")?,
    };
    // 4: it was at its end, and without the controls proves nothing. By the signal itself: before it had started anything.
    let expected = matches!(status.code(), Some(130 | 4)) || status.signal() == Some(end.signal as i32);
    if !expected {
        return Err(format!("ends with {status}"));
    }

    let killed = end.signal == Signal::SIGKILL;
    let gone = timeout(if killed { PATIENCE } else { Duration::ZERO }, async {
        // Whoever is killed lets go of its folder a moment before it does of its sockets.
        while !(those_in(folder).is_empty() && seen.ports_left().is_empty()) {
            sleep(Duration::from_millis(5)).await;
        }
    });
    if gone.await.is_err() {
        let left = those_in(folder);
        let left: Vec<_> =
            left.iter().map(|process| process.cmdline().unwrap_or_default().join(" ")).collect();
        if !left.is_empty() {
            return Err(format!("processes are left: {left:?}"));
        }
    }
    let ports = seen.ports_left();
    if !ports.is_empty() {
        return Err(format!("somebody listens at {ports:?}"));
    }
    if killed {
        for path in left_in(folder).iter().filter(|path| !path.join("owner").exists()) {
            let made = SystemTime::now() - MADE;
            std::fs::File::open(path).and_then(|path| path.set_modified(made)).unwrap();
        }
        next_start(folder).await;
    }
    if !left_in(folder).is_empty() {
        return Err(format!("folders are left: {:?}", left_in(folder)));
    }
    if !seen.memory_left().is_empty() {
        return Err(format!("shared memory is left: {:?}", seen.memory_left()));
    }
    Ok(())
}

#[tokio::test]
async fn a_run_that_ends_at_any_moment_leaves_no_process_no_port_and_no_folder() {
    let installed = installed();
    if installed.is_empty() {
        return;
    }
    let first = number(SEED).unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let count = number(ENDS).unwrap_or(12);
    println!("{count} ends from seed {first}");
    let mut failed = Vec::new();
    for seed in first..first + count {
        let how = End::drawn(seed, &installed);
        println!("{how}");
        if let Err(why) = end(&how).await {
            eprintln!("{why}: {how}");
            failed.push(format!("{why}: {how}"));
        }
    }
    assert!(failed.is_empty(), "{} of {count} ends left something:\n{}", failed.len(), failed.join("\n"));
}
