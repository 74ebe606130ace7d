//! Who waits for the release of which key, and the messages that wake them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OnceCell, watch};

use super::requests::{Heard, Hears};
use crate::backends::common::lock;

/// The subscriptions of one node.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_key: Mutex<HashMap<Arc<str>, Channel>>,
    /// Held while a subscription changes, so that unsubscribing cannot overtake the next subscription.
    pub(super) order: tokio::sync::Mutex<()>,
    /// Counts connections: rises when one is lost.
    connection: AtomicU64,
}

/// Invariant: in the table while `waiters > 0`.
#[derive(Debug, Default)]
struct Channel {
    /// Carries a number that rises with each message and each lost connection.
    wake: watch::Sender<u64>,
    subscribed: Arc<OnceCell<()>>,
    waiters: usize,
    /// Nobody waited at the last look.
    idle: bool,
}

/// A waiter on one channel; leaves on drop.
#[derive(Debug)]
pub(super) struct Listener {
    channels: Arc<Channels>,
    key: Arc<str>,
    wake: watch::Receiver<u64>,
    subscribed: Arc<OnceCell<()>>,
}

impl Channels {
    /// Joins the waiters of a key whose channel this node knows already.
    pub(super) fn join(self: &Arc<Self>, key: &Arc<str>) -> Option<Listener> {
        Some(self.lock().get_mut(key)?.join(Arc::clone(self), Arc::clone(key)))
    }

    /// Joins the waiters of a key. Not yet subscribed unless [`Listener::subscribed`] is set.
    pub(super) fn listen(self: &Arc<Self>, key: &Arc<str>) -> Listener {
        let mut by_key = self.lock();
        by_key.entry(Arc::clone(key)).or_default().join(Arc::clone(self), Arc::clone(key))
    }

    /// Forgets the channels on which nobody waited since the last call, and returns the keys of those that are
    /// subscribed. To be called with `order` held.
    pub(super) fn take_idle(&self) -> Vec<Arc<str>> {
        let mut idle = Vec::new();
        self.lock().retain(|key, channel| {
            if channel.waiters > 0 {
                return true;
            }
            if !channel.idle {
                channel.idle = true;
                return true;
            }
            idle.push(Arc::clone(key));
            false
        });
        idle
    }

    /// Which connection this is: commands on one are executed in their order.
    pub(super) fn connection(&self) -> u64 {
        self.connection.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Channel>> {
        lock(&self.by_key)
    }
}

impl Hears for Channels {
    fn hear(&self, heard: Heard<'_>) {
        match heard {
            Heard::Released { key } => {
                if let Some(channel) = self.lock().get(key) {
                    channel.wake.send_modify(|messages| *messages += 1);
                }
            }
            // A message may have been missed: everybody tries.
            Heard::Disconnected => {
                self.connection.fetch_add(1, Ordering::AcqRel);
                let by_key = self.lock();
                // In an order that is the same every time.
                let mut channels: Vec<_> = by_key.iter().collect();
                channels.sort_by_key(|(key, _)| *key);
                for (_, channel) in channels {
                    channel.wake.send_modify(|messages| *messages += 1);
                }
            }
            Heard::HandedOver(_) => {}
        }
    }
}

impl Channel {
    fn join(&mut self, channels: Arc<Channels>, key: Arc<str>) -> Listener {
        self.waiters += 1;
        self.idle = false;
        Listener { channels, key, wake: self.wake.subscribe(), subscribed: Arc::clone(&self.subscribed) }
    }
}

impl Listener {
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Set once the server confirmed the subscription.
    pub(super) fn subscribed(&self) -> &OnceCell<()> {
        &self.subscribed
    }

    /// What came so far does not wake any more.
    pub(super) fn mark_seen(&mut self) {
        self.wake.mark_unchanged();
    }

    /// Waits for something after the mark. Cancel safe.
    pub(super) async fn woken(&mut self) {
        if self.wake.changed().await.is_err() {
            // The channel outlives its waiters, so this cannot be met.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut by_key = self.channels.lock();
        let Entry::Occupied(mut channel) = by_key.entry(Arc::clone(&self.key)) else { return };
        channel.get_mut().waiters -= 1;
        // Never subscribed, so there is nothing to keep: an uncontended lock leaves no trace here.
        if channel.get().waiters == 0 && !self.subscribed.initialized() {
            channel.remove();
        }
    }
}
