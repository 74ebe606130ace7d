//! What the driver knows of each node: one seat a node, whoever's process sits there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

use super::frame::ToNode;
use crate::engine::PartRet;
use crate::model::{NodeId, Promises};

/// Where a node is on its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// Its process was started.
    Starting,
    /// Its mechanism is connected; it waits at the barrier.
    Ready,
    /// It runs its arrivals.
    Running,
    /// Its tasks have returned; it still runs what others ask of it.
    Returned,
    /// The clean end.
    Ended(Box<PartRet>),
    /// Its connection closed before that.
    Dead { at_ns: u64, how: String },
}

impl Phase {
    /// Whether the barrier is open for it, and it has not said goodbye.
    pub(super) fn is_at_work(&self) -> bool {
        matches!(self, Self::Running | Self::Returned)
    }
}

/// Asks a connection to the agent to be read dry.
#[derive(Debug)]
pub(super) struct Drain {
    /// What was said on it in all, in bytes, where nobody can look for them on their way.
    pub(super) said: Option<u64>,
    pub(super) dry: oneshot::Sender<()>,
}

/// One node's.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) phase: Phase,
    /// How often it was started before.
    pub(super) incarnation: u32,
    /// Events that its process has told.
    pub(super) heard: usize,
    /// How often it was told to take the users of a node that is down.
    pub(super) errands: u32,
    /// A task of it stands at the step where the next was to.
    pub(super) halted: bool,
    /// A fault killed it and will start it again: the run waits for it.
    pub(super) comes_back: bool,
    /// What its mechanism introduced itself with.
    pub(super) introduction: Option<String>,
    pub(super) detection: String,
    pub(super) promises: Promises,
    /// The stamps of its process are not further off the driver's clock than this.
    pub(super) clock_bound_ns: u64,
    /// Written by the driver, read by the control connection; none when there is none.
    pub(super) control: Option<mpsc::Sender<ToNode>>,
    /// Asks the agent's connection to be read dry; none when there is none.
    pub(super) agent: Option<mpsc::Sender<Drain>>,
}

impl Seat {
    fn new() -> Self {
        Self {
            phase: Phase::Starting,
            incarnation: 0,
            heard: 0,
            errands: 0,
            halted: false,
            comes_back: false,
            introduction: None,
            detection: String::new(),
            promises: Promises::default(),
            clock_bound_ns: 0,
            control: None,
            agent: None,
        }
    }

    /// Whether nothing more is to be expected of its arrivals.
    pub(super) fn has_returned(&self) -> bool {
        match self.phase {
            Phase::Starting | Phase::Ready | Phase::Running => false,
            Phase::Returned | Phase::Ended(_) => true,
            Phase::Dead { .. } => !self.comes_back,
        }
    }

    /// Whether nothing that its process has said is still on its way.
    pub(super) fn is_deserted(&self) -> bool {
        self.control.is_none() && self.agent.is_none()
    }

    /// For the next process.
    pub(super) fn vacate(&mut self) {
        self.phase = Phase::Starting;
        self.incarnation += 1;
        self.heard = 0;
        self.errands = 0;
        self.halted = false;
        self.comes_back = false;
    }
}

/// All nodes'. Who waits for a change hears of every one.
#[derive(Debug)]
pub(super) struct Seats {
    seats: Mutex<Vec<Seat>>,
    changed: watch::Sender<()>,
}

impl Seats {
    pub(super) fn new(nodes: u16) -> Self {
        Self { seats: Mutex::new((0..nodes).map(|_| Seat::new()).collect()), changed: watch::Sender::new(()) }
    }

    /// Changes one seat, if there is such a node.
    pub(super) fn change<T>(&self, node: NodeId, change: impl FnOnce(&mut Seat) -> T) -> Option<T> {
        let changed = self.lock().get_mut(usize::from(node.0)).map(change);
        self.changed.send_replace(());
        changed
    }

    /// Looks at all of them.
    pub(super) fn look<T>(&self, look: impl FnOnce(&[Seat]) -> T) -> T {
        look(&self.lock())
    }

    /// Waits until the condition holds of all. Cancel safe.
    pub(super) async fn all(&self, condition: impl Fn(&Seat) -> bool) {
        self.until(|seats| seats.iter().all(&condition).then_some(())).await;
    }

    /// Waits until there is an answer. Cancel safe.
    pub(super) async fn until<T>(&self, answer: impl Fn(&[Seat]) -> Option<T>) -> T {
        let mut changes = self.changed.subscribe();
        loop {
            changes.mark_unchanged();
            if let Some(answer) = self.look(&answer) {
                return answer;
            }
            changes.changed().await.expect("the sender lives as long as this");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
