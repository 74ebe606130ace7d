//! Where others connect: strangers wait outside while many are at the door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;

/// Connections that have not shaken hands. More wait to be accepted, nodes among them; half as long as a node has
/// patience, since a stranger's time is up then.
const STRANGERS: usize = 256;

/// Pause after an accept that failed, which happens when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A listener that accepts no more strangers than it has room for.
#[derive(Debug)]
pub(super) struct Door {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Door {
    pub(super) fn of(listener: TcpListener) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(STRANGERS)) }
    }

    /// The next connection, who has it, and its place, to be given back when it has shaken hands. Cancel safe.
    pub(super) async fn next(&self) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        let permit = Arc::clone(&self.room).acquire_owned().await.expect("nobody closes it");
        loop {
            match self.listener.accept().await {
                Ok((stream, from)) => return (stream, from, permit),
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}
