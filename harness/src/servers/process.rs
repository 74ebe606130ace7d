//! A private server's processes: spawned so that they cannot outlive lockbench, counted, and ended.

use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::{Stat, all_processes};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::folder::Folder;
use super::{ServerError, ServerKind};

/// How long a server may take to shut down before it is killed.
const SHUT_DOWN: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(5);

/// A server that runs, and its folder.
#[derive(Debug)]
pub(super) struct Running {
    kind: ServerKind,
    /// Asks the server to shut down.
    stop: Signal,
    // Fields drop in this order: no process is left when the folder goes.
    process: Process,
    folder: Folder,
}

impl Running {
    pub(super) fn new(kind: ServerKind, stop: Signal, process: Process, folder: Folder) -> Self {
        Self { kind, stop, process, folder }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        tree(self.pid()).iter().filter_map(|stat| u32::try_from(stat.pid).ok()).collect()
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn cpu_ns(&self) -> Option<u64> {
        let processes = tree(self.pid());
        let ticks = |stat: &Stat| {
            let reaped = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
            stat.utime + stat.stime + reaped
        };
        let ns_per_tick = 1_000_000_000 / procfs::ticks_per_second();
        if processes.is_empty() { None } else { Some(processes.iter().map(ticks).sum::<u64>() * ns_per_tick) }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.child.try_wait().ok().flatten()
    }

    pub(super) async fn stop(mut self) -> Result<(), ServerError> {
        let pid = self.process.pid();
        kill(pid, self.stop).ok();
        // A server that a fault has paused hears nothing before it goes on.
        for pid in self.pids() {
            signal(pid, Signal::SIGCONT);
        }
        timeout(SHUT_DOWN, self.process.wait()).await.ok();
        let Self { kind, process, folder, .. } = self;
        let path = folder.path().to_owned();
        let clean = move || {
            drop(process);
            folder.remove()
        };
        let failed = |source| ServerError::Folder { kind, action: "remove", path, source };
        let result = tokio::task::spawn_blocking(clean).await;
        result.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(failed)
    }
}

/// A child process. When dropped, it and its descendants are killed, and reaped or waited for.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Spawns the command, which has to ask for a death signal (see `launch::command`). That signal follows the
    /// spawning *thread*, so one thread that lives as long as the process does all the spawning.
    ///
    /// Cancel safe: a child that nobody waits for any more is killed.
    pub(super) async fn spawn(command: Command) -> io::Result<Self> {
        static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
        let gone = || io::Error::other("the thread that spawns servers is gone");
        let spawner = match SPAWNER.get() {
            Some(spawner) => spawner,
            None => {
                let started = start_spawner()?;
                SPAWNER.get_or_init(|| started)
            }
        };
        let (reply, answer) = oneshot::channel();
        spawner.send(Order { command, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub(super) async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(POLL).await;
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once it is reaped, its id may belong to anybody.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let processes = tree(self.child.id());
        kill_all(&processes);
        self.child.wait().ok();
        await_end(&processes);
    }
}

struct Order {
    command: Command,
    /// Closed when nobody wants the child any more.
    reply: oneshot::Sender<io::Result<Process>>,
}

/// The thread ends when its channel closes, so one that lost the race to be the spawner ends at once.
fn start_spawner() -> io::Result<mpsc::Sender<Order>> {
    let (spawner, mut orders) = mpsc::channel::<Order>(16);
    std::thread::Builder::new().name("server-spawner".to_owned()).spawn(move || {
        while let Some(Order { mut command, reply }) = orders.blocking_recv() {
            // A child that comes back is dropped, and thereby killed.
            drop(reply.send(command.spawn().map(|child| Process { child })));
        }
    })?;
    Ok(spawner)
}

/// Whether the process that had this id and start time (in ticks since boot) still runs.
pub(super) fn lives(pid: i32, started: u64) -> bool {
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
    stat.is_ok_and(|stat| stat.starttime == started && !matches!(stat.state, 'Z' | 'X'))
}

/// Kills the servers whose working folder is in here. Only for folders whose owner is gone; a person's shell that
/// stands in the folder is spared.
pub(super) fn kill_those_in(folder: &Path) {
    let servers = ["postgres", "redis-server", "etcd", "java"];
    let inside = |process: &procfs::process::Process| process.cwd().is_ok_and(|cwd| cwd.starts_with(folder));
    let processes: Vec<Stat> = all_processes()
        .into_iter()
        .flatten()
        .flatten()
        .filter(inside)
        .filter_map(|process| process.stat().ok())
        .filter(|stat| servers.contains(&stat.comm.as_str()))
        .collect();
    kill_all(&processes);
    await_end(&processes);
}

/// The process and all its descendants; empty when it is gone.
fn tree(root: u32) -> Vec<Stat> {
    let mut others: Vec<Stat> =
        all_processes().into_iter().flatten().flatten().filter_map(|process| process.stat().ok()).collect();
    let mut found: Vec<Stat> = others.extract_if(.., |stat| u32::try_from(stat.pid) == Ok(root)).collect();
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|stat| stat.pid) {
        found.extend(others.extract_if(.., |stat| stat.ppid == parent));
        next += 1;
    }
    found
}

fn kill_all(processes: &[Stat]) {
    for stat in processes {
        kill(Pid::from_raw(stat.pid), Signal::SIGKILL).ok();
    }
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.cast_signed()), signal).ok();
}

/// Waits, at most 2 s, until killed processes are gone: they are other people's children, so cannot be reaped here.
fn await_end(processes: &[Stat]) {
    for _ in 0..400 {
        if !processes.iter().any(|stat| lives(stat.pid, stat.starttime)) {
            return;
        }
        nap();
    }
}

/// A few milliseconds in a destructor, where nothing can be awaited.
pub(super) fn nap() {
    std::thread::park_timeout(POLL);
}
