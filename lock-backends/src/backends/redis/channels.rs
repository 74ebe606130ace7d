//! Who waits on which channel, and the pushes that wake them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use redis::aio::SendError;
use redis::{PushInfo, PushKind, Value};
use tokio::sync::{OnceCell, watch};

/// The subscriptions of one node.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_name: Mutex<HashMap<Arc<str>, Channel>>,
    /// Held while a subscription changes, so that an UNSUBSCRIBE cannot overtake the next SUBSCRIBE.
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
    name: Arc<str>,
    wake: watch::Receiver<u64>,
    subscribed: Arc<OnceCell<()>>,
}

impl Channels {
    /// Joins the waiters of a channel that this node knows already.
    pub(super) fn join(self: &Arc<Self>, name: &str) -> Option<Listener> {
        let mut by_name = self.lock();
        let (name, channel) = (Arc::clone(by_name.get_key_value(name)?.0), by_name.get_mut(name)?);
        Some(channel.join(Arc::clone(self), name))
    }

    /// Joins the waiters of a channel. Not yet subscribed unless [`Listener::subscribed`] is set.
    pub(super) fn listen(self: &Arc<Self>, name: String) -> Listener {
        let name: Arc<str> = name.into();
        let mut by_name = self.lock();
        by_name.entry(Arc::clone(&name)).or_default().join(Arc::clone(self), name)
    }

    /// Forgets the channels on which nobody waited since the last call, and returns those that are
    /// subscribed. To be called with `order` held.
    pub(super) fn take_idle(&self) -> Vec<String> {
        let mut idle = Vec::new();
        self.lock().retain(|name, channel| {
            if channel.waiters > 0 {
                return true;
            }
            if !channel.idle {
                channel.idle = true;
                return true;
            }
            idle.push(name.to_string());
            false
        });
        idle
    }

    /// Takes what the connection pushes. Must not block it.
    pub(super) fn push(&self, push: &PushInfo) -> Result<(), SendError> {
        match (&push.kind, push.data.first()) {
            (PushKind::Message, Some(Value::BulkString(name))) => {
                if let Ok(name) = std::str::from_utf8(name)
                    && let Some(channel) = self.lock().get(name)
                {
                    channel.wake.send_modify(|messages| *messages += 1);
                }
            }
            // A message may have been missed: everybody tries.
            (PushKind::Disconnection, _) => {
                self.connection.fetch_add(1, Ordering::AcqRel);
                for channel in self.lock().values() {
                    channel.wake.send_modify(|messages| *messages += 1);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Which connection this is: commands on one are executed in their order.
    pub(super) fn connection(&self) -> u64 {
        self.connection.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Channel>> {
        self.by_name.lock().expect("nothing panics while the channels are locked")
    }
}

impl Channel {
    fn join(&mut self, channels: Arc<Channels>, name: Arc<str>) -> Listener {
        self.waiters += 1;
        self.idle = false;
        Listener { channels, name, wake: self.wake.subscribe(), subscribed: Arc::clone(&self.subscribed) }
    }
}

impl Listener {
    pub(super) fn name(&self) -> &str {
        &self.name
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
        let mut by_name = self.channels.lock();
        let Entry::Occupied(mut channel) = by_name.entry(Arc::clone(&self.name)) else { return };
        channel.get_mut().waiters -= 1;
        // Never subscribed, so there is nothing to keep: an uncontended lock leaves no trace here.
        if channel.get().waiters == 0 && !self.subscribed.initialized() {
            channel.remove();
        }
    }
}
