//! Which processors a party of a run may use, so that nobody takes them from another.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// A set of processors, by the numbers that the kernel gives them.
///
/// ```
/// use harness::processors::Processors;
///
/// let processors: Processors = [0, 1, 2, 7].into_iter().collect();
/// assert_eq!(processors.to_string(), "0-2,7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Processors(BTreeSet<usize>);

impl Processors {
    /// Those that this thread may use: as a rule, what the process was given.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn allowed() -> io::Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        Ok((0..CpuSet::count()).filter(|place| allowed.is_set(*place).unwrap_or(false)).collect())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether none of them is one of the others.
    #[must_use]
    pub fn is_disjoint(&self, others: &Self) -> bool {
        self.0.is_disjoint(&others.0)
    }

    /// Keeps all threads of this process on them, and those that are started later.
    ///
    /// # Errors
    /// What the kernel says, as of a processor that is not there.
    pub fn keep_process(&self) -> io::Result<()> {
        for thread in std::fs::read_dir("/proc/self/task")? {
            let thread = thread?.file_name().to_string_lossy().parse().map_err(io::Error::other)?;
            match self.keep(Pid::from_raw(thread)) {
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => {}
                kept => kept?,
            }
        }
        Ok(())
    }

    /// Keeps this thread on them, and with it what it starts.
    pub(crate) fn keep_thread(&self) -> io::Result<()> {
        self.keep(Pid::from_raw(0))
    }

    fn keep(&self, thread: Pid) -> io::Result<()> {
        let mut set = CpuSet::new();
        for place in &self.0 {
            set.set(*place)?;
        }
        Ok(sched_setaffinity(thread, &set)?)
    }

    /// Deals them to so many parties, each its own, in runs that lie side by side: whole cores where there are as many as
    /// parties, so that nobody shares one with another, and cores of one socket together.
    ///
    /// # Errors
    /// When there are fewer processors than parties.
    pub fn deal(&self, parties: usize) -> Result<Vec<Self>, TooFewProcessors> {
        deal(&self.0.iter().map(|place| Seat::of(*place)).collect::<Vec<_>>(), parties)
    }
}

impl FromIterator<usize> for Processors {
    fn from_iter<I: IntoIterator<Item = usize>>(places: I) -> Self {
        Self(places.into_iter().collect())
    }
}

/// As the kernel writes such a list: `0-2,7`.
impl fmt::Display for Processors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<usize> = self.0.iter().copied().collect();
        let runs = places.chunk_by(|place, next| place + 1 == *next);
        let run = |run: &[usize]| match run {
            [one] => one.to_string(),
            run => format!("{}-{}", run[0], run[run.len() - 1]),
        };
        f.write_str(&runs.map(run).collect::<Vec<_>>().join(","))
    }
}

/// Not everybody can have one of his own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{needed} processors are needed, one for each, and {here} may be used here")]
pub struct TooFewProcessors {
    /// One for each party.
    pub needed: usize,
    /// Those that may be used.
    pub here: usize,
}

/// Where a processor is in the machine. The order is that in which they are dealt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Seat {
    socket: usize,
    core: usize,
    place: usize,
}

impl Seat {
    /// What the kernel tells; where it tells nothing, each is a core of its own.
    fn of(place: usize) -> Self {
        let folder = format!("/sys/devices/system/cpu/cpu{place}/topology");
        let told = |name: &str| {
            let text = std::fs::read_to_string(Path::new(&folder).join(name)).ok()?;
            text.trim().parse().ok()
        };
        match (told("physical_package_id"), told("core_id")) {
            (Some(socket), Some(core)) => Self { socket, core, place },
            _ => Self { socket: 0, core: place, place },
        }
    }
}

fn deal(seats: &[Seat], parties: usize) -> Result<Vec<Processors>, TooFewProcessors> {
    if seats.len() < parties {
        return Err(TooFewProcessors { needed: parties, here: seats.len() });
    }
    let mut seats = seats.to_vec();
    seats.sort_unstable();
    let cores: Vec<&[Seat]> =
        seats.chunk_by(|one, next| (one.socket, one.core) == (next.socket, next.core)).collect();
    let units = if cores.len() >= parties { cores } else { seats.chunks(1).collect() };
    let of = |party: usize| party * units.len() / parties..(party + 1) * units.len() / parties;
    let dealt = |party| units[of(party)].concat().iter().map(|seat| seat.place).collect();
    Ok((0..parties).map(dealt).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with two sockets above 32 processors, and two threads a core, whose second ones come after all first ones.
    fn machine(processors: usize) -> Vec<Seat> {
        let cores = processors / 2;
        let of = |place: usize| {
            let core = place % cores;
            Seat { socket: usize::from(processors > 32 && core >= cores / 2), core, place }
        };
        (0..processors).map(of).collect()
    }

    fn told(processors: usize, parties: usize) -> Vec<String> {
        let dealt = deal(&machine(processors), parties).unwrap();
        dealt.iter().map(Processors::to_string).collect()
    }

    #[test]
    fn everybody_has_his_own_and_all_are_dealt() {
        for processors in [2, 4, 8, 64] {
            for parties in 1..=processors {
                let dealt = deal(&machine(processors), parties).unwrap();
                assert_eq!(dealt.len(), parties);
                assert!(dealt.iter().all(|set| set.count() > 0), "{processors}/{parties}: {dealt:?}");
                let all: BTreeSet<usize> = dealt.iter().flat_map(|set| set.0.iter().copied()).collect();
                let count: usize = dealt.iter().map(Processors::count).sum();
                assert_eq!((all.len(), count), (processors, processors), "{processors}/{parties}: {dealt:?}");
            }
        }
    }

    #[test]
    fn threads_of_a_core_stay_together_where_there_are_enough_cores() {
        assert_eq!(told(2, 2), ["0", "1"], "one core of two threads");
        assert_eq!(told(4, 2), ["0,2", "1,3"]);
        assert_eq!(told(8, 2), ["0-1,4-5", "2-3,6-7"]);
        assert_eq!(told(8, 4), ["0,4", "1,5", "2,6", "3,7"]);
        assert_eq!(told(64, 2), ["0-15,32-47", "16-31,48-63"], "a socket each");
        assert_eq!(told(64, 7)[0], "0-3,32-35");
    }

    #[test]
    fn too_few_are_refused_with_how_many_are_needed() {
        let error = deal(&machine(2), 3).unwrap_err();
        assert_eq!(error, TooFewProcessors { needed: 3, here: 2 });
        assert_eq!(error.to_string(), "3 processors are needed, one for each, and 2 may be used here");
    }

    #[test]
    fn a_list_is_written_as_the_kernel_writes_it() {
        let list = |places: &[usize]| places.iter().copied().collect::<Processors>().to_string();
        assert_eq!(list(&[]), "");
        assert_eq!(list(&[3]), "3");
        assert_eq!(list(&[0, 1, 3, 8, 7]), "0-1,3,7-8");
    }

    #[test]
    fn what_this_thread_may_use_is_what_the_kernel_says_of_it() {
        let status = procfs::process::Process::myself().unwrap().status().unwrap();
        let list = status.cpus_allowed_list.unwrap();
        let said: Processors = list.iter().flat_map(|(from, to)| *from as usize..=*to as usize).collect();
        assert_eq!(Processors::allowed().unwrap(), said);
    }
}
