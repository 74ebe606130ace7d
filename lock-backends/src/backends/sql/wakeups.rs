//! Who waits for which key on this node, and the connection that hears of released keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::requests::{Announcements, LeaseServer};
use crate::backends::common::{RELISTEN_DELAY, lock};
use crate::session::SessionOptions;

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

/// Wakes waiters until the session is lost. This connection holds no locks, so it is replaced when it fails; what was
/// announced meanwhile is made up for by waking everybody.
pub(in crate::backends) async fn run(
    wakeups: Arc<Wakeups>,
    first: Box<dyn Announcements>,
    server: Arc<dyn LeaseServer>,
    node: SessionOptions,
    lost: CancellationToken,
) {
    let mut listening = Some(first);
    loop {
        if let Some(mut connection) = listening.take() {
            wakeups.wake_all();
            while let Some(Some(key)) = lost.run_until_cancelled(connection.next()).await {
                wakeups.wake(key);
            }
            connection.close().await;
        }
        let Some(listen) = server.listen(&node) else { return };
        match lost.run_until_cancelled(listen).await {
            None => return,
            Some(Ok(again)) => listening = Some(again),
            Some(Err(error)) => {
                tracing::warn!(%error, "cannot listen for released keys; waiters poll");
                lost.run_until_cancelled(sleep(RELISTEN_DELAY)).await;
            }
        }
    }
}
