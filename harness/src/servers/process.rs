//! A private server that runs: its process, its folder, and how it is stopped.

use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use procfs::process::{Stat, all_processes};
use tokio::time::timeout;

use super::folder::Folder;
use super::launch::Start;
use super::{ServerError, ServerKind};
use crate::child::{Process, await_end, kill_all};

/// How long a server may take to shut down before it is killed.
const SHUT_DOWN: Duration = Duration::from_secs(5);

/// A server that runs, and its folder.
#[derive(Debug)]
pub(super) struct Running {
    kind: ServerKind,
    /// How it was started.
    start: Start,
    // Fields drop in this order: no process is left when the folder goes.
    process: Process,
    folder: Folder,
}

impl Running {
    pub(super) fn new(kind: ServerKind, start: Start, process: Process, folder: Folder) -> Self {
        Self { kind, start, process, folder }
    }

    pub(super) fn start(&self) -> &Start {
        &self.start
    }

    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn pids(&self) -> Vec<u32> {
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
        if processes.is_empty() { None } else { Some(processes.iter().map(ticks).sum::<u64>() * ns_per_tick) }
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
