//! Workers: each writes the result of its last job and starts the next in one transaction, which it shares with others.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use super::batch::gather;
use super::database::{RETRY, Trouble};
use super::job::{Job, JobHandler, JobOutcome, PAYLOAD_BYTES};
use super::rows::{Done, Turn, WorkRow};
use super::shared::Shared;
use crate::future::caught;

/// A turn on its way to the database.
pub(super) struct Request {
    turn: Turn,
    /// Dropped when the node ends.
    reply: oneshot::Sender<Answer>,
}

/// What came of a turn.
struct Answer {
    done: Option<Done>,
    /// The result of `done` is written.
    settled: bool,
    started: Option<Started>,
}

/// Takes the workers' turns to the database until the node stops: while some are on their way, others gather.
pub(super) async fn take_turns(shared: Arc<Shared>, requests: mpsc::Receiver<Request>) {
    shared.stop.run_until_cancelled(take_turns_on(&shared, requests)).await;
}

async fn take_turns_on(shared: &Shared, mut requests: mpsc::Receiver<Request>) {
    let mut session = shared.database.session();
    let (mut turns, mut replies) = (Vec::new(), Vec::new());
    let mut batch = Vec::new();
    while gather(&mut requests, &mut batch).await {
        for Request { turn, reply } in batch.drain(..) {
            turns.push(turn);
            replies.push(reply);
        }
        let mut repeated = false;
        let rows = loop {
            match session.work(shared.id, shared.options.form, repeated, &turns).await {
                Ok(rows) => break rows,
                Err(Trouble::Evicted) => {
                    let refused = turns.iter().filter(|turn| turn.done.is_some()).count();
                    shared.roster.refuse(refused as u64);
                    return shared.liveness.evict();
                }
                Err(Trouble::Refused(reason)) => return shared.liveness.refuse(reason),
                Err(trouble) => tracing::debug!(%trouble, "workers repeat their turns"),
            }
            repeated = true;
            sleep(RETRY).await;
        };
        let settled: HashSet<i64> = rows.iter().filter_map(|row| row.0).collect();
        let mut started: HashMap<i64, WorkRow> =
            rows.into_iter().filter_map(|row| Some((row.1?, row))).collect();
        for (Turn { source, done }, reply) in turns.drain(..).zip(replies.drain(..)) {
            let settled = done.as_ref().is_some_and(|done| settled.contains(&done.job));
            let row = source.and_then(|source| started.remove(&source));
            let started = row.and_then(|row| self::started(shared, row));
            // A worker that is gone has been stopped.
            drop(reply.send(Answer { done, settled, started }));
        }
    }
}

/// Works until the node stops.
pub(super) async fn work(
    shared: Arc<Shared>,
    slot: usize,
    handler: Arc<dyn JobHandler>,
    turns: mpsc::Sender<Request>,
) {
    let slot = i64::try_from(slot).expect("few workers");
    let stop = shared.stop.clone();
    stop.run_until_cancelled(work_on(&shared, slot, &*handler, &turns)).await;
}

async fn work_on(shared: &Shared, slot: i64, handler: &dyn JobHandler, turns: &mpsc::Sender<Request>) {
    let (form, roster) = (shared.options.form, &shared.roster);
    // The job that was run and whose result is to be written; the queue that it is from, if queues are in hand.
    let mut done: Option<Done> = None;
    let mut finished: Option<i64> = None;
    loop {
        // Before the look at `draining`: who waits for the last job counts this turn, or it starts nothing.
        roster.engage();
        let draining = shared.draining.is_cancelled();
        if draining && done.is_none() {
            return roster.release();
        }
        let source = match (draining, form.is_sticky()) {
            (true, _) => None,
            (false, true) => roster.next().or_else(|| finished.take()),
            (false, false) => Some(slot),
        };
        let mut job = None;
        if source.is_some() || done.is_some() {
            let Some(answer) = ask(turns, Turn { source, done: done.take() }).await else { return };
            if let Some(done) = answer.done {
                if answer.settled {
                    shared.issuer.settled(done);
                } else {
                    roster.refuse(1);
                    tracing::warn!(job = done.job, "had been taken away; its result is not written");
                }
                roster.release();
            }
            job = answer.started;
        }
        // Only now may another worker find it: before, its job looked like one whose start was not noticed.
        if let Some(queue) = finished.take() {
            roster.put_back(queue);
        }
        let in_hand = source.filter(|_| form.is_sticky());
        match job {
            Some(job) => {
                // Where there was one there may be more.
                roster.wake();
                finished = in_hand;
                done = Some(run(job, handler).await);
            }
            None => {
                roster.release();
                match in_hand {
                    Some(drained) => roster.forget(drained),
                    // Not for ever, since a sign that there is work may have got lost.
                    None => roster.rest(shared.options.poll, &shared.draining).await,
                }
            }
        }
    }
}

/// `None`: the node ends; others may have declared it dead.
async fn ask(turns: &mpsc::Sender<Request>, turn: Turn) -> Option<Answer> {
    let (reply, answer) = oneshot::channel();
    turns.send(Request { turn, reply }).await.ok()?;
    answer.await.ok()
}

/// A job that was started, and what its result is written with.
struct Started {
    job: Job,
    queue: i64,
    number: Option<i64>,
    token: i64,
}

fn started(shared: &Shared, row: WorkRow) -> Option<Started> {
    let (_, _, id, queue, name, number, payload, token, attempt) = row;
    let token = token?;
    let job = Job {
        id: id?,
        queue: name?,
        payload: Bytes::from(payload?),
        attempt: u32::try_from(attempt?).ok()?,
        token: u64::try_from(token).ok()?,
        lost: shared.liveness.lost(),
    };
    Some(Started { job, queue: queue?, number, token })
}

async fn run(started: Started, handler: &dyn JobHandler) -> Done {
    let Started { job, queue, number, token } = started;
    let id = job.id;
    let outcome = match caught(async { handler.run(job).await }).await {
        Ok(Ok(result)) if result.len() <= PAYLOAD_BYTES => JobOutcome::Completed(result),
        Ok(Ok(result)) => {
            let bytes = result.len();
            JobOutcome::Failed(format!("a result of {bytes} bytes exceeds the bound of {PAYLOAD_BYTES}"))
        }
        Ok(Err(mut reason)) => {
            reason.truncate(reason.floor_char_boundary(PAYLOAD_BYTES));
            JobOutcome::Failed(reason)
        }
        Err(panic) => JobOutcome::Failed(format!("the handler panicked: {panic}")),
    };
    Done { job: id, queue, number, token, outcome }
}
