//! Membership of the ring through heartbeats in PostgreSQL: who is silent for too long is evicted by the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use harness::servers::Endpoint;
use queue_lockfree::postgres::{PgMember, PgMemberOptions};
use queue_lockfree::{HashKind, Member, Membership};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// After how long a member is suspected where the intervals are those of the original.
const SUSPECTED: Duration = Duration::from_secs(30);

/// For all nodes of the run to have heard of each other.
const GATHERED: Duration = Duration::from_secs(20);

/// Until a node that could not come back tries again.
const AGAIN: Duration = Duration::from_millis(100);

/// The nodes of this process in the table of members. One that was evicted, or cannot reach the table, stops itself, and
/// comes back as one whose supervisor starts it again; but it has forgotten nothing, and what runs there goes on.
#[derive(Debug)]
pub(super) struct Heartbeats {
    end: CancellationToken,
    keepers: Mutex<JoinSet<()>>,
}

/// A node, as it enters the table.
#[derive(Debug)]
pub(super) struct Entrant {
    /// Of the database, as this node reaches it.
    pub(super) url: Endpoint,
    pub(super) member: Member,
    /// Where its views go.
    pub(super) membership: Membership,
    /// Set while it has stopped itself.
    pub(super) stopped: Arc<AtomicBool>,
}

impl Heartbeats {
    /// Enters the nodes; a member is suspected after `detect`.
    pub(super) async fn start(entrants: Vec<Entrant>, detect: Duration) -> anyhow::Result<Self> {
        let (end, mut keepers) = (CancellationToken::new(), JoinSet::new());
        let factor = detect.as_secs_f64() / SUSPECTED.as_secs_f64();
        for Entrant { url, member, membership, stopped } in entrants {
            let id = member.id;
            let url = url.as_str().to_owned();
            let options = PgMemberOptions { url, member, membership, hash: HashKind::Mixed, factor };
            let joined = PgMember::join(options.clone()).await;
            let joined =
                joined.with_context(|| format!("ring: node {id} cannot enter the table of members"))?;
            keepers.spawn(keep(options, joined, stopped, end.clone()));
        }
        Ok(Self { end, keepers: Mutex::new(keepers) })
    }

    /// Takes the nodes out of the table.
    pub(super) async fn leave(&self) {
        self.end.cancel();
        let mut keepers = self.keepers.lock().await;
        while keepers.join_next().await.is_some() {}
    }
}

/// Waits until a view has so many members: a run starts when all its nodes know each other.
pub(super) async fn gathered(membership: &Membership, nodes: usize) -> anyhow::Result<()> {
    let mut changes = membership.subscribe();
    let all = async {
        while membership.view().members().len() < nodes {
            changes.changed().await.context("ring: the membership ended")?;
        }
        anyhow::Ok(())
    };
    let late = || format!("ring: {nodes} nodes did not find each other within {} s", GATHERED.as_secs());
    timeout(GATHERED, all).await.with_context(late)?
}

async fn keep(
    options: PgMemberOptions,
    mut member: PgMember,
    stopped: Arc<AtomicBool>,
    end: CancellationToken,
) {
    while end.run_until_cancelled(member.stopped().cancelled()).await.is_some() {
        stopped.store(true, Ordering::Release);
        let id = options.member.id;
        let back = async {
            loop {
                match PgMember::join(options.clone()).await {
                    Ok(back) => return back,
                    Err(error) => tracing::warn!(node = %id, %error, "an evicted node cannot come back"),
                }
                sleep(AGAIN).await;
            }
        };
        let Some(back) = end.run_until_cancelled(back).await else { return };
        member = back;
        stopped.store(false, Ordering::Release);
    }
    if let Err(error) = member.leave().await {
        tracing::warn!(node = %options.member.id, %error, "a node did not leave in good order");
    }
}
