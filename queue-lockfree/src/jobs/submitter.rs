//! Submissions go out in batches, again and again until the database has answered.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::batch::gather;
use super::database::{RETRY, Session, Trouble};
use super::issuer::Issuer;
use super::job::{JobError, JobOutcome};
use super::rows::Order;
use super::shared::Shared;

/// Sends submissions until the node stops.
pub(super) async fn submit(shared: Arc<Shared>, mut orders: mpsc::Receiver<Order>) {
    let mut session = shared.database.session();
    let mut batch = Vec::new();
    loop {
        match shared.stop.run_until_cancelled(gather(&mut orders, &mut batch)).await {
            Some(true) => {}
            None | Some(false) => break,
        }
        shared.issuer.sending().extend(batch.iter().map(|order| order.number));
        let sent = send(&shared, &mut session, std::mem::take(&mut batch));
        if shared.stop.run_until_cancelled(sent).await.is_none() {
            break;
        }
        shared.issuer.sending().clear();
    }
    // Whose order is still in the channel, or is dropped with it, is told that the node has ended.
    orders.close();
}

/// Sends a batch, again and again until it is answered or nobody waits any more.
async fn send(shared: &Shared, session: &mut Session, mut orders: Vec<Order>) {
    let issuer = &shared.issuer;
    let mut sent = false;
    loop {
        let now_ns = issuer.now.now_ns();
        if !sent {
            withdraw_unsent(issuer, &mut orders, now_ns);
        }
        if orders.is_empty() {
            return;
        }
        let wait_ms: Vec<_> = orders.iter().map(|order| wait_ms(order.deadline_ns, now_ns)).collect();
        let idle = shared.roster.idlers();
        let trouble = match session.submit(shared.id, shared.options.form, idle, &orders, &wait_ms).await {
            Ok(rows) => return confirm(shared, orders, &rows),
            Err(trouble) => trouble,
        };
        match trouble {
            Trouble::Evicted => {
                shared.liveness.evict();
                // The row that it needs was not there, so nothing was written; unless an earlier try got through.
                let error = || if sent { shared.ended_unknown() } else { JobError::Evicted };
                return orders.into_iter().for_each(|order| drop(order.reply.send(Err(error()))));
            }
            Trouble::Refused(reason) => {
                let error = || JobError::Database(reason.clone());
                return orders.into_iter().for_each(|order| drop(order.reply.send(Err(error()))));
            }
            Trouble::Repeat(error) => tracing::debug!(%error, "submissions are repeated"),
        }
        sent = true;
        give_up(issuer, &mut orders);
        sleep(RETRY).await;
    }
}

/// Jobs whose deadline passed before they were sent end here.
fn withdraw_unsent(issuer: &Issuer, orders: &mut Vec<Order>, now_ns: u64) {
    for order in orders.extract_if(.., |order| order.deadline_ns <= now_ns) {
        issuer.waiters.tell(order.number, JobOutcome::TimedOut);
        drop(order.reply.send(Ok(())));
    }
}

/// Callers of jobs that may have been submitted wait no longer than until grace after the deadline.
fn give_up(issuer: &Issuer, orders: &mut Vec<Order>) {
    let late = |order: &mut Order| issuer.now.now_ns() > order.deadline_ns.saturating_add(issuer.grace_ns);
    for order in orders.extract_if(.., late) {
        drop(order.reply.send(Err(JobError::Unknown("the database does not answer".to_owned()))));
    }
}

fn wait_ms(deadline_ns: u64, now_ns: u64) -> Option<i64> {
    // A hundred years from now is never.
    const NEVER_MS: u64 = 100 * 366 * 86_400_000;
    let wait_ms = deadline_ns.saturating_sub(now_ns).div_ceil(1_000_000);
    if wait_ms < NEVER_MS { i64::try_from(wait_ms).ok() } else { None }
}

fn confirm(shared: &Shared, orders: Vec<Order>, rows: &[(i64, i64, Option<i64>)]) {
    shared.issuer.answered();
    for (number, job, mine) in rows {
        if let Some(waiter) = shared.issuer.waiters.waiting().get_mut(number) {
            waiter.job = Some(*job);
        }
        if let Some(queue) = mine {
            shared.roster.add(*queue);
        }
    }
    shared.roster.wake();
    for order in orders {
        drop(order.reply.send(Ok(())));
    }
}
