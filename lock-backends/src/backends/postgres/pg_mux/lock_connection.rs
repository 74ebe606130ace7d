//! The task that owns the lock connection: it alone knows which keys this node holds, and turns whatever has
//! gathered in its inbox into one statement.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::postgres::PgListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::backends::postgres::wakeups::Wakeups;
use crate::session::{LockError, OwnerId, ReleaseRet, Token};

/// One row per operation, in order; see [`Action`] for the codes. `CASE` is what fixes the order within a row: the
/// token is drawn after the lock is held, and a release looks for waiters after it let go.
///
/// A waiter shows itself by a shared lock on the key's second form, two halves instead of one whole, which are a space
/// of their own. A release that cannot have that exclusively knows of a waiter and announces the key. Announcing
/// writes a commit record; waiting until that is on disk (`$3`) is worth it only in a batch that draws tokens.
const BATCH: &str = "\
    SELECT CASE action \
        WHEN 0 THEN CASE \
            WHEN NOT pg_advisory_unlock(key) THEN 0 \
            WHEN pg_try_advisory_xact_lock(high, low) THEN 1 \
            WHEN pg_notify('lockbench', key::text) IS NULL THEN NULL \
            WHEN $3 AND set_config('synchronous_commit', 'off', true) IS NULL THEN NULL \
            ELSE 1 END \
        WHEN 1 THEN CASE WHEN pg_try_advisory_lock(key) THEN nextval('lockbench_fence') ELSE 0 END \
        WHEN 2 THEN CASE \
            WHEN pg_try_advisory_lock(key) THEN nextval('lockbench_fence') \
            WHEN NOT pg_try_advisory_lock_shared(high, low) THEN -2 \
            WHEN NOT pg_try_advisory_lock(key) THEN -1 \
            WHEN pg_advisory_unlock_shared(high, low) THEN nextval('lockbench_fence') END \
        WHEN 3 THEN CASE \
            WHEN NOT pg_try_advisory_lock(key) THEN -1 \
            WHEN pg_advisory_unlock_shared(high, low) THEN nextval('lockbench_fence') END \
        WHEN 4 THEN pg_advisory_unlock_shared(high, low)::int::bigint END \
    FROM unnest($1::smallint[], $2::bigint[]) AS op(action, key), \
         LATERAL (SELECT (key >> 32)::int, ((key << 32) >> 32)::int) AS halves(high, low)";

/// What [`BATCH`] does for one try by a caller who goes away, and the first step of one who would wait.
const ONE_TRY: &str = "SELECT CASE WHEN pg_try_advisory_lock($1) THEN nextval('lockbench_fence') ELSE 0 END";

/// What [`BATCH`] does for one release.
const ONE_UNLOCK: &str = "\
    SELECT CASE \
        WHEN NOT pg_advisory_unlock($1) THEN 0::bigint \
        WHEN pg_try_advisory_xact_lock(($1 >> 32)::int, (($1 << 32) >> 32)::int) THEN 1 \
        WHEN pg_notify('lockbench', $1::text) IS NULL THEN NULL \
        WHEN set_config('synchronous_commit', 'off', true) IS NULL THEN NULL \
        ELSE 1 END";

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
    connection: PgListener,
    inbox: mpsc::Receiver<LockOp>,
    wakeups: Arc<Wakeups>,
    operations: Arc<AtomicU64>,
    /// Longest time for one statement; every third of it, one is sent as a heartbeat.
    patience: Duration,
    held: HashMap<i64, Held>,
    /// Keys for which this connection shows a waiter.
    shown: HashSet<i64>,
    /// Grants that nobody took, to be given back first.
    orphans: Vec<LockOp>,
}

/// One statement and who waits for its rows.
#[derive(Debug, Default)]
struct Batch {
    actions: Vec<i16>,
    keys: Vec<i64>,
    /// One per row, in order.
    callers: Vec<Caller>,
    heartbeats: Vec<Heartbeat>,
}

/// Codes of the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    /// 1: it was held. 0: it was not.
    Unlock = 0,
    /// The token, or 0.
    Try = 1,
    /// The token; -1: refused and shown as waiting; -2: the key is just being released.
    TryOrShow = 2,
    /// The token, and no longer shown as waiting; -1: refused.
    TryShown = 3,
    Leave = 4,
}

#[derive(Debug)]
enum Caller {
    Lock(OwnerId, LockReply),
    Unlock(oneshot::Sender<ReleaseRet>),
    Leave,
}

impl LockConnection {
    pub(super) fn new(
        connection: PgListener,
        inbox: mpsc::Receiver<LockOp>,
        wakeups: Arc<Wakeups>,
        operations: Arc<AtomicU64>,
        patience: Duration,
    ) -> Self {
        let (held, shown) = (HashMap::new(), HashSet::new());
        Self { connection, inbox, wakeups, operations, patience, held, shown, orphans: Vec::new() }
    }

    /// Serves until the connection fails, `ended` fires or every caller is gone. The locks end with it.
    pub(super) async fn run(mut self, ended: CancellationToken) {
        // Kept over statements: a timer made anew for each would wake the runtime's timer driver for each.
        let mut quiet = interval(self.patience / 3);
        quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut ops = std::mem::take(&mut self.orphans);
            if ops.is_empty() {
                tokio::select! {
                    biased;
                    () = ended.cancelled() => return,
                    taken = self.inbox.recv_many(&mut ops, BATCH_MAX) => if taken == 0 { return },
                    // Nothing is subscribed here: this ends only with the connection.
                    message = self.connection.try_recv() => match message {
                        Ok(Some(_)) => continue,
                        Ok(None) | Err(_) => return tracing::warn!("lock connection closed by the server"),
                    },
                    _ = quiet.tick() => ops.extend(heartbeat()),
                }
            }
            let batch = self.plan(ops);
            if self.serve(batch).await.is_break() {
                return;
            }
        }
    }

    /// Answers what needs no server and lines up the rest.
    fn plan(&mut self, ops: Vec<LockOp>) -> Batch {
        let mut batch = Batch::default();
        for op in ops {
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
                        IfRefused::GoAway => Action::Try,
                        IfRefused::Wait if self.shown.contains(&key) => Action::TryShown,
                        IfRefused::Wait => Action::TryOrShow,
                    };
                    self.held.insert(key, Held { name, owner: owner.clone() });
                    batch.push(action, key, Caller::Lock(owner, reply));
                }
                LockOp::Leave { key } => {
                    if !self.wakeups.awaits(key) && self.shown.remove(&key) {
                        batch.push(Action::Leave, key, Caller::Leave);
                    }
                }
                LockOp::Unlock { key, owner, reply } => {
                    if self.holds(key, &owner) {
                        self.held.remove(&key);
                        batch.push(Action::Unlock, key, Caller::Unlock(reply));
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
        if batch.keys.is_empty() && batch.heartbeats.is_empty() {
            return ControlFlow::Continue(());
        }
        match self.execute(&batch.actions, &batch.keys).await {
            Ok(rows) if rows.len() == batch.keys.len() => self.answer(batch, rows),
            Ok(rows) => {
                tracing::error!(asked = batch.keys.len(), answered = rows.len(), "rows are missing");
                return ControlFlow::Break(());
            }
            Err(sqlx::Error::Database(error)) => return self.undo(batch, &error.to_string()).await,
            Err(error) => {
                tracing::warn!(%error, "lock connection failed");
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }

    /// Runs a statement over the operations. One alone has a statement of its own, which costs the server half as much.
    async fn execute(&mut self, actions: &[i16], keys: &[i64]) -> Result<Vec<i64>, sqlx::Error> {
        if let ([action], [key]) = (actions, keys) {
            let sql = match *action {
                0 => ONE_UNLOCK,
                1 | 2 => ONE_TRY,
                _ => return self.execute_batch(actions, keys).await,
            };
            let query = sqlx::query_scalar(sql).bind(key);
            self.operations.fetch_add(1, Ordering::Relaxed);
            let row: i64 = timeout(self.patience, query.fetch_one(&mut self.connection))
                .await
                .map_err(|elapsed| sqlx::Error::Io(std::io::Error::from(elapsed)))??;
            // Refused and to be shown as waiting: that is the batch's.
            if row != 0 || *action != Action::TryOrShow as i16 {
                return Ok(vec![row]);
            }
        }
        self.execute_batch(actions, keys).await
    }

    async fn execute_batch(&mut self, actions: &[i16], keys: &[i64]) -> Result<Vec<i64>, sqlx::Error> {
        let draws_no_token = actions.iter().all(|action| [0, 4].contains(action));
        let query = sqlx::query_scalar(BATCH).bind(actions).bind(keys).bind(draws_no_token);
        self.operations.fetch_add(1, Ordering::Relaxed);
        // A statement given up on its way leaves the connection unusable: a timeout is the end of the session.
        timeout(self.patience, query.fetch_all(&mut self.connection))
            .await
            .map_err(|elapsed| sqlx::Error::Io(std::io::Error::from(elapsed)))?
    }

    fn answer(&mut self, batch: Batch, rows: Vec<i64>) {
        let answered = batch.actions.into_iter().zip(batch.keys).zip(batch.callers).zip(rows);
        for (((action, key), caller), row) in answered {
            match caller {
                Caller::Lock(owner, reply) => self.answer_lock(action, key, owner, reply, row),
                Caller::Unlock(reply) => {
                    // Waiters of this node need no announcement.
                    self.wakeups.wake(key);
                    reply.send(if row == 1 { ReleaseRet::Released } else { ReleaseRet::AlreadyLost }).ok();
                }
                Caller::Leave => {}
            }
        }
        self.answer_heartbeats(batch.heartbeats);
    }

    fn answer_lock(&mut self, action: i16, key: i64, owner: OwnerId, reply: LockReply, row: i64) {
        let tried = match row {
            1.. => Tried::Granted(Token { generation: 0, sequence: row.unsigned_abs() }),
            -2 => Tried::Passing,
            _ => Tried::Refused,
        };
        if row == -1 {
            self.shown.insert(key);
        } else if row > 0 && action == Action::TryShown as i16 {
            self.shown.remove(&key);
        }
        if row <= 0 {
            self.held.remove(&key);
        }
        if reply.send(Ok(tried)).is_err() && row > 0 {
            let (reply, _) = oneshot::channel();
            self.orphans.push(LockOp::Unlock { key, owner, reply });
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
        let mut keys = batch.keys.clone();
        keys.sort_unstable();
        keys.dedup();
        for key in &keys {
            self.held.remove(key);
            self.shown.remove(key);
        }
        let actions =
            [vec![Action::Unlock as i16; keys.len()], vec![Action::Leave as i16; keys.len()]].concat();
        if let Err(error) = self.execute(&actions, &keys.repeat(2)).await {
            tracing::warn!(%error, "lock connection failed");
            return ControlFlow::Break(());
        }
        for (key, caller) in batch.keys.into_iter().zip(batch.callers) {
            match caller {
                Caller::Lock(_, reply) => drop(reply.send(Err(LockError::Unavailable(why.to_owned())))),
                Caller::Unlock(reply) => drop(reply.send(ReleaseRet::Released)),
                Caller::Leave => {}
            }
            self.wakeups.wake(key);
        }
        self.answer_heartbeats(batch.heartbeats);
        ControlFlow::Continue(())
    }
}

impl Batch {
    fn push(&mut self, action: Action, key: i64, caller: Caller) {
        self.actions.push(action as i16);
        self.keys.push(key);
        self.callers.push(caller);
    }
}

/// A heartbeat of the task's own, for whom nobody waits.
fn heartbeat() -> Option<LockOp> {
    let (reply, _) = oneshot::channel();
    Some(LockOp::Heartbeat(Heartbeat { grants: Vec::new(), reply }))
}
