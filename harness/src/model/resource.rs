//! What steps change, and how many may be inside at once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Kinds of resource, in the one global order in which nested steps take them, so that they cannot deadlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceKind {
    /// A volume.
    Volume,
    /// A volume's tree of snapshots.
    SnapshotTree,
    /// A virtual machine.
    Vm,
    /// An L3 network.
    L3,
    /// A virtual router.
    Router,
    /// An image in the cache of a host.
    Image,
    /// A hypervisor.
    Host,
    /// A bank account.
    Account,
    /// A scheduled job, of one tick.
    Job,
    /// The private key of a node's bystander; never in a task.
    Bystander,
}

impl ResourceKind {
    /// The name as it appears in keys.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::SnapshotTree => "snapshot-tree",
            Self::Vm => "vm",
            Self::L3 => "l3",
            Self::Router => "router",
            Self::Image => "image",
            Self::Host => "host",
            Self::Account => "account",
            Self::Job => "job",
            Self::Bystander => "bystander",
        }
    }
}

/// Something that steps change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// Its kind.
    pub kind: ResourceKind,
    /// Its number within the kind.
    pub id: u32,
    /// How many steps may be inside at once; 0 = unlimited.
    pub level: u32,
}

impl Resource {
    /// The key of locks and queues.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}-{}", self.kind.name(), self.id)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind.name(), self.id)
    }
}

/// How a step is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It takes a slot for itself.
    #[default]
    Exclusive,
    /// It reads: steps of this mode do not exclude each other, and together take one slot.
    Shared,
}

/// How many steps are inside a resource.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Crowd {
    exclusive: u32,
    shared: u32,
}

impl Crowd {
    pub(crate) fn of(&mut self, mode: Mode) -> &mut u32 {
        match mode {
            Mode::Exclusive => &mut self.exclusive,
            Mode::Shared => &mut self.shared,
        }
    }

    /// How many slots they take: shared ones one together.
    pub(crate) fn slots(self) -> u32 {
        self.exclusive + u32::from(self.shared > 0)
    }

    /// How many there are.
    pub(crate) fn count(self) -> u32 {
        self.exclusive + self.shared
    }
}

impl std::ops::Add for Crowd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { exclusive: self.exclusive + other.exclusive, shared: self.shared + other.shared }
    }
}
