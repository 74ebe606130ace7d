//! A member of a private server: its process, its folder, and how it is paused, killed, started again and stopped.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use procfs::process::{Stat, all_processes};
use tokio::time::timeout;

use super::LOCALHOST;
use super::folder::Folder;
use super::launch::{self, Start};
use super::{ServerError, ServerKind};
use crate::child::{Process, await_end, kill_all};

/// How long a server may take to shut down before it is killed.
const SHUT_DOWN: Duration = Duration::from_secs(5);

/// One member of a private server, with all its processes; the only one of a server that is not replicated.
#[derive(Debug)]
pub struct Member {
    kind: ServerKind,
    /// How it was started.
    start: Start,
    // Fields drop in this order: no process is left when the folder goes.
    process: Process,
    folder: Folder,
    /// CPU time of the processes before this one, which were killed.
    former_cpu_ns: u64,
}

impl Member {
    pub(super) fn new(kind: ServerKind, start: Start, process: Process, folder: Folder) -> Self {
        Self { kind, start, process, folder, former_cpu_ns: 0 }
    }

    /// Where clients reach this member, as [`Server::endpoint`](super::Server::endpoint).
    pub fn endpoint(&self) -> &str {
        &self.start.endpoint
    }

    /// Where it listens for clients.
    pub fn address(&self) -> SocketAddr {
        let (_, address, _) = self.parts();
        address.parse().expect("it is started on a port of 127.0.0.1")
    }

    /// The endpoint over a link that takes the address's place.
    pub(super) fn endpoint_over(&self, link: SocketAddr) -> String {
        let (before, _, after) = self.parts();
        format!("{before}{link}{after}")
    }

    /// The endpoint's text before its address, the address, and the text after it.
    fn parts(&self) -> (&str, &str, &str) {
        let endpoint = self.endpoint();
        let start = endpoint.find(LOCALHOST).unwrap_or(endpoint.len());
        let (before, rest) = endpoint.split_at(start);
        let port = rest.strip_prefix(LOCALHOST).unwrap_or_default();
        let digits = port.find(|c: char| !c.is_ascii_digit()).unwrap_or(port.len());
        let (address, after) = rest.split_at(rest.len() - port.len() + digits);
        (before, address, after)
    }

    /// Stops all its processes where they are, as a fault; returns when they stand still.
    ///
    /// # Errors
    /// When it is gone, or does not stop.
    pub async fn pause(&self) -> Result<(), String> {
        self.process.pause().await.map_err(|error| error.to_string())
    }

    /// Lets it go on after a pause.
    pub fn resume(&self) {
        self.process.resume();
    }

    /// Kills it with all its processes, as a fault; its folder stays.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn kill(&mut self) -> Result<(), String> {
        let used_ns = self.cpu_ns().unwrap_or(self.former_cpu_ns);
        self.process.kill().await.map_err(|error| error.to_string())?;
        self.former_cpu_ns = used_ns;
        Ok(())
    }

    /// Starts it again after a kill, on its data and its ports, and returns when it serves.
    ///
    /// # Errors
    /// When it does not start, or does not come to serve.
    pub async fn restart(&mut self) -> Result<(), String> {
        launch::relaunch(std::slice::from_mut(self)).await.map_err(|error| error.to_string())
    }

    /// Its main process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The folder with its data and its file `log`.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn kind(&self) -> ServerKind {
        self.kind
    }

    pub(super) fn start(&self) -> &Start {
        &self.start
    }

    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its main process and all its descendants right now.
    pub fn pids(&self) -> Vec<u32> {
        self.process.tree().iter().filter_map(|stat| u32::try_from(stat.pid).ok()).collect()
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn cpu_ns(&self) -> Option<u64> {
        let processes = self.process.tree();
        let ticks = |stat: &Stat| {
            let reaped = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
            stat.utime + stat.stime + reaped
        };
        let ns_per_tick = 1_000_000_000 / procfs::ticks_per_second();
        let used_ns = || processes.iter().map(ticks).sum::<u64>() * ns_per_tick;
        if processes.is_empty() { None } else { Some(self.former_cpu_ns + used_ns()) }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    pub(super) async fn stop(mut self) -> Result<(), ServerError> {
        self.process.signal(self.start.stop);
        // A server that a fault has paused hears nothing before it goes on.
        self.process.resume();
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
