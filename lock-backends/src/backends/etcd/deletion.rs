//! How the deletion of a key is heard of, without missing one from before the watch.

use std::time::Duration;

use super::requests::{Read, Requests, Watch};

/// Waits for a deletion of the key after that revision, on `watch` if there is one. False: the watch ended, and the key has to
/// be looked at again. `limit` is that of the read. Cancel safe: an unfinished watch is kept.
pub(super) async fn deletion(
    requests: &dyn Requests,
    key: &str,
    revision: i64,
    watch: &mut Option<Watch>,
    limit: Duration,
) -> bool {
    let asked = watch.is_none();
    if asked {
        *watch = requests.watch(key).await;
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
