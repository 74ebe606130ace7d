//! Whether a node may start a task of a key, and how it hands keys over when the ring changes.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::handovers::Handovers;
use super::policy::Takeover;
use crate::membership::Membership;
use crate::now::reached;
use crate::queue::WorkQueues;
use crate::ring::{Member, NodeId, Ring};
use crate::router::directory::Drained;
use crate::router::task::SubmitError;
use crate::router::ways::Ways;
use crate::router::wire::Refusal;

/// How long an old owner is left alone after it said that a key is busy: the first time, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));

/// How long after a connection broke the same question is asked again.
const AGAIN: Duration = Duration::from_millis(20);

/// How long old owners are left alone by who asks after all keys at once: the first time, and at most.
const SETTLING: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// The keys that a node owns by its view, and whether it may start their tasks.
pub(in crate::router) struct Ownership {
    id: NodeId,
    pub(in crate::router) membership: Membership,
    pub(in crate::router) takeover: Takeover,
    handovers: Handovers,
    pub(in crate::router) ways: Ways,
    pub(in crate::router) queues: WorkQueues,
}

/// What a look at the view and at the old owners came to.
enum Look {
    /// The task starts, with the generation of its key, or is refused.
    Clear(Result<u64, Refusal>),
    /// Old owners have to be asked.
    ToAsk,
}

impl Ownership {
    pub(in crate::router) fn new(
        id: NodeId,
        membership: Membership,
        takeover: Takeover,
        ways: Ways,
        queues: WorkQueues,
    ) -> Self {
        Self { id, membership, takeover, handovers: Handovers::new(), ways, queues }
    }

    /// Whether all old owners have said that they are drained of what the views up to that of `epoch` took from them.
    #[cfg(test)]
    pub(in crate::router) fn is_settled(&self, epoch: u64) -> bool {
        self.handovers.seen() >= epoch && !self.handovers.any_open()
    }

    /// Whether a task that has a slot may start: this node owns its key, and under [`Takeover::Drain`] nobody else has a
    /// task of it running. Returns the generation of the key.
    ///
    /// The slot is taken before the view is looked at, and an old owner looks at its view before it looks at its slots:
    /// so either this node sees the view that takes the key from it, or the new owner is told that it is busy.
    pub(in crate::router) async fn may_start(&self, key: &str, deadline_ns: u64) -> Result<u64, Refusal> {
        let look = self.look(key, &self.membership.view());
        match look {
            Look::Clear(outcome) => outcome,
            // Large, and rare.
            Look::ToAsk => Box::pin(self.cleared(key, deadline_ns)).await,
        }
    }

    /// Whether anybody has to be asked before a task of the key starts.
    fn look(&self, key: &str, view: &Ring) -> Look {
        let owner = view.owner(key);
        if owner != Some(self.id) {
            return Look::Clear(Err(Refusal::WrongOwner { owner, epoch: view.epoch() }));
        }
        if self.takeover == Takeover::Drain {
            self.handovers.observe(&self.membership, self.id);
            if !self.handovers.to_ask(key, self.id, u64::MAX).is_empty() {
                return Look::ToAsk;
            }
        }
        Look::Clear(Ok(view.generation(key)))
    }

    async fn cleared(&self, key: &str, deadline_ns: u64) -> Result<u64, Refusal> {
        let mut changes = self.membership.subscribe();
        loop {
            changes.mark_unchanged();
            let view = self.membership.view_owned();
            if let Look::Clear(outcome) = self.look(key, &view) {
                return outcome;
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
                return Ok(view.generation(key));
            }
        }
    }

    /// Waits until this node's view is as new as that of who sent it a task: it may hear late that it owns the key. The
    /// original would not, so [`Takeover::Faithful`] does not either.
    pub(in crate::router) async fn catch_up(&self, epoch: u64, deadline_ns: u64) {
        if !self.is_behind(epoch) {
            return;
        }
        let mut changes = self.membership.subscribe();
        // Large, and rare.
        Box::pin(async move {
            tokio::select! {
                biased;
                _ = changes.wait_for(|&now| now >= epoch) => {}
                () = reached(&**self.queues.now(), deadline_ns) => {}
            }
        })
        .await;
    }

    /// Whether [`Ownership::catch_up`] would wait.
    pub(in crate::router) fn is_behind(&self, epoch: u64) -> bool {
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

    /// Asks an old owner until it answers. A connection that breaks tells nothing of it, so it is asked again for as long as
    /// `patience` lasts. Who is silent for so long is no obstacle to this key any more; that all its keys are free is said of it
    /// only where it is no member of the present view either.
    async fn ask_drained(&self, member: &Member, epoch: u64, key: &str, patience: Duration) -> Drained {
        let asking = async {
            loop {
                match self.ways.is_drained(member, epoch, key).await {
                    Ok(drained) => return drained,
                    // This node has no room for the question, or stops.
                    Err(SubmitError::QueueFull | SubmitError::Shutdown) => return Drained::Busy,
                    Err(error) => tracing::debug!(node = %self.id, old = %member.id, %error, "asked again"),
                }
                sleep(AGAIN).await;
            }
        };
        let drained = match timeout(patience, asking).await {
            Ok(drained) => drained,
            Err(_) if self.membership.view().member(member.id).is_none() => {
                tracing::warn!(node = %self.id, old = %member.id, "an old owner that has left is taken for dead");
                Drained::All
            }
            Err(_) => {
                tracing::warn!(node = %self.id, old = %member.id, key, "an old owner is silent; its key is taken");
                self.handovers.passed(member.id, epoch, key);
                Drained::Key
            }
        };
        if drained == Drained::All {
            self.handovers.cleared(member.id, epoch);
        }
        drained
    }

    /// The old owner's side: has this node nothing running of `key`, which the view of `epoch` brought to another?
    pub(in crate::router) async fn drained(&self, epoch: u64, key: &str) -> Drained {
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
            if self.ask_drained(&member, epoch, key, patience).await == Drained::Busy {
                return Drained::Busy;
            }
        }
        let foreign = |key: &str| view.owner(key) != Some(self.id);
        if self.handovers.is_open_before(epoch) || self.queues.running_keys(foreign) > 0 {
            return Drained::Key;
        }
        Drained::All
    }

    /// Follows the views of the ring: forgets who has left and, where the original would not care ([`Takeover::Faithful`]),
    /// sends those who wait for keys that have moved after them.
    pub(in crate::router) async fn follow(&self) {
        let mut changes = self.membership.subscribe();
        loop {
            let view = self.membership.view_owned();
            self.ways.forget_departed(&view);
            if self.takeover != Takeover::Faithful {
                self.handovers.observe(&self.membership, self.id);
            }
            if view.epoch() > 0 && self.takeover != Takeover::Faithful {
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
                    // Those who had to be asked once more.
                    self.ways.forget_departed(&view);
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
                if self.membership.view().member(member.id).is_none() {
                    // The ring knows that it is gone: as whoever needs a key of it does, silent for so long it is taken for dead.
                    self.ask_drained(&member, epoch, "", self.ways.grace()).await;
                    continue;
                }
                let asking = self.ways.is_drained(&member, epoch, "");
                // A member that does not answer is taken for dead only by who needs a key of his.
                if let Ok(Ok(Drained::All)) = timeout(self.ways.grace(), asking).await {
                    self.handovers.cleared(member.id, epoch);
                }
            }
            if !self.handovers.any_open() {
                return;
            }
            sleep(pause).await;
            pause = (pause * 2).min(SETTLING.1);
        }
    }
}
