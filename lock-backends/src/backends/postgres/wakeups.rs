//! Who waits for which key on this node, and the connection that hears of released keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPool};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{close, listener};
use crate::backends::common::{CONNECT_TIMEOUT, RELISTEN_DELAY, lock};

/// Wakes the waiters of this node, by key.
#[derive(Debug, Default)]
pub(in crate::backends) struct Wakeups {
    waiting: Mutex<HashMap<i64, Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    notify: Arc<Notify>,
    waiters: usize,
}

/// A place among those that wait for a key; dropping it gives the place up.
#[derive(Debug)]
pub(in crate::backends) struct Waiter<'a> {
    wakeups: &'a Wakeups,
    key: i64,
    notify: Arc<Notify>,
}

impl Wakeups {
    /// Joins those who are woken for `key`.
    pub(in crate::backends) fn waiter(&self, key: i64) -> Waiter<'_> {
        let mut waiting = self.lock();
        let entry = waiting.entry(key).or_default();
        entry.waiters += 1;
        Waiter { wakeups: self, key, notify: entry.notify.clone() }
    }

    /// Whether anybody here waits for `key`.
    pub(in crate::backends) fn awaits(&self, key: i64) -> bool {
        self.lock().contains_key(&key)
    }

    /// `key` may be free.
    pub(in crate::backends) fn wake(&self, key: i64) {
        if let Some(entry) = self.lock().get(&key) {
            entry.notify.notify_waiters();
        }
    }

    fn wake_all(&self) {
        self.lock().values().for_each(|entry| entry.notify.notify_waiters());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i64, Waiting>> {
        lock(&self.waiting)
    }
}

impl Waiter<'_> {
    /// Completes when the key may be free. Enable it before trying the key.
    pub(in crate::backends) fn woken(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.wakeups.lock();
        if let Some(entry) = waiting.get_mut(&self.key) {
            entry.waiters -= 1;
            if entry.waiters == 0 {
                waiting.remove(&self.key);
            }
        }
    }
}

/// A connection that hears the announcements.
pub(in crate::backends) type Listening = (PgPool, PgListener);

/// Opens the listening connection.
pub(in crate::backends) async fn listen(options: &PgConnectOptions) -> Result<Listening, sqlx::Error> {
    let (pool, mut listener) = listener(options).await?;
    timeout(CONNECT_TIMEOUT, listener.listen("lockbench"))
        .await
        .map_err(|elapsed| sqlx::Error::Io(std::io::Error::from(elapsed)))??;
    Ok((pool, listener))
}

/// Wakes waiters until the session is lost. This connection holds no locks, so it is replaced when it fails; what was
/// announced meanwhile is made up for by waking everybody.
pub(in crate::backends) async fn run(
    wakeups: Arc<Wakeups>,
    first: Listening,
    options: PgConnectOptions,
    lost: CancellationToken,
) {
    let mut listening = Some(first);
    loop {
        if let Some((pool, mut listener)) = listening.take() {
            wakeups.wake_all();
            while let Some(Ok(Some(announced))) = lost.run_until_cancelled(listener.try_recv()).await {
                match announced.payload().parse() {
                    Ok(key) => wakeups.wake(key),
                    Err(_) => tracing::warn!(payload = announced.payload(), "not an announcement of ours"),
                }
            }
            drop(listener);
            close(pool).await;
        }
        match lost.run_until_cancelled(listen(&options)).await {
            None => return,
            Some(Ok(again)) => listening = Some(again),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot listen for released keys; waiters poll");
                lost.run_until_cancelled(sleep(RELISTEN_DELAY)).await;
            }
        }
    }
}
