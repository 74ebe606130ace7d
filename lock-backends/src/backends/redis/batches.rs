//! The way of what takes and gives back to the server. A few go by themselves; those that come while these are on their way wait and go
//! together, as one script call, which the server reads, starts and answers once.
//!
//! ```text
//!  a few    acquire k ──▶ ······ ◀── answer
//!  more      acquire k ─┐
//!            release l ─┴─ wait ──▶ one call of two ······ ◀── an answer each
//! ```
//!
//! Invariant: they reach the connection in the order in which they were asked for. Whoever was not answered asks again, or gives
//! back, and takes what comes of that for the end of what it had asked before.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};

use super::requests::{Announce, AskRet, IfHeld, Joint, JointRet, Requests, Tokens, Wanted};
use crate::session::{BoxFuture, LockError, Operations, OwnerId, Purpose};

/// Requests that may be on their way by themselves: as many as do not notice each other.
const ALONE_MAX: usize = 4;
/// Requests that may wait to be sent; more wait in their callers.
const PENDING_MAX: usize = 4096;

pub(super) struct Batches {
    server: Arc<dyn Requests>,
    operations: Arc<Operations>,
    tokens: Tokens,
    announce: Announce,
    alone: Semaphore,
    /// Those that wait, or went together and are not answered.
    waiting: AtomicUsize,
    pending: mpsc::Sender<Pending>,
}

/// A request that waits to be sent. A dropped reply means that the session ended.
struct Pending {
    joint: Joint,
    purpose: Purpose,
    reply: oneshot::Sender<Result<JointRet, LockError>>,
}

impl Batches {
    /// Brings what serves those that wait, to be polled until the session ends; `None` where all go by themselves.
    pub(super) fn new(
        server: Arc<dyn Requests>,
        operations: Arc<Operations>,
        tokens: Tokens,
        announce: Announce,
    ) -> (Arc<Self>, Option<BoxFuture<'static, ()>>) {
        let joins = server.most_at_once() > 1;
        let (pending, inbox) = mpsc::channel(PENDING_MAX);
        let alone = Semaphore::new(if joins { ALONE_MAX } else { Semaphore::MAX_PERMITS });
        let waiting = AtomicUsize::new(0);
        let batches = Arc::new(Self { server, operations, tokens, announce, alone, waiting, pending });
        let serving = joins.then(|| Box::pin(Arc::clone(&batches).serve(inbox)) as BoxFuture<'static, ()>);
        (batches, serving)
    }

    /// As [`Requests::acquire`].
    pub(super) async fn acquire(&self, wanted: Wanted<'_>) -> Result<AskRet, LockError> {
        if let Some(_alone) = self.alone() {
            return self.server.acquire(wanted, self.tokens).await;
        }
        let Wanted { key, level, owner, description, ttl } = wanted;
        let (key, owner, description) = (key.into(), owner.clone(), description.into());
        // In a box: a future too large for the allocator's fast path costs every acquire.
        Box::pin(self.join(Joint::Acquire { key, level, owner, description, ttl })).await?.asked()
    }

    /// As [`Requests::release`].
    pub(super) async fn release(&self, keys: &[Arc<str>], owner: &OwnerId) -> Result<bool, LockError> {
        if let Some(_alone) = self.alone() {
            return self.server.release(keys, owner, self.announce).await;
        }
        let joint = Joint::Release { keys: keys.to_vec(), owner: owner.clone() };
        Box::pin(self.join(joint)).await?.released()
    }

    /// As [`Requests::ask`].
    pub(super) async fn ask(
        &self,
        wanted: Wanted<'_>,
        claim: Duration,
        if_held: IfHeld<'_>,
    ) -> Result<AskRet, LockError> {
        if let Some(_alone) = self.alone() {
            return self.server.ask(wanted, claim, if_held).await;
        }
        let Wanted { key, level, owner, description, ttl } = wanted;
        let (key, owner, description) = (key.into(), owner.clone(), description.into());
        let node = match if_held {
            IfHeld::GoAway => None,
            IfHeld::Wait(node) => Some(node.into()),
        };
        Box::pin(self.join(Joint::Ask { key, level, owner, description, ttl, claim, node })).await?.asked()
    }

    /// As [`Requests::pass_on`].
    pub(super) async fn pass_on(
        &self,
        keys: &[Arc<str>],
        owner: &OwnerId,
        node: &str,
        claim: Duration,
    ) -> Result<bool, LockError> {
        if let Some(_alone) = self.alone() {
            return self.server.pass_on(keys, owner, node, claim).await;
        }
        let joint = Joint::PassOn { keys: keys.to_vec(), owner: owner.clone(), node: node.into(), claim };
        Box::pin(self.join(joint)).await?.released()
    }

    /// The way of a request by itself, which is counted; `None`: it has to wait.
    fn alone(&self) -> Option<SemaphorePermit<'_>> {
        if self.waiting.load(Ordering::Acquire) > 0 {
            return None;
        }
        let alone = self.alone.try_acquire().ok()?;
        self.operations.add(1);
        Some(alone)
    }

    async fn join(&self, joint: Joint) -> Result<JointRet, LockError> {
        let ended = || LockError::Unknown("the session ended".to_owned());
        let (reply, answer) = oneshot::channel();
        let place = self.pending.reserve().await.map_err(|_| ended())?;
        self.waiting.fetch_add(1, Ordering::AcqRel);
        place.send(Pending { joint, purpose: Purpose::current(), reply });
        answer.await.map_err(|_| ended())?
    }

    /// Sends what waits, batch after batch.
    async fn serve(self: Arc<Self>, mut inbox: mpsc::Receiver<Pending>) {
        let most = self.server.most_at_once();
        let mut waiting = Vec::new();
        loop {
            if waiting.is_empty() && inbox.recv_many(&mut waiting, most).await == 0 {
                return;
            }
            while waiting.len() < most
                && let Ok(next) = inbox.try_recv()
            {
                waiting.push(next);
            }
            let batch = next_batch(&mut waiting, most, |joint| self.server.together(joint.key()));
            let served = batch.len();
            let unanswered = self.send(batch).await;
            self.waiting.fetch_sub(served, Ordering::AcqRel);
            if let Some(why) = unanswered {
                // Those behind it need not wait as long, one batch after the other: nothing of them was sent.
                while let Ok(next) = inbox.try_recv() {
                    waiting.push(next);
                }
                self.waiting.fetch_sub(waiting.len(), Ordering::AcqRel);
                for pending in waiting.drain(..) {
                    pending.reply.send(Err(LockError::Unavailable(why.clone()))).ok();
                }
            }
        }
    }

    /// Sends a batch and hands out what came of it. Brings why nobody answered.
    async fn send(&self, batch: Vec<Pending>) -> Option<String> {
        let purpose = Purpose::of_all(batch.iter().map(|pending| pending.purpose));
        let (all, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|pending| (pending.joint, pending.reply)).unzip();
        let answers = purpose.scope(self.carry(&all)).await;
        match answers {
            // Nobody takes the answer of a caller who left: what it did is withdrawn by others.
            Ok(answers) => {
                for (answer, reply) in answers.into_iter().zip(replies) {
                    reply.send(answer).ok();
                }
                None
            }
            Err(error) => {
                replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
                match error {
                    LockError::Unknown(why) | LockError::Unavailable(why) => Some(why),
                    _ => None,
                }
            }
        }
    }

    async fn carry(&self, all: &[Joint]) -> Result<Vec<Result<JointRet, LockError>>, LockError> {
        self.operations.add(1);
        match all {
            [Joint::Acquire { key, level, owner, description, ttl }] => {
                let wanted = Wanted { key, level: *level, owner, description, ttl: *ttl };
                let answer = self.server.acquire(wanted, self.tokens).await?;
                Ok(vec![Ok(JointRet::Asked(answer))])
            }
            [Joint::Release { keys, owner }] => {
                let was_held = self.server.release(keys, owner, self.announce).await?;
                Ok(vec![Ok(JointRet::Released(was_held))])
            }
            [Joint::Ask { key, level, owner, description, ttl, claim, node }] => {
                let wanted = Wanted { key, level: *level, owner, description, ttl: *ttl };
                let if_held = node.as_deref().map_or(IfHeld::GoAway, IfHeld::Wait);
                Ok(vec![Ok(JointRet::Asked(self.server.ask(wanted, *claim, if_held).await?))])
            }
            [Joint::PassOn { keys, owner, node, claim }] => {
                let was_held = self.server.pass_on(keys, owner, node, *claim).await?;
                Ok(vec![Ok(JointRet::Released(was_held))])
            }
            all => self.server.several(all, self.tokens, self.announce).await,
        }
    }
}

impl JointRet {
    fn asked(self) -> Result<AskRet, LockError> {
        match self {
            Self::Asked(answer) => Ok(answer),
            Self::Released(_) => Err(LockError::Protocol("the answer of a release".to_owned())),
        }
    }

    fn released(self) -> Result<bool, LockError> {
        match self {
            Self::Released(was_held) => Ok(was_held),
            Self::Asked(_) => Err(LockError::Protocol("the answer of an acquire".to_owned())),
        }
    }
}

impl fmt::Debug for Batches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batches").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

/// Those that go together with the first, in their order: of its tag, and about no more than so many locks, unless it is the first
/// alone that is about more.
fn next_batch(waiting: &mut Vec<Pending>, most: usize, tag: impl Fn(&Joint) -> u16) -> Vec<Pending> {
    let Some(first) = waiting.first().map(|first| tag(&first.joint)) else { return Vec::new() };
    let (mut locks, mut full) = (0, false);
    let goes = |pending: &mut Pending| {
        if full || tag(&pending.joint) != first {
            return false;
        }
        // Once one does not fit, none of its tag passes it.
        full = locks > 0 && locks + pending.joint.locks() > most;
        locks += pending.joint.locks();
        !full
    };
    waiting.extract_if(.., goes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acquire(key: &str, level: u32) -> Pending {
        let (owner, description) = (OwnerId("a:1".into()), "".into());
        let joint =
            Joint::Acquire { key: key.into(), level, owner, description, ttl: Duration::from_secs(1) };
        Pending { joint, purpose: Purpose::Work, reply: oneshot::channel().0 }
    }

    fn keys(batch: &[Pending]) -> Vec<&str> {
        batch.iter().map(|pending| pending.joint.key()).collect()
    }

    #[test]
    fn a_batch_is_of_one_tag_and_about_no_more_locks_than_it_may_be() {
        let mut waiting: Vec<_> = [("a1", 1), ("b1", 1), ("a2", 2), ("a3", 2), ("a4", 1), ("b2", 9)]
            .map(|(k, l)| acquire(k, l))
            .into();
        let tag = |joint: &Joint| u16::from(joint.key().as_bytes()[0]);
        let mut next =
            || keys(&next_batch(&mut waiting, 4, tag)).iter().map(|key| (*key).to_owned()).collect();
        let batches: [Vec<String>; 5] = std::array::from_fn(|_| next());
        assert_eq!(batches, [vec!["a1", "a2"], vec!["b1"], vec!["a3", "a4"], vec!["b2"], vec![]]);
    }
}
