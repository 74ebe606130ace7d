//! A TCP link to the server that fails on command: it swallows everything, as a broken network does, or is
//! cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    Swallowing,
    Cut,
}

/// Dropping it cuts everything.
pub(crate) struct Link {
    state: watch::Sender<State>,
    _tasks: JoinSet<()>,
}

impl Link {
    /// A link to the server of this address, and the address that leads through the link.
    pub(crate) async fn to(endpoint: &str) -> (Self, String) {
        let start = endpoint.find("127.0.0.1:").expect("servers of the tests listen on loopback");
        let rest = &endpoint[start..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
        let server: SocketAddr = rest[..end].parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = endpoint.replace(&rest[..end], &listener.local_addr().unwrap().to_string());
        let state = watch::Sender::new(State::Up);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, state.subscribe()));
        (Self { state, _tasks: tasks }, through)
    }

    /// From now on nothing arrives, in either direction; what is sent waits.
    pub(crate) fn swallow(&self) {
        self.state.send_replace(State::Swallowing);
    }

    /// Closes what is open and refuses what is new.
    pub(crate) fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// Everything passes again; what was swallowed arrives late.
    pub(crate) fn restore(&self) {
        self.state.send_replace(State::Up);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, state: watch::Receiver<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(connect(client, server, state.clone()));
    }
}

async fn connect(client: TcpStream, server: SocketAddr, mut state: watch::Receiver<State>) {
    if state.wait_for(|state| *state != State::Swallowing).await.is_ok_and(|state| *state == State::Cut) {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = carry(from_client, to_server, state.clone()) => {}
        () = carry(from_server, to_client, state.clone()) => {}
        _ = state.wait_for(|state| *state == State::Cut) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(n) = from.read(&mut buffer).await else { return };
        // Also the end of a connection is swallowed.
        if state.wait_for(|state| *state != State::Swallowing).await.is_err() || n == 0 {
            return;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
