//! The members of the cluster, of which a session talks to one at a time, and to the next when that one does not answer.
//!
//! The library's own channel over several endpoints spreads requests at random and goes on sending its share to a member
//! that is dead or stands still: a third of all renewals would fail for as long as that lasts.

use std::time::Duration;

use etcd_client::{Client, ConnectOptions, PutOptions};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::RETRY_DELAY;
use crate::backends::common::CONNECT_TIMEOUT;
use crate::session::SessionOptions;

pub(super) struct Members {
    clients: Vec<Client>,
    /// Place of the one that is talked to.
    current: watch::Sender<usize>,
}

impl Members {
    /// Connects to nobody yet: that comes with the first request. Sessions of different names start at different members.
    pub(super) async fn new(
        endpoints: &[String],
        options: &ConnectOptions,
        name: &str,
    ) -> Result<Self, etcd_client::Error> {
        let mut clients = Vec::new();
        for endpoint in endpoints {
            clients.push(Client::connect([endpoint], Some(options.clone())).await?);
        }
        let first = name.bytes().map(usize::from).sum::<usize>() % clients.len().max(1);
        Ok(Self { clients, current: watch::Sender::new(first) })
    }

    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// Has the first member that does it open a session; with several they are asked again and again, since an election may
    /// be on. Bounded by the caller.
    pub(super) async fn open_session(
        &self,
        asked_s: i64,
        options: &SessionOptions,
    ) -> Result<Opened, etcd_client::Error> {
        loop {
            let (place, client) = self.current();
            match timeout(CONNECT_TIMEOUT / self.count() as u32, Opened::by(client, asked_s, options)).await {
                Ok(Ok(opened)) => return Ok(opened),
                Ok(Err(error)) if self.count() == 1 => return Err(error),
                Ok(Err(_)) => sleep(RETRY_DELAY).await,
                Err(_) => {}
            }
            self.leave(place);
        }
    }

    /// The one to talk to, and its place.
    pub(super) fn current(&self) -> (usize, &Client) {
        let place = *self.current.borrow();
        (place, &self.clients[place])
    }

    /// The member at this place did not answer: on to the next, unless somebody has moved on already.
    pub(super) fn leave(&self, place: usize) {
        self.current.send_if_modified(|current| {
            let moves = *current == place && self.clients.len() > 1;
            if moves {
                *current = (place + 1) % self.clients.len();
            }
            moves
        });
    }

    /// Completes when the member at this place is not the one to talk to any more.
    pub(super) async fn left(&self, place: usize) {
        let mut current = self.current.subscribe();
        current.wait_for(|current| *current != place).await.expect("the sender lives as long as this");
    }
}

/// What a session begins with.
pub(super) struct Opened {
    /// Stamp of the request that granted the lease.
    pub(super) sent_ns: u64,
    pub(super) lease: i64,
    pub(super) ttl: Duration,
    pub(super) fence_key: String,
    /// Revision of that key.
    pub(super) fence: i64,
}

impl Opened {
    /// Has a lease granted and puts the session's own key on it.
    async fn by(client: &Client, asked_s: i64, options: &SessionOptions) -> Result<Self, etcd_client::Error> {
        let sent_ns = options.now.now_ns();
        let granted = client.lease_client().grant(asked_s, None).await?;
        let (lease, ttl) = (granted.id(), Duration::from_secs(granted.ttl().unsigned_abs()));
        let fence_key = format!("lockbench/session/{:x}", lease.cast_unsigned());
        let put = PutOptions::new().with_lease(lease);
        let written = client.kv_client().put(fence_key.clone(), options.node.as_str(), Some(put)).await?;
        let fence = written.header().map_or(0, |header| header.revision());
        Ok(Self { sent_ns, lease, ttl, fence_key, fence })
    }
}
