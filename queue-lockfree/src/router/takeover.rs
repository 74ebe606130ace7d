//! What happens to a key when the ring changes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::SubmitError;
use super::owner::Owner;
use crate::frame::Refusal;
use crate::membership::Membership;
use crate::now::reached;
use crate::ring::{Member, NodeId, Ring};

/// How long an old owner is left alone after it said that a key is busy: the first time, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// How long old owners are left alone by who asks after all keys at once: the first time, and at most.
const SETTLING: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// What a node does with keys that a new view takes from it or brings to it. All nodes of a ring use the same.
///
/// Without changes of the ring the three do the same work, but for one comparison of numbers per task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Takeover {
    /// As the original: nothing. What waits or runs at the old owner goes on there while the new owner starts tasks of
    /// the same key, so the level can be exceeded.
    #[default]
    Faithful,
    /// The new owner starts a key when the old one says that no task of it runs there any more; what waited there is
    /// redirected. Safe while the old owner answers. One that is silent for a grace period, or cannot be
    /// reached, is taken for dead, and then this is as [`Takeover::Fenced`]; so it is for a key that a node had in a view
    /// which the new owner never saw.
    Drain,
    /// The new owner starts at once, under a token of a higher generation, for whoever guards the resource to refuse the
    /// old one's; started tasks of the old owner are told by [`Lost`](crate::Lost), what waited there is redirected.
    Fenced,
}

/// Where a key is drained, as an old owner says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// A task of the key runs, or the old owner does not know of the change yet.
    Busy,
    /// No task of the key runs or will.
    Key,
    /// That is so for all keys that it has lost.
    All,
}

/// Views that brought keys to this node whose old owners have not said that they are drained.
pub(super) struct Handovers {
    /// Epoch of the last view that was looked at.
    seen_epoch: AtomicU64,
    open: AtomicUsize,
    state: Mutex<State>,
    /// How many tasks hold a slot of a key and wait for its old owners: they do not run yet.
    gated: Mutex<HashMap<String, u32>>,
}

/// A task that is counted as gated.
struct Gated<'a> {
    gated: &'a Mutex<HashMap<String, u32>>,
    key: &'a str,
}

impl Drop for Gated<'_> {
    fn drop(&mut self) {
        let mut gated = self.gated.lock().unwrap_or_else(PoisonError::into_inner);
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
}

impl Handovers {
    pub(super) fn new() -> Self {
        let state = State { seen: Arc::new(Ring::empty()), open: Vec::new() };
        let gated = Mutex::default();
        Self { seen_epoch: AtomicU64::new(0), open: AtomicUsize::new(0), state: Mutex::new(state), gated }
    }

    fn gate<'a>(&'a self, key: &'a str) -> Gated<'a> {
        *self.gated.lock().unwrap_or_else(PoisonError::into_inner).entry(key.to_owned()).or_default() += 1;
        Gated { gated: &self.gated, key }
    }

    fn gated(&self, key: &str) -> u32 {
        self.gated.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied().unwrap_or(0)
    }

    /// Takes note of all views up to the present one; `me` is who goes by them.
    fn observe(&self, membership: &Membership, me: NodeId) {
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
                state.open.push(Handover { epoch: view.epoch(), before: next.then_some(before), from });
            }
        }
        state.seen = Arc::clone(view);
        self.open.store(state.open.len(), Ordering::Release);
        self.seen_epoch.store(view.epoch(), Ordering::Release);
    }

    /// Whom to ask about `key`, and about which epoch, before a task of it may start under a view before `epoch`.
    fn to_ask(&self, key: &str, me: NodeId, epoch: u64) -> Vec<(Member, u64)> {
        if self.open.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let state = self.lock();
        let open = state.open.iter().filter(|handover| handover.epoch < epoch);
        let asked = open.flat_map(|Handover { epoch, before, from }| {
            let owner = before.as_ref().map(|before| before.owner(key));
            from.iter()
                .filter(move |member| member.id != me && owner.is_none_or(|owner| owner == Some(member.id)))
                .map(|member| (member.clone(), *epoch))
        });
        asked.collect()
    }

    /// Everybody who may not be done with what a view took from him, and which.
    fn open(&self) -> Vec<(Member, u64)> {
        let state = self.lock();
        let asked = |handover: &Handover| {
            let epoch = handover.epoch;
            handover.from.iter().map(move |member| (member.clone(), epoch)).collect::<Vec<_>>()
        };
        state.open.iter().flat_map(asked).collect()
    }

    fn is_open_before(&self, epoch: u64) -> bool {
        self.open.load(Ordering::Acquire) > 0
            && self.lock().open.iter().any(|handover| handover.epoch < epoch)
    }

    /// `node` has nothing left of what views up to `epoch` took from it, or is gone.
    fn cleared(&self, node: NodeId, epoch: u64) {
        let mut state = self.lock();
        for handover in state.open.iter_mut().filter(|handover| handover.epoch <= epoch) {
            handover.from.retain(|member| member.id != node);
        }
        state.open.retain(|handover| !handover.from.is_empty());
        self.open.store(state.open.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner {
    /// Whether a task that has a slot may start: this node owns its key, and under [`Takeover::Drain`] nobody else has a
    /// task of it running. Returns the generation of the key.
    ///
    /// The slot is taken before the view is looked at, and an old owner looks at its view before it looks at its slots:
    /// so either this node sees the view that takes the key from it, or the new owner is told that it is busy.
    pub(super) async fn may_start(&self, key: &str, deadline_ns: u64) -> Result<u64, Refusal> {
        let mut changes = self.membership.subscribe();
        loop {
            changes.mark_unchanged();
            let view = self.membership.view_owned();
            let owner = view.owner(key);
            if owner != Some(self.id) {
                return Err(Refusal::WrongOwner { owner, epoch: view.epoch() });
            }
            let generation = view.generation(key);
            if self.takeover != Takeover::Drain {
                return Ok(generation);
            }
            self.handovers.observe(&self.membership, self.id);
            if self.handovers.to_ask(key, self.id, u64::MAX).is_empty() {
                return Ok(generation);
            }
            // Not counted as gated any more when the view is looked at again: see above.
            let gated = self.handovers.gate(key);
            tokio::select! {
                biased;
                () = self.clear(key) => {}
                // The key may be gone again; then it is this node that has to be drained of it.
                _ = changes.changed() => continue,
                () = reached(&**self.queues.now(), deadline_ns) => return Err(Refusal::TimedOut),
            }
            drop(gated);
            if self.membership.view().epoch() == view.epoch() {
                return Ok(generation);
            }
        }
    }

    /// Waits until this node's view is as new as that of who sent it a task: it may hear late that it owns the key. The
    /// original would not, so [`Takeover::Faithful`] does not either.
    pub(super) async fn catch_up(&self, epoch: u64, deadline_ns: u64) {
        if !self.is_behind(epoch) {
            return;
        }
        let mut changes = self.membership.subscribe();
        let caught_up = async { drop(changes.wait_for(|&now| now >= epoch).await) };
        tokio::select! {
            biased;
            () = caught_up => {}
            () = reached(&**self.queues.now(), deadline_ns) => {}
        }
    }

    /// Whether [`Owner::catch_up`] would wait.
    pub(super) fn is_behind(&self, epoch: u64) -> bool {
        self.takeover != Takeover::Faithful && self.membership.view().epoch() < epoch
    }

    /// Waits until the old owners of `key` have said that it is drained, or have gone.
    async fn clear(&self, key: &str) {
        for (member, epoch) in self.handovers.to_ask(key, self.id, u64::MAX) {
            let mut pause = PAUSES.0;
            while self.ask_drained(&member, epoch, key, self.ways.grace()).await == Drained::Busy {
                sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }

    async fn ask_drained(&self, member: &Member, epoch: u64, key: &str, patience: Duration) -> Drained {
        let drained = match timeout(patience, self.ways.is_drained(member, epoch, key)).await {
            Ok(Ok(drained)) => drained,
            // This node has no room for the question, or stops.
            Ok(Err(SubmitError::QueueFull | SubmitError::Shutdown)) => Drained::Busy,
            gone => {
                tracing::warn!(node = %self.id, old = %member.id, ?gone, "an old owner is taken for dead");
                Drained::All
            }
        };
        if drained == Drained::All {
            self.handovers.cleared(member.id, epoch);
        }
        drained
    }

    /// The old owner's side: has this node nothing running of `key`, which the view of `epoch` brought to another?
    pub(super) async fn drained(&self, epoch: u64, key: &str) -> Drained {
        let view = self.membership.view_owned();
        self.handovers.observe(&self.membership, self.id);
        // In this order a task that takes its slot between the two counts as running. One that is let through between them
        // finds a view that is as new as this one.
        let running = |key| {
            let gated = self.handovers.gated(key);
            self.queues.running(key) > gated
        };
        if view.epoch() < epoch || running(key) {
            return Drained::Busy;
        }
        // Who had the key before may not be done with it; epochs fall, so nobody asks in a circle.
        for (member, epoch) in self.handovers.to_ask(key, self.id, epoch) {
            // Half, so that who asks this node does not take it for dead meanwhile.
            let patience = self.ways.grace() / 2;
            if Box::pin(self.ask_drained(&member, epoch, key, patience)).await == Drained::Busy {
                return Drained::Busy;
            }
        }
        let foreign = |key: &str| view.owner(key) != Some(self.id);
        if self.handovers.is_open_before(epoch) || self.queues.running_keys(foreign) > 0 {
            return Drained::Key;
        }
        Drained::All
    }

    /// Follows the views of the ring: sends those who wait for keys that have moved after them.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut changes = self.membership.subscribe();
        loop {
            let view = self.membership.view_owned();
            self.handovers.observe(&self.membership, self.id);
            if view.epoch() > 0 {
                let gone = |key: &str| view.owner(key) != Some(self.id);
                self.queues.refuse_keys(gone);
                // A planned change waits for what runs; one that evicts this node does not.
                if self.takeover == Takeover::Fenced || self.membership.is_evicted() {
                    self.queues.lose_keys(gone);
                }
            }
            let settling = async {
                if self.takeover == Takeover::Drain {
                    self.settle().await;
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                () = settling => {}
            }
        }
    }

    /// Asks the old owners until each has said that it is drained of all that it lost. Otherwise only a task that is about to
    /// start would ask, after its own key, and every later task of a key that has moved would have to ask again.
    async fn settle(&self) {
        let mut pause = SETTLING.0;
        loop {
            // In the order of the views: nobody is drained of all before those are who had the keys earlier.
            for (member, epoch) in self.handovers.open() {
                let asking = self.ways.is_drained(&member, epoch, "");
                // Who does not answer is taken for dead only by who needs a key of his.
                if let Ok(Ok(Drained::All)) = timeout(self.ways.grace(), asking).await {
                    self.handovers.cleared(member.id, epoch);
                }
            }
            if self.handovers.open.load(Ordering::Acquire) == 0 {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(SETTLING.1);
        }
    }
}

#[cfg(test)]
mod tests;
