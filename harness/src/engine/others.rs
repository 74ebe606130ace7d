//! What a machine does for others while a run lasts: processor time that its host takes away, and that of processes which
//! are not ours. Only this excuses a run that was late; a contender whose server took the processors does not.

use std::collections::HashMap;

use procfs::CurrentSI as _;
use procfs::process::{Process, Stat, all_processes};

use super::clock::monotonic_ns;
use crate::record::Others;

/// What has gone to others so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watch {
    at_ns: u64,
    stolen_ns: u64,
    foreign_ns: u64,
}

impl Watch {
    /// Looks now; a look costs some hundred microseconds.
    pub(crate) fn begin() -> Self {
        let per_tick_ns = 1_000_000_000 / procfs::ticks_per_second();
        let stolen = procfs::KernelStats::current().ok().and_then(|stats| stats.total.steal);
        Self {
            at_ns: monotonic_ns(),
            stolen_ns: stolen.unwrap_or(0) * per_tick_ns,
            foreign_ns: foreign_ticks(&processes(), std::process::id().cast_signed()) * per_tick_ns,
        }
    }

    /// What has gone to others since.
    pub(crate) fn since(self) -> Others {
        let now = Self::begin();
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        Others {
            stolen_ns: now.stolen_ns.saturating_sub(self.stolen_ns),
            foreign_ns: now.foreign_ns.saturating_sub(self.foreign_ns),
            capacity_ns: (now.at_ns - self.at_ns) * cores,
        }
    }
}

/// Every process that can be seen; one that has just ended is left out.
fn processes() -> Vec<Stat> {
    let Ok(all) = all_processes() else { return Vec::new() };
    all.filter_map(Result::ok).filter_map(|process| process.stat().ok()).collect()
}

/// Another process of this program: what it measures and what this one measures are each in the other's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// Its number.
    pub pid: i32,
    /// Since when it runs, UTC, to the second.
    pub since: Option<jiff::Timestamp>,
    /// Its command line, in which there may be passwords; empty where it may not be read.
    pub command: Vec<String>,
}

/// The processes of this program's name on this machine that have nothing to do with this one, those that they started left
/// out. Others in containers of their own are seen only from the outermost.
#[must_use]
pub fn twins() -> Vec<Twin> {
    let all = processes();
    let boot_s = procfs::KernelStats::current().ok().map(|stats| stats.btime);
    twins_of(&all, std::process::id().cast_signed())
        .into_iter()
        .map(|stat| Twin {
            pid: stat.pid,
            since: boot_s.and_then(|boot_s| {
                let seconds = boot_s + stat.starttime / procfs::ticks_per_second();
                jiff::Timestamp::from_second(i64::try_from(seconds).ok()?).ok()
            }),
            command: Process::new(stat.pid).and_then(|process| process.cmdline()).unwrap_or_default(),
        })
        // A host of nodes does what a driver tells it, which is what measures.
        .filter(|twin| twin.command.get(1).is_none_or(|verb| verb != "node"))
        .collect()
}

fn twins_of(all: &[Stat], me: i32) -> Vec<&Stat> {
    let by_pid: HashMap<i32, &Stat> = all.iter().map(|stat| (stat.pid, stat)).collect();
    let Some(own) = by_pid.get(&me) else { return Vec::new() };
    // Whose end is not waited for yet does nothing any more.
    let lives = |stat: &Stat| !matches!(stat.state, 'Z' | 'X');
    let named = |stat: &&Stat| stat.comm == own.comm && lives(stat);
    let mut family = vec![me];
    while let Some(parent) = family.last().and_then(|pid| by_pid.get(pid)).map(|stat| stat.ppid) {
        if parent <= 0 || family.contains(&parent) {
            break;
        }
        family.push(parent);
    }
    let started_by_one = |stat: &Stat| by_pid.get(&stat.ppid).is_some_and(|parent| parent.comm == own.comm);
    all.iter().filter(named).filter(|stat| !family.contains(&stat.pid) && !started_by_one(stat)).collect()
}

/// Ticks of the processes that are neither of the tree below `root`, nor of the kernel, which works for all.
fn foreign_ticks(all: &[Stat], root: i32) -> u64 {
    let parents: HashMap<i32, i32> = all.iter().map(|stat| (stat.pid, stat.ppid)).collect();
    let is_ours = |mut pid: i32| loop {
        match parents.get(&pid) {
            _ if pid == root => return true,
            Some(parent) if *parent > 0 && *parent != pid => pid = *parent,
            _ => return false,
        }
    };
    // What has ended counts with whoever waited for it. Our own time gets there when we have ended, which is later.
    let of = |stat: &Stat| {
        stat.utime + stat.stime + stat.cutime.max(0).cast_unsigned() + stat.cstime.max(0).cast_unsigned()
    };
    let is_kernel = |stat: &Stat| stat.flags & KERNEL_THREAD != 0;
    all.iter().filter(|stat| !is_kernel(stat) && !is_ours(stat.pid)).map(of).sum()
}

/// The flag of the kernel's threads in `/proc/PID/stat`: PF_KTHREAD of the kernel's `sched.h`.
const KERNEL_THREAD: u32 = 0x0020_0000;

#[cfg(test)]
mod tests {
    use super::*;

    /// A process with so many ticks of its own, and of children that ended.
    fn stat(pid: i32, ppid: i32, own: u64, ended: i64) -> Stat {
        let mut stat = procfs::process::Process::myself().unwrap().stat().unwrap();
        (stat.pid, stat.ppid, stat.utime, stat.stime) = (pid, ppid, own, 0);
        (stat.cutime, stat.cstime) = (ended, 0);
        stat
    }

    #[test]
    fn servers_and_nodes_below_us_are_ours_and_everybody_else_is_not() {
        let mut kernel = stat(30, 2, 800, 0);
        kernel.flags = KERNEL_THREAD;
        let all = [
            stat(1, 0, 5, 7),
            stat(10, 1, 1_000, 900),
            stat(11, 10, 3_000, 0),
            stat(12, 11, 4_000, 0),
            stat(20, 1, 60, 10),
            kernel,
        ];
        // Of init and of 20, what ended included; nothing of 10, of those below it, or of the kernel.
        assert_eq!(foreign_ticks(&all, 10), 5 + 7 + 60 + 10);
    }

    #[test]
    fn another_of_this_program_is_told_from_what_it_or_we_started() {
        let named = |pid, ppid, comm: &str| {
            let mut stat = stat(pid, ppid, 0, 0);
            (stat.comm, stat.state) = (comm.to_owned(), 'S');
            stat
        };
        let mut ended = named(50, 1, "lockbench");
        ended.state = 'Z';
        let all = [
            named(1, 0, "init"),
            named(9, 1, "sh"),
            named(10, 9, "lockbench"),
            named(11, 10, "lockbench"),
            named(30, 1, "sh"),
            named(31, 30, "lockbench"),
            named(32, 31, "lockbench"),
            named(40, 1, "redis-server"),
            ended,
        ];
        let pids = |me| twins_of(&all, me).iter().map(|stat| stat.pid).collect::<Vec<_>>();
        assert_eq!(pids(10), [31]);
        assert_eq!(pids(11), [31], "nor is the one that started us");
        assert_eq!(pids(31), [10]);
    }

    #[test]
    fn a_busy_stranger_is_seen() {
        // Whoever is nobody's child here is a stranger to a tree that begins elsewhere.
        let all = processes();
        let me = std::process::id().cast_signed();
        assert!(all.iter().any(|stat| stat.pid == me));
        let strangers = foreign_ticks(&all, i32::MAX);
        assert!(strangers >= foreign_ticks(&all, me));
    }
}
