//! The task that owns the lock connection: it alone knows which keys this node holds, and turns whatever has
//! gathered in its inbox into one statement.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::super::requests::{Multiplexed, MuxAction, MuxOp, MuxRet};
use crate::backends::sql::{Failure, Wakeups, in_time};
use crate::session::{LockError, Operations, OwnerId, Purpose, ReleaseRet, Token};

/// Operations in one statement; more wait for the next.
const BATCH_MAX: usize = 1024;

/// What callers ask of the lock connection. A dropped reply means that the connection ended meanwhile.
#[derive(Debug)]
pub(super) enum LockOp {
    /// Try the key. An answer that nobody takes gives the lock back.
    Lock { key: i64, name: Arc<str>, owner: OwnerId, refused: IfRefused, reply: LockReply },
    /// Nobody here waits for the key any more, unless [`Wakeups`] knows of another.
    Leave { key: i64 },
    /// Give the key back, if this owner holds it.
    Unlock { key: i64, owner: OwnerId, reply: oneshot::Sender<ReleaseRet> },
    /// Ask the server for a sign of life, then say which of these are held.
    Heartbeat(Heartbeat),
}

pub(super) type LockReply = oneshot::Sender<Result<Tried, LockError>>;

/// Grants to look after, and where to say for each whether it is held.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) grants: Vec<Option<(i64, OwnerId)>>,
    pub(super) reply: oneshot::Sender<Vec<bool>>,
}

/// What a refused caller will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IfRefused {
    GoAway,
    /// Wait: whoever releases the key shall announce it.
    Wait,
}

/// Answer to a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tried {
    Granted(Token),
    /// Held, here or elsewhere. Who asked to wait hears of its release.
    Refused,
    /// Held when tried and just being released: try again at once.
    Passing,
}

/// A key that this connection holds, or has asked for in the statement under way.
///
/// Invariant: at most one entry per key, whatever its name, since the server would grant a session the same key twice.
#[derive(Debug)]
struct Held {
    name: Arc<str>,
    owner: OwnerId,
}

/// The lock connection and what is known about it.
#[derive(Debug)]
pub(super) struct LockConnection {
    connection: Box<dyn Multiplexed>,
    inbox: mpsc::Receiver<Asked>,
    wakeups: Arc<Wakeups>,
    operations: Arc<Operations>,
    /// Longest time for one statement; every third of it, one is sent as a heartbeat.
    patience: Duration,
    held: HashMap<i64, Held>,
    /// Keys for which this connection shows a waiter.
    shown: HashSet<i64>,
    /// Grants that nobody took, to be given back first.
    orphans: Vec<Asked>,
}

/// An operation and what it is for.
#[derive(Debug)]
pub(super) struct Asked {
    purpose: Purpose,
    op: LockOp,
}

impl From<LockOp> for Asked {
    fn from(op: LockOp) -> Self {
        let purpose = match op {
            LockOp::Heartbeat(_) => Purpose::Renewal,
            _ => Purpose::current(),
        };
        Self { purpose, op }
    }
}

/// One statement and who waits for its rows.
#[derive(Debug, Default)]
struct Batch {
    ops: Vec<MuxOp>,
    /// One per operation, in order.
    callers: Vec<Caller>,
    heartbeats: Vec<Heartbeat>,
    purposes: Vec<Purpose>,
}

#[derive(Debug)]
enum Caller {
    Lock(OwnerId, LockReply),
    Unlock(oneshot::Sender<ReleaseRet>),
    Leave,
}

impl LockConnection {
    pub(super) fn new(
        connection: Box<dyn Multiplexed>,
        inbox: mpsc::Receiver<Asked>,
        wakeups: Arc<Wakeups>,
        operations: Arc<Operations>,
        patience: Duration,
    ) -> Self {
        let (held, shown) = (HashMap::new(), HashSet::new());
        Self { connection, inbox, wakeups, operations, patience, held, shown, orphans: Vec::new() }
    }

    /// Serves until the connection fails, `ended` fires or every caller is gone, and returns it to be closed. The locks
    /// end with it.
    pub(super) async fn run(mut self, ended: CancellationToken) -> Box<dyn Multiplexed> {
        // Kept over statements: a timer made anew for each would wake the runtime's timer driver for each.
        let mut quiet = interval(self.patience / 3);
        quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut ops = std::mem::take(&mut self.orphans);
            if ops.is_empty() {
                tokio::select! {
                    biased;
                    () = ended.cancelled() => return self.connection,
                    taken = self.inbox.recv_many(&mut ops, BATCH_MAX) => if taken == 0 { return self.connection },
                    () = self.connection.ended() => {
                        tracing::warn!("lock connection closed by the server");
                        return self.connection;
                    }
                    _ = quiet.tick() => ops.extend(heartbeat()),
                }
            }
            let batch = self.plan(ops);
            if self.serve(batch).await.is_break() {
                return self.connection;
            }
        }
    }

    /// Answers what needs no server and lines up the rest.
    fn plan(&mut self, ops: Vec<Asked>) -> Batch {
        let mut batch = Batch::default();
        for Asked { purpose, op } in ops {
            batch.purposes.push(purpose);
            match op {
                LockOp::Lock { reply, .. } if reply.is_closed() => {}
                LockOp::Lock { key, name, owner, refused, reply } => {
                    if let Some(held) = self.held.get(&key) {
                        if held.name != name {
                            tracing::debug!(%name, other = %held.name, "two names share a lock key");
                        }
                        // Nobody waits for a refusal any more: nothing to undo.
                        reply.send(Ok(Tried::Refused)).ok();
                        continue;
                    }
                    let action = match refused {
                        IfRefused::GoAway => MuxAction::Try,
                        IfRefused::Wait if self.shown.contains(&key) => MuxAction::TryShown,
                        IfRefused::Wait => MuxAction::TryOrShow,
                    };
                    self.held.insert(key, Held { name, owner: owner.clone() });
                    batch.push(action, key, Caller::Lock(owner, reply));
                }
                LockOp::Leave { key } => {
                    if !self.wakeups.awaits(key) && self.shown.remove(&key) {
                        batch.push(MuxAction::Leave, key, Caller::Leave);
                    }
                }
                LockOp::Unlock { key, owner, reply } => {
                    if self.holds(key, &owner) {
                        self.held.remove(&key);
                        batch.push(MuxAction::Unlock, key, Caller::Unlock(reply));
                    } else {
                        reply.send(ReleaseRet::AlreadyLost).ok();
                    }
                }
                LockOp::Heartbeat(heartbeat) => batch.heartbeats.push(heartbeat),
            }
        }
        batch
    }

    fn holds(&self, key: i64, owner: &OwnerId) -> bool {
        self.held.get(&key).is_some_and(|held| held.owner == *owner)
    }

    /// Runs the statement and answers the callers. Breaks when the connection is of no more use.
    async fn serve(&mut self, batch: Batch) -> ControlFlow<()> {
        if batch.ops.is_empty() && batch.heartbeats.is_empty() {
            return ControlFlow::Continue(());
        }
        let purpose = Purpose::of_all(batch.purposes.iter().copied());
        match purpose.scope(self.execute(&batch.ops)).await {
            Ok(rets) => self.answer(batch, rets),
            Err(Failure::Refused(why)) => return self.undo(batch, &why).await,
            Err(failure) => {
                tracing::warn!(?failure, "lock connection failed");
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Runs a statement over the operations; one given up on its way leaves the connection unusable, so that a timeout is the end of the
    /// session. One alone has a statement of its own, which costs the server half as much.
    async fn execute(&mut self, ops: &[MuxOp]) -> Result<Vec<MuxRet>, Failure> {
        if let [op] = ops
            && matches!(op.action, MuxAction::Unlock | MuxAction::Try | MuxAction::TryOrShow)
        {
            self.operations.add(1);
            if let Some(ret) = in_time(self.patience, self.connection.one(*op)).await? {
                return Ok(vec![ret]);
            }
        }
        self.operations.add(1);
        in_time(self.patience, self.connection.batch(ops)).await
    }

    fn answer(&mut self, batch: Batch, rets: Vec<MuxRet>) {
        for ((op, caller), ret) in batch.ops.into_iter().zip(batch.callers).zip(rets) {
            match caller {
                Caller::Lock(owner, reply) => self.answer_lock(op, owner, reply, ret),
                Caller::Unlock(reply) => {
                    // Waiters of this node need no announcement.
                    self.wakeups.wake(op.key);
                    let was_held = ret == MuxRet::Done(true);
                    reply.send(if was_held { ReleaseRet::Released } else { ReleaseRet::AlreadyLost }).ok();
                }
                Caller::Leave => {}
            }
        }
        self.answer_heartbeats(batch.heartbeats);
    }

    fn answer_lock(&mut self, op: MuxOp, owner: OwnerId, reply: LockReply, ret: MuxRet) {
        let MuxOp { action, key } = op;
        let tried = match ret {
            MuxRet::Granted(token) => Tried::Granted(token),
            MuxRet::Passing => Tried::Passing,
            MuxRet::Refused | MuxRet::Done(_) => Tried::Refused,
        };
        let is_granted = matches!(tried, Tried::Granted(_));
        match (tried, action) {
            (Tried::Refused, MuxAction::TryOrShow) => _ = self.shown.insert(key),
            (Tried::Granted(_), MuxAction::TryShown) => _ = self.shown.remove(&key),
            _ => {}
        }
        if !is_granted {
            self.held.remove(&key);
        }
        if reply.send(Ok(tried)).is_err() && is_granted {
            let (reply, _) = oneshot::channel();
            self.orphans.push(LockOp::Unlock { key, owner, reply }.into());
        }
    }

    fn answer_heartbeats(&self, heartbeats: Vec<Heartbeat>) {
        for Heartbeat { grants, reply } in heartbeats {
            let held =
                grants.iter().map(|grant| grant.as_ref().is_some_and(|(key, owner)| self.holds(*key, owner)));
            reply.send(held.collect()).ok();
        }
    }

    /// After a statement that failed half-way, such as for want of shared memory: session locks that it took or gave
    /// back stand although its transaction did not. Giving back all that it touched settles every case.
    async fn undo(&mut self, batch: Batch, why: &str) -> ControlFlow<()> {
        tracing::warn!(why, "a batch failed and is undone");
        let mut keys: Vec<i64> = batch.ops.iter().map(|op| op.key).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in &keys {
            self.held.remove(key);
            self.shown.remove(key);
        }
        let all = |action| keys.iter().map(move |key| MuxOp { action, key: *key });
        let ops: Vec<MuxOp> = all(MuxAction::Unlock).chain(all(MuxAction::Leave)).collect();
        if let Err(failure) = self.execute(&ops).await {
            tracing::warn!(?failure, "lock connection failed");
            return ControlFlow::Break(());
        }
        for (op, caller) in batch.ops.into_iter().zip(batch.callers) {
            match caller {
                Caller::Lock(_, reply) => drop(reply.send(Err(LockError::Unavailable(why.to_owned())))),
                Caller::Unlock(reply) => drop(reply.send(ReleaseRet::Released)),
                Caller::Leave => {}
            }
            self.wakeups.wake(op.key);
        }
        self.answer_heartbeats(batch.heartbeats);
        ControlFlow::Continue(())
    }
}

impl Batch {
    fn push(&mut self, action: MuxAction, key: i64, caller: Caller) {
        self.ops.push(MuxOp { action, key });
        self.callers.push(caller);
    }
}

/// A heartbeat of the task's own, for whom nobody waits.
fn heartbeat() -> Option<Asked> {
    let (reply, _) = oneshot::channel();
    Some(LockOp::Heartbeat(Heartbeat { grants: Vec::new(), reply }).into())
}
