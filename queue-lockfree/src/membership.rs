//! Membership: which view of the ring a node goes by, and who is told when it changes.

#[cfg(feature = "postgres")]
pub mod postgres;

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::watch;

use crate::ring::Ring;

/// Views that are kept, for who looks at each change and falls behind by a few.
const HISTORY: usize = 8;

/// A node's current [`Ring`]: read without waiting, replaced as a whole.
///
/// By itself this is the `static` membership: whoever starts the nodes installs one view and it stays. A membership that
/// watches the nodes, as the module `postgres` does, calls [`Membership::install`] for each new view in the same
/// way. Clones share one view; give each node its own `Membership` where views may differ.
///
/// Invariant: epochs only rise.
#[derive(Clone)]
pub struct Membership {
    shared: Arc<Shared>,
}

struct Shared {
    view: ArcSwap<Ring>,
    /// The last views, oldest first. Held while a view is made to follow the present one; readers do not need it.
    history: Mutex<VecDeque<Arc<Ring>>>,
    /// Epoch of the current view, sent after the view was swapped.
    epoch: watch::Sender<u64>,
    /// Written before the view that it belongs to is swapped in, by who watches the nodes.
    evicted: AtomicBool,
}

impl Membership {
    /// A membership that has no view yet (epoch 0): submits wait for one until their deadline.
    pub fn new() -> Self {
        let shared = Shared {
            view: ArcSwap::from_pointee(Ring::empty()),
            history: Mutex::default(),
            epoch: watch::Sender::new(0),
            evicted: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Replaces the view and tells all subscribers. Returns false, and changes nothing, if the current view's epoch
    /// is the same or higher.
    pub fn install(&self, ring: Ring) -> bool {
        let mut history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.shared.view.load();
        if ring.epoch() <= before.epoch() {
            return false;
        }
        let epoch = ring.epoch();
        let ring = Arc::new(ring.following(&before));
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(Arc::clone(&ring));
        self.shared.view.store(ring);
        self.shared.epoch.send_replace(epoch);
        true
    }

    /// Whether the node was taken for dead and put out of the ring, by a membership that watches the nodes: others may have
    /// started its keys without asking it. A node that leaves by plan is not evicted.
    pub fn is_evicted(&self) -> bool {
        self.shared.evicted.load(Ordering::Acquire)
    }

    /// Called before the view in which that is so is installed.
    #[cfg(feature = "postgres")]
    pub(crate) fn set_evicted(&self, evicted: bool) {
        self.shared.evicted.store(evicted, Ordering::Release);
    }

    /// The current view, for a short look.
    pub fn view(&self) -> Guard<Arc<Ring>> {
        self.shared.view.load()
    }

    /// The current view, to keep.
    pub(crate) fn view_owned(&self) -> Arc<Ring> {
        self.shared.view.load_full()
    }

    /// The views after that of `epoch`, oldest first; of those long gone, none.
    pub(crate) fn views_after(&self, epoch: u64) -> Vec<Arc<Ring>> {
        let history = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.iter().filter(|view| view.epoch() > epoch).cloned().collect()
    }

    /// Hears of every change from now on; the value is the epoch, and [`Membership::view`] is at least as new.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.shared.epoch.subscribe()
    }
}

impl Default for Membership {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Membership").field(&self.view()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{HashKind, Member, NodeId};

    fn ring(epoch: u64) -> Ring {
        let address = ([127, 0, 0, 1], 7000).into();
        Ring::new(epoch, HashKind::Mixed, [Member { id: NodeId(0), name: "only".into(), address }])
    }

    #[test]
    fn subscribers_hear_of_a_view_that_is_already_in_place() {
        let membership = Membership::new();
        let mut changes = membership.subscribe();
        assert_eq!(membership.view().owner("vm-1"), None);
        assert!(membership.install(ring(1)));
        assert!(changes.has_changed().unwrap());
        assert_eq!(*changes.borrow_and_update(), 1);
        assert_eq!(membership.view().owner("vm-1"), Some(NodeId(0)));
        assert_eq!(membership.view().generation("vm-1"), 1);
    }

    #[test]
    fn an_older_view_is_ignored() {
        let membership = Membership::new();
        assert!(membership.install(ring(2)));
        let changes = membership.subscribe();
        assert!(!membership.install(ring(1)));
        assert!(!membership.install(ring(2)));
        assert_eq!(membership.view().epoch(), 2);
        assert!(!changes.has_changed().unwrap());
    }
}
