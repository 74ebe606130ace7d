//! A TCP link to the server that fails on command: it swallows everything, as a broken network does, is
//! cut, or damages what the server answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use harness::damage::Damage;

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

/// Damages answers.
#[derive(Clone)]
pub(crate) struct Liar {
    damage: Arc<Mutex<Damage>>,
    /// The first answers, the greeting of the server among them, pass as they are.
    spared: Arc<AtomicU64>,
    /// Answers that were damaged, over all that share the count.
    damaged: Arc<AtomicU64>,
}

impl Liar {
    pub(crate) fn new(seed: u64, damaged: Arc<AtomicU64>) -> Self {
        let mut damage = Damage::of(seed);
        let spared = if damage.once_in(3) { 0 } else { damage.below(40) as u64 };
        Self { damage: Arc::new(Mutex::new(damage)), spared: Arc::new(spared.into()), damaged }
    }

    fn lie(&self, answer: &mut Vec<u8>) {
        let spared =
            self.spared.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let mut damage = self.damage.lock().unwrap();
        if spared.is_ok() || !damage.once_in(2) {
            return;
        }
        match String::from_utf8(std::mem::take(answer)) {
            // Numbers that are texts have other lengths when they are great.
            Ok(mut text) if damage.once_in(2) => {
                damage.text(
                    &mut text,
                    &["-1", "$-1\r\n", "*3\r\n", "\r\n", "+OK\r\n", "PONG\r\n", "-ERR no\r\n", "null"],
                );
                *answer = text.into_bytes();
            }
            text => {
                *answer = text.map_or_else(|error| error.into_bytes(), String::into_bytes);
                damage.bytes(answer);
            }
        }
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }
}

impl Link {
    /// A link to the server of this address, and the address that leads through the link.
    pub(crate) async fn to(endpoint: &str) -> (Self, String) {
        Self::with(endpoint, None).await
    }

    /// The same; what comes back over it is damaged.
    pub(crate) async fn lying(endpoint: &str, liar: Liar) -> (Self, String) {
        Self::with(endpoint, Some(liar)).await
    }

    async fn with(endpoint: &str, liar: Option<Liar>) -> (Self, String) {
        let start = endpoint.find("127.0.0.1:").expect("servers of the tests listen on loopback");
        let rest = &endpoint[start..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
        let server: SocketAddr = rest[..end].parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let through = endpoint.replace(&rest[..end], &listener.local_addr().unwrap().to_string());
        let state = watch::Sender::new(State::Up);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, server, state.subscribe(), liar));
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

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    state: watch::Receiver<State>,
    liar: Option<Liar>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(connect(client, server, state.clone(), liar.clone()));
    }
}

async fn connect(
    client: TcpStream,
    server: SocketAddr,
    mut state: watch::Receiver<State>,
    liar: Option<Liar>,
) {
    if state.wait_for(|state| *state != State::Swallowing).await.is_ok_and(|state| *state == State::Cut) {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::select! {
        () = carry(from_client, to_server, state.clone(), None) => {}
        () = carry(from_server, to_client, state.clone(), liar) => {}
        _ = state.wait_for(|state| *state == State::Cut) => {}
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    liar: Option<Liar>,
) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(n) = from.read(&mut buffer).await else { return };
        // Also the end of a connection is swallowed.
        if state.wait_for(|state| *state != State::Swallowing).await.is_err() || n == 0 {
            return;
        }
        let mut chunk = buffer[..n].to_vec();
        if let Some(liar) = &liar {
            liar.lie(&mut chunk);
        }
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}
