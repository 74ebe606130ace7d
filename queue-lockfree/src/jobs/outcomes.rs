//! How outcomes come back to the issuer: by notification or, at the latest, by a look.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::{sleep, timeout};

use super::database::{RETRY, Session, Trouble};
use super::issuer::Issuer;
use super::job::JobOutcome;
use super::rows::OutcomeRow;
use super::shared::Shared;
use crate::poison::lock;

/// Outcomes in one look, as the schema has it.
const PAGE: usize = 1000;

/// Brings outcomes to those who wait, until the node stops.
pub(super) async fn collect(shared: Arc<Shared>) {
    let mut session = shared.database.session();
    shared.stop.run_until_cancelled(collect_on(&shared, &mut session)).await;
    if shared.liveness.is_evicted() {
        // The outcomes of a dead issuer are kept for a while; that is its chance to learn them.
        let patience = shared.options.grace.min(shared.options.retain);
        timeout(patience, inquire(&shared, &mut session)).await.ok();
    }
    shared.issuer.waiters.waiting().clear();
}

async fn collect_on(shared: &Shared, session: &mut Session) {
    let issuer = &shared.issuer;
    let mut acknowledged = Vec::new();
    loop {
        let pause = match look(shared, session, &mut acknowledged).await {
            // They are acknowledged with the next look, which need not be soon.
            Ok(found) if found < PAGE => shared.options.poll,
            Ok(_) => continue,
            Err(Trouble::Refused(reason)) => return shared.liveness.refuse(reason),
            Err(trouble) => {
                tracing::debug!(%trouble, "outcomes are not to be had");
                RETRY
            }
        };
        timeout(pause, issuer.news.notified()).await.ok();
    }
}

/// Withdraws what is overdue, then collects; returns how many outcomes there were.
async fn look(
    shared: &Shared,
    session: &mut Session,
    acknowledged: &mut Vec<(i64, i64)>,
) -> Result<usize, Trouble> {
    let issuer = &shared.issuer;
    let overdue: Vec<i64> = issuer.waiters.overdue().iter().copied().collect();
    if !overdue.is_empty() {
        session.withdraw(shared.id, shared.options.form, &overdue).await?;
        let mut waiting = issuer.waiters.overdue();
        waiting.retain(|number| !overdue.contains(number));
    }
    // Taken out only when they arrived: until then the next look repeats them.
    acknowledged.append(&mut lock(&issuer.told));
    // Those that have to wait are found again.
    acknowledged.retain({
        let sending = issuer.sending();
        move |(number, _)| !sending.contains(number)
    });
    let jobs: Vec<i64> = acknowledged.iter().map(|(_, job)| *job).collect();
    let rows = session.collect(shared.id, &jobs).await?;
    issuer.answered();
    acknowledged.clear();
    acknowledged.extend(rows.iter().map(|row| (row.0, row.1)));
    let found = rows.len();
    deliver(issuer, rows);
    Ok(found)
}

/// For who was declared dead: what has become of its jobs. What has no outcome yet is asked for again.
async fn inquire(shared: &Shared, session: &mut Session) {
    loop {
        let jobs: Vec<i64> =
            shared.issuer.waiters.waiting().values().filter_map(|waiter| waiter.job).collect();
        if jobs.is_empty() {
            return;
        }
        match session.inquire(&jobs).await {
            Ok(rows) => deliver(&shared.issuer, rows),
            Err(trouble) => tracing::debug!(%trouble, "outcomes are not to be had"),
        }
        sleep(shared.options.poll).await;
    }
}

fn deliver(issuer: &Issuer, rows: Vec<OutcomeRow>) {
    for (number, _, state, result) in rows {
        match JobOutcome::from_row(&state, result) {
            Some(outcome) => issuer.waiters.tell(number, outcome),
            None => tracing::error!(state, "not a state of ours"),
        }
    }
}

/// Hears of new work and of outcomes, until the node stops.
pub(super) async fn listen(shared: Arc<Shared>) {
    shared.stop.run_until_cancelled(listen_on(&shared)).await;
}

async fn listen_on(shared: &Shared) {
    let outcomes = format!("jobs_outcome_{}", shared.id);
    loop {
        match hear(shared, &outcomes).await {
            Ok(()) => tracing::debug!("the listening connection ended"),
            Err(error) => tracing::debug!(%error, "cannot listen; nodes look by themselves"),
        }
        sleep(RETRY).await;
    }
}

/// Ends with the connection.
async fn hear(shared: &Shared, outcomes: &str) -> Result<(), sqlx::Error> {
    const CONNECT: Duration = Duration::from_secs(10);
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(CONNECT);
    let pool = pool.connect_lazy_with(shared.database.options().clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    // A reconnect would hide that notifications were missed.
    listener.eager_reconnect(false);
    let listening = timeout(CONNECT, listener.listen_all(["jobs_ready", outcomes]));
    listening.await.map_err(|elapsed| sqlx::Error::Io(std::io::Error::from(elapsed)))??;
    // What was announced before.
    shared.roster.wake();
    shared.issuer.look();
    while let Some(heard) = listener.try_recv().await? {
        if heard.channel() == outcomes { shared.issuer.look() } else { shared.roster.wake() }
    }
    Ok(())
}
