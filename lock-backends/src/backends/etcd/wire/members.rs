//! The members of the cluster, of which a session talks to one at a time, and to the next when that one does not answer.
//!
//! The library's own channel over several endpoints spreads requests at random and goes on sending its share to a member
//! that is dead or stands still: a third of all renewals would fail for as long as that lasts.

use etcd_client::{Client, ConnectOptions};
use tokio::sync::watch;

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

    pub(super) fn count(&self) -> u32 {
        self.clients.len() as u32
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
