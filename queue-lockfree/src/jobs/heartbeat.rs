//! Signs of life, given and looked for, on the database's clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::database::{RETRY, Session, Trouble};
use super::shared::Shared;

/// Beats in the time that a node may be silent for; as the original has it.
const BEATS: u32 = 6;

/// Gives signs of life and looks after those of others, until the node stops.
pub(super) async fn keep(shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    match stop.run_until_cancelled(beat_on(&shared)).await {
        Some(Dead::Evicted) => {
            tracing::warn!(node = shared.options.name, "declared dead by others");
            shared.liveness.evict();
        }
        Some(Dead::Refused(reason)) => shared.liveness.refuse(reason),
        None => {}
    }
}

/// Why a node gives no more signs of life.
enum Dead {
    /// Its row is gone.
    Evicted,
    /// The database does not take them.
    Refused(String),
}

async fn beat_on(shared: &Shared) -> Dead {
    let detect = shared.options.detect;
    let mut session = shared.database.session();
    let mut suspects = Vec::new();
    // From before the last sign of life that arrived was sent.
    let mut heard = Instant::now();
    let mut silent = false;
    loop {
        let sent = Instant::now();
        // A sign of life that comes later than this is none; and one more has to fit before.
        let patience = if silent { sent + detect } else { heard + detect };
        let pause = match timeout_at(patience, session.beat(shared.id, shared.options.retain)).await {
            Ok(Ok(true)) => {
                (heard, silent) = (sent, false);
                match look_around(shared, &mut session, &mut suspects).await {
                    Ok(()) => {}
                    Err(Trouble::Refused(reason)) => return Dead::Refused(reason),
                    Err(trouble) => tracing::debug!(%trouble, "could not look after the others"),
                }
                detect / BEATS
            }
            Ok(Ok(false) | Err(Trouble::Evicted)) => return Dead::Evicted,
            Ok(Err(Trouble::Refused(reason))) => return Dead::Refused(reason),
            Ok(Err(trouble)) => {
                tracing::debug!(%trouble, "gave no sign of life");
                RETRY
            }
            Err(_) => Duration::ZERO,
        };
        if !silent && heard.elapsed() >= detect {
            silent = true;
            tracing::warn!(node = shared.options.name, "was not heard of; others may take its jobs over");
            shared.liveness.lose();
        }
        sleep(pause).await;
    }
}

/// Declares dead who was suspected a round ago and has been silent since; takes over what has no worker.
async fn look_around(
    shared: &Shared,
    session: &mut Session,
    suspects: &mut Vec<(i64, i64)>,
) -> Result<(), Trouble> {
    let (node, form) = (shared.id, shared.options.form);
    let silent = session.suspects(node, shared.options.detect).await?;
    for suspect in silent.iter().filter(|suspect| suspects.contains(suspect)) {
        if session.evict(*suspect, node, form).await? {
            tracing::warn!(node = suspect.0, "was silent for too long and is declared dead");
        }
    }
    *suspects = silent;
    session.take_over(node, form).await?;
    if form.is_sticky() {
        for (queue,) in session.queues(node).await? {
            shared.roster.add(queue);
        }
    }
    // What was taken over may have ended jobs of this node's own, and it does not notify itself.
    shared.issuer.look();
    Ok(())
}
