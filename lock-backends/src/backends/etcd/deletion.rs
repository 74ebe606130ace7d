//! How the deletion of a key is heard of, without missing one from before the watch.

use std::time::Duration;

use tokio::sync::watch;

use super::requests::{Change, ChangeKind, Followed, Follower, Following, Read, Requests};

/// One key under watch; dropping it ends the watch.
pub(super) struct Watch {
    seen: watch::Receiver<Seen>,
    /// Dropped with it.
    _following: Following,
}

/// What a watch has seen so far.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    /// The server watches.
    opened: bool,
    /// Revision of the last deletion, 0 before there was one.
    deleted: i64,
    /// Revision of the last put.
    put: i64,
}

impl Follower for watch::Sender<Seen> {
    fn hear(&mut self, changes: &[Change]) {
        self.send_modify(|seen| {
            seen.opened = true;
            for change in changes {
                let last = match change.kind {
                    ChangeKind::Deleted => &mut seen.deleted,
                    ChangeKind::Put { .. } => &mut seen.put,
                };
                *last = change.revision.max(*last);
            }
        });
    }
}

impl Watch {
    /// Watches a key from when the server hears of it. `None`: the session ended.
    async fn of(requests: &dyn Requests, key: &str) -> Option<Self> {
        let (news, seen) = watch::channel(Seen::default());
        let following = requests.follow(Followed::One(key.to_owned()), Box::new(news)).await?;
        Some(Self { seen, _following: following })
    }

    /// Waits until the server watches: it tells of whatever is deleted from then on. False: the watch ended.
    async fn opened(&mut self) -> bool {
        self.seen.wait_for(|seen| seen.opened).await.is_ok()
    }

    /// Waits for a deletion later than `revision`. False: the watch ended, and the key has to be looked at again.
    async fn deleted_after(&mut self, revision: i64) -> bool {
        self.seen.wait_for(|seen| seen.deleted > revision).await.is_ok()
    }

    /// Revision of the put after the last deletion, if there was one by now.
    pub(super) fn put_again(&self) -> Option<i64> {
        let Seen { deleted, put, .. } = *self.seen.borrow();
        (put > deleted).then_some(put)
    }
}

/// Waits for a deletion of the key after that revision, on `watch` if there is one. False: the watch ended, and the key has to
/// be looked at again. `limit` is that of the read. Whoever drops it starts without a watch again.
pub(super) async fn deletion(
    requests: &dyn Requests,
    key: &str,
    revision: i64,
    watch: &mut Option<Watch>,
    limit: Duration,
) -> bool {
    let asked = watch.is_none();
    if asked {
        *watch = Watch::of(requests, key).await;
    }
    let Some(watching) = watch else { return false };
    let deleted = match asked {
        false => watching.deleted_after(revision).await,
        // A read tells what came before the watch.
        true => {
            watching.opened().await
                && match requests.read(Read::key(key), limit).await.map(|keys| keys.into_iter().next()) {
                    Ok(Some(there)) if there.created <= revision => watching.deleted_after(revision).await,
                    gone => gone.is_ok(),
                }
        }
    };
    if !deleted {
        *watch = None;
    }
    deleted
}
