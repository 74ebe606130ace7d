//! How a private server is to be started.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::error::UnknownWord;
use super::tls::Tls;
use crate::processors::Processors;

/// What an acknowledged write of a private server survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Durability {
    /// On disk and flushed before it is acknowledged: Redis appends with `fsync` always, PostgreSQL commits
    /// synchronously, etcd and ZooKeeper as they come.
    #[default]
    Durable,
    /// Not flushed, and in memory where a tmpfs has room: compares protocols, not disks.
    Memory,
}

impl Durability {
    /// Both, the default first.
    pub const ALL: &[Self] = &[Self::Durable, Self::Memory];

    /// The word of command lines, scenario files and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Durable => "durable",
            Self::Memory => "memory",
        }
    }
}

impl FromStr for Durability {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        named(Self::ALL, Self::name, word)
    }
}

/// Of how many members a private server is, and what they are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Topology {
    /// One, which is all there is.
    #[default]
    Single,
    /// Three, of which one leads and any may fail.
    Replicated,
    /// Five that know nothing of each other: a lock is whose most of them say.
    Independent,
    /// A primary and its copy, which is told of writes after they were acknowledged and takes the primary's place when that is lost.
    /// Clients know one address.
    Copied,
}

impl Topology {
    /// All, the default first.
    pub const ALL: &[Self] = &[Self::Single, Self::Replicated, Self::Independent, Self::Copied];

    /// The word of command lines and scenario files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Replicated => "replicated",
            Self::Independent => "independent",
            Self::Copied => "copied",
        }
    }

    /// How many.
    #[must_use]
    pub fn members(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Replicated => 3,
            Self::Independent => 5,
            Self::Copied => 2,
        }
    }
}

impl FromStr for Topology {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        named(Self::ALL, Self::name, word)
    }
}

fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, word: &str) -> Result<T, UnknownWord> {
    let known = || all.iter().map(|one| format!("`{}`", name(*one))).collect::<Vec<_>>().join(" or ");
    let unknown = || UnknownWord { word: word.to_owned(), known: known() };
    all.iter().copied().find(|one| name(*one) == word).ok_or_else(unknown)
}

/// How a private server is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerOptions {
    /// What an acknowledged write survives.
    pub durability: Durability,
    /// Of how many members it is.
    pub topology: Topology,
    /// The lease or session timeout that the run wants. ZooKeeper's tick is a tenth of it, so that sessions from
    /// a fifth of it to twice as long are granted as asked.
    pub detect: Duration,
    /// Where the data folder is made; by default below a temporary folder that fits the durability.
    pub data_root: Option<PathBuf>,
    /// Those of each member, in their order; a member that has none here may use all.
    pub processors: Vec<Processors>,
    /// What it speaks TLS with; nothing: it speaks none.
    pub tls: Option<Tls>,
    /// Whether it has a clock of its own, which can be set.
    pub clock: ClockOf,
    /// Its main program, for ZooKeeper its jar, instead of the one that this machine has; the other programs that it takes are
    /// looked for beside it.
    pub program: Option<PathBuf>,
}

/// By which clock a private server tells the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockOf {
    /// The machine's.
    #[default]
    Machine,
    /// One of its own, which goes as the machine's does until it is set.
    Itself,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            topology: Topology::default(),
            detect: Duration::from_secs(2),
            data_root: None,
            processors: Vec::new(),
            tls: None,
            clock: ClockOf::default(),
            program: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_as_it_is_written_and_another_is_refused_with_those_there_are() {
        for durability in Durability::ALL {
            assert_eq!(durability.name().parse(), Ok(*durability));
        }
        for topology in Topology::ALL {
            assert_eq!(topology.name().parse(), Ok(*topology));
        }
        let refused = "disk".parse::<Durability>().unwrap_err().to_string();
        assert_eq!(refused, "`disk` is not known: `durable` or `memory` is expected");
    }
}
