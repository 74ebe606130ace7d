//! Child processes that cannot outlive lockbench, servers and nodes alike: spawned, signalled, watched in `/proc`
//! and ended.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus};
use std::sync::OnceLock;
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, getppid};
use procfs::process::{Stat, all_processes};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::processors::Processors;

const POLL: Duration = Duration::from_millis(5);

/// How often a process that was told to stop is looked at; a stop takes microseconds.
const STOP_POLL: Duration = Duration::from_millis(1);

/// A child process. When dropped, it and its descendants are killed, and reaped or waited for.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Spawns the command, which has to ask for a death signal (see [`tied`]). That signal follows the spawning
    /// *thread*, so one thread that lives as long as the process does all the spawning.
    ///
    /// Cancel safe: a child that nobody waits for any more is killed.
    pub(crate) async fn spawn(command: Command) -> io::Result<Self> {
        Self::spawn_on(command, None).await
    }

    /// The same, kept on these processors from its first instruction on, with all that it starts.
    pub(crate) async fn spawn_on(command: Command, processors: Option<Processors>) -> io::Result<Self> {
        static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
        let gone = || io::Error::other("the thread that spawns processes is gone");
        let spawner = match SPAWNER.get() {
            Some(spawner) => spawner,
            None => {
                let started = start_spawner()?;
                SPAWNER.get_or_init(|| started)
            }
        };
        let (reply, answer) = oneshot::channel();
        spawner.send(Order { command, processors, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(POLL).await;
        }
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input and output, where the command has pipes for them; once.
    pub(crate) fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        self.child.stdin.take().zip(self.child.stdout.take())
    }

    /// Sends a signal to this process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id().cast_signed()), signal).ok();
    }

    /// It and all its descendants right now; empty when it is gone.
    pub(crate) fn tree(&self) -> Vec<Stat> {
        tree(self.id())
    }

    /// Stops the process and its descendants, and returns when none of their threads runs any more.
    ///
    /// # Errors
    /// When it is gone, or does not stop within a second.
    pub(crate) async fn pause(&self) -> io::Result<()> {
        for _ in 0..1_000 {
            let mut processes = self.tree();
            if processes.is_empty() {
                return Err(io::Error::other("the process is gone"));
            }
            processes.retain(|stat| !is_stopped(stat.pid));
            if processes.is_empty() {
                return Ok(());
            }
            // Again each time: one of them may have been born meanwhile.
            signal_all(&processes, Signal::SIGSTOP);
            sleep(STOP_POLL).await;
        }
        Err(io::Error::other("the process did not stop within a second"))
    }

    /// Lets the process and its descendants go on.
    pub(crate) fn resume(&self) {
        signal_all(&self.tree(), Signal::SIGCONT);
    }

    /// Kills the process and its descendants, and returns when they are gone.
    ///
    /// # Errors
    /// When it has already ended.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        // Stopped first: what one of them started while it is killed would outlive it, and hold what it holds.
        let _gone_or_slow = self.pause().await.is_err();
        let processes = self.tree();
        if self.ended().is_some() || processes.is_empty() {
            return Err(io::Error::other("the process is gone"));
        }
        signal_all(&processes, Signal::SIGKILL);
        self.wait().await?;
        while processes.iter().any(|stat| lives(stat.pid, stat.starttime)) {
            sleep(STOP_POLL).await;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Once it is reaped, its id may belong to anybody.
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let processes = self.tree();
        kill_all(&processes);
        self.child.wait().ok();
        await_end(&processes);
    }
}

struct Order {
    command: Command,
    processors: Option<Processors>,
    /// Closed when nobody wants the child any more.
    reply: oneshot::Sender<io::Result<Process>>,
}

/// The thread ends when its channel closes, so one that lost the race to be the spawner ends at once.
fn start_spawner() -> io::Result<mpsc::Sender<Order>> {
    let (spawner, mut orders) = mpsc::channel::<Order>(16);
    std::thread::Builder::new().name("spawner".to_owned()).spawn(move || {
        while let Some(Order { mut command, processors, reply }) = orders.blocking_recv() {
            let spawned = match processors {
                Some(processors) => spawn_on(&mut command, &processors),
                None => command.spawn(),
            };
            // A child that comes back is dropped, and thereby killed.
            drop(reply.send(spawned.map(|child| Process { child })));
        }
    })?;
    Ok(spawner)
}

/// A child begins on the processors of the thread that spawns it: no code of ours has to run in it.
fn spawn_on(command: &mut Command, processors: &Processors) -> io::Result<Child> {
    let own = Processors::allowed()?;
    processors.keep_thread()?;
    let child = command.spawn();
    own.keep_thread()?;
    child
}

/// A command that dies with the thread that spawns it. Its own process group keeps a Ctrl-C at the terminal from it:
/// lockbench ends it. `None` where the program `setpriv` is missing, which ties the two lives without unsafe code.
pub(crate) fn tied(program: &Path) -> Option<Command> {
    tied_as(program, None)
}

/// The same, run by that user where one is given. A change of user clears the death signal, so `setpriv` is nested: the outer
/// one changes the user, the inner one sets the signal.
pub(crate) fn tied_as(program: &Path, user: Option<&User>) -> Option<Command> {
    let setpriv = on_path(SETPRIV)?;
    let mut command = Command::new(&setpriv);
    if let Some(user) = user {
        command.args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)]);
        command.args(["--init-groups", "--"]).arg(&setpriv);
    }
    run_while_alive(&mut command, std::process::id(), program);
    command.process_group(0);
    Some(command)
}

/// Ties this process's life to that of its parent, by itself: for programs of our own, where no `setpriv` need be. The signal comes
/// when the *thread* ends that started it.
///
/// # Errors
/// When that parent is gone already, or the system refuses.
pub fn end_with(parent: u32) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw().cast_unsigned() == parent {
        Ok(())
    } else {
        Err(io::Error::other("whoever started this node is gone"))
    }
}

/// Appends to a `setpriv` that it sets the death signal and runs the program, unless this parent is gone by then: whoever was
/// killed before the signal was set would leave a process that nothing ends.
fn run_while_alive(setpriv: &mut Command, parent: u32, program: &Path) {
    const IF_ALIVE: &str = r#"[ "$PPID" = "$0" ] || exit 1; exec "$@""#;
    setpriv.args(["--pdeathsig", "KILL", "--", "/bin/sh", "-c", IF_ALIVE, &parent.to_string()]).arg(program);
}

/// The program that ties a child's life to ours.
pub(crate) const SETPRIV: &str = "setpriv";

/// The first of the folders of PATH, and those that only root has there, with a file of this name.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(
            ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"]
                .map(PathBuf::from),
        )
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Whether the process that had this id and start time (in ticks since boot) still runs.
pub(crate) fn lives(pid: i32, started: u64) -> bool {
    let stat = procfs::process::Process::new(pid).and_then(|process| process.stat());
    // Its first thread may have ended while others still hold its files and ports.
    let ended = |stat: &Stat| matches!(stat.state, 'Z' | 'X') && stat.num_threads <= 1;
    stat.is_ok_and(|stat| stat.starttime == started && !ended(&stat))
}

/// Whether every thread of the process stands still.
fn is_stopped(pid: i32) -> bool {
    let tasks = procfs::process::Process::new(pid).and_then(|process| process.tasks());
    tasks.is_ok_and(|tasks| {
        tasks.flatten().all(|task| task.stat().is_ok_and(|stat| matches!(stat.state, 'T' | 'Z' | 'X')))
    })
}

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

pub(crate) fn kill_all(processes: &[Stat]) {
    signal_all(processes, Signal::SIGKILL);
}

fn signal_all(processes: &[Stat], signal: Signal) {
    for stat in processes {
        kill(Pid::from_raw(stat.pid), signal).ok();
    }
}

/// Waits, at most 2 s, until killed processes are gone: they are other people's children, so cannot be reaped here.
pub(crate) fn await_end(processes: &[Stat]) {
    for _ in 0..400 {
        if !processes.iter().any(|stat| lives(stat.pid, stat.starttime)) {
            return;
        }
        nap();
    }
}

/// A few milliseconds in a destructor, where nothing can be awaited.
pub(crate) fn nap() {
    std::thread::park_timeout(POLL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_whose_parent_is_gone_before_its_life_is_tied_does_not_begin() {
        let Some(setpriv) = on_path(SETPRIV) else { return };
        let folder = tempfile::tempdir().unwrap();
        let begun = |parent: u32, name: &str| {
            let (mut command, file) = (Command::new(&setpriv), folder.path().join(name));
            run_while_alive(&mut command, parent, Path::new("touch"));
            command.arg(&file).status().unwrap();
            file.exists()
        };
        assert!(begun(std::process::id(), "ours"));
        // As an orphan sees it, which has another parent by now.
        assert!(!begun(std::process::id() + 1, "an orphan's"));
    }
}
