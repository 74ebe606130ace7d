//! Which nodes still have to say that they are drained of what a view took from them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::membership::Membership;
use crate::poison::lock;
use crate::ring::{Member, NodeId, Ring};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, MutexGuard};

/// Views that brought keys to this node whose old owners have not said that they are drained.
pub(in crate::router) struct Handovers {
    /// Epoch of the last view that was looked at.
    seen_epoch: AtomicU64,
    open: AtomicUsize,
    state: Mutex<State>,
    /// How many tasks hold a slot of a key and wait for its old owners: they do not run yet.
    gated: Mutex<HashMap<String, u32>>,
}

/// A task that is counted as gated.
pub(super) struct Gated<'a> {
    gated: &'a Mutex<HashMap<String, u32>>,
    key: &'a str,
}

impl Drop for Gated<'_> {
    fn drop(&mut self) {
        let mut gated = lock(self.gated);
        if let Some(count) = gated.get_mut(self.key) {
            *count -= 1;
            if *count == 0 {
                gated.remove(self.key);
            }
        }
    }
}

struct State {
    seen: Arc<Ring>,
    open: Vec<Handover>,
}

struct Handover {
    /// Of the view that brought the keys.
    epoch: u64,
    /// The view before it; `None` if that is not known, and any other node may have had any key.
    before: Option<Arc<Ring>>,
    /// Nodes that have not said that all is drained.
    from: Vec<Member>,
    /// Keys of theirs that were taken since they were silent for too long.
    passed: HashMap<NodeId, HashSet<String>>,
}

impl Handovers {
    pub(in crate::router) fn new() -> Self {
        let state = State { seen: Arc::new(Ring::empty()), open: Vec::new() };
        let gated = Mutex::default();
        Self { seen_epoch: AtomicU64::new(0), open: AtomicUsize::new(0), state: Mutex::new(state), gated }
    }

    pub(super) fn gate<'a>(&'a self, key: &'a str) -> Gated<'a> {
        *lock(&self.gated).entry(key.to_owned()).or_default() += 1;
        Gated { gated: &self.gated, key }
    }

    pub(super) fn gated(&self, key: &str) -> u32 {
        lock(&self.gated).get(key).copied().unwrap_or(0)
    }

    /// Takes note of all views up to the present one; `me` is who goes by them.
    pub(super) fn observe(&self, membership: &Membership, me: NodeId) {
        let seen = self.seen_epoch.load(Ordering::Acquire);
        if seen < membership.view().epoch() {
            for view in membership.views_after(seen) {
                self.observe_one(&view, me);
            }
        }
    }

    fn observe_one(&self, view: &Arc<Ring>, me: NodeId) {
        let mut state = self.lock();
        let before = Arc::clone(&state.seen);
        if before.epoch() >= view.epoch() {
            return;
        }
        let next = before.epoch() + 1 == view.epoch();
        // Before the first view of all nobody owned anything.
        if view.epoch() > 1 {
            let mut from: Vec<Member> = before.members().to_vec();
            if !next {
                let known = |id| before.member(id).is_some();
                from.extend(view.members().iter().filter(|member| !known(member.id)).cloned());
            }
            from.retain(|member| member.id != me);
            if !from.is_empty() {
                let (epoch, before) = (view.epoch(), next.then_some(before));
                state.open.push(Handover { epoch, before, from, passed: HashMap::new() });
            }
        }
        state.seen = Arc::clone(view);
        self.open.store(state.open.len(), Ordering::Release);
        self.seen_epoch.store(view.epoch(), Ordering::Release);
    }

    /// Whom to ask about `key`, and about which epoch, before a task of it may start under a view before `epoch`.
    pub(super) fn to_ask(&self, key: &str, me: NodeId, epoch: u64) -> Vec<(Member, u64)> {
        if !self.any_open() {
            return Vec::new();
        }
        let state = self.lock();
        let open = state.open.iter().filter(|handover| handover.epoch < epoch);
        let asked = open.flat_map(|Handover { epoch, before, from, passed }| {
            let owner = before.as_ref().map(|before| before.owner(key));
            let is_passed = |id| passed.get(&id).is_some_and(|keys| keys.contains(key));
            from.iter()
                .filter(move |member| member.id != me && owner.is_none_or(|owner| owner == Some(member.id)))
                .filter(move |member| !is_passed(member.id))
                .map(|member| (member.clone(), *epoch))
        });
        asked.collect()
    }

    /// Everybody who may not be done with what a view took from him, and which.
    pub(super) fn open(&self) -> Vec<(Member, u64)> {
        let state = self.lock();
        let asked = |handover: &Handover| {
            let epoch = handover.epoch;
            handover.from.iter().map(move |member| (member.clone(), epoch)).collect::<Vec<_>>()
        };
        state.open.iter().flat_map(asked).collect()
    }

    pub(super) fn any_open(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// Epoch of the last view that was looked at.
    #[cfg(test)]
    pub(super) fn seen(&self) -> u64 {
        self.seen_epoch.load(Ordering::Acquire)
    }

    pub(super) fn is_open_before(&self, epoch: u64) -> bool {
        self.any_open() && self.lock().open.iter().any(|handover| handover.epoch < epoch)
    }

    /// `node` has nothing left of what views up to `epoch` took from it, or is gone.
    pub(super) fn cleared(&self, node: NodeId, epoch: u64) {
        let mut state = self.lock();
        for handover in state.open.iter_mut().filter(|handover| handover.epoch <= epoch) {
            handover.from.retain(|member| member.id != node);
        }
        state.open.retain(|handover| !handover.from.is_empty());
        self.open.store(state.open.len(), Ordering::Release);
    }

    /// `key` is no longer waited for at `node`, which is silent.
    pub(super) fn passed(&self, node: NodeId, epoch: u64, key: &str) {
        let mut state = self.lock();
        for handover in state.open.iter_mut().filter(|handover| handover.epoch <= epoch) {
            handover.passed.entry(node).or_default().insert(key.to_owned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}
