//! A link that can be slow, cut or reset: a TCP proxy between a client and its server.
//!
//! ```text
//! client ──▶ link ──▶ target
//!        ◀──      ◀──          each way has its own delay, and may be cut alone
//! ```
//!
//! A cut holds bytes back and keeps connections open, as a broken network does; when it is restored they arrive late, as
//! after TCP has sent them again. A reset ends connections, and what was on the way is lost.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use crate::model::{Direction, FaultVerb};

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// Chunks that may be on the way; then the sender waits, as with a full window.
const ON_THE_WAY: usize = 256;

/// Pause after an accept that failed, which happens when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// One way of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Way {
    /// How long bytes are on the way.
    pub delay: Duration,
    /// Whether they get through.
    pub flow: Flow,
}

/// Whether bytes get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// They do.
    #[default]
    Open,
    /// They wait until the way is restored.
    Cut,
}

/// Both ways of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ways {
    /// From the client to the target.
    pub to: Way,
    /// From the target to the client.
    pub back: Way,
}

impl Ways {
    /// The same delay each way.
    #[must_use]
    pub fn delayed(delay: Duration) -> Self {
        let way = Way { delay, flow: Flow::Open };
        Self { to: way, back: way }
    }

    /// Its ways while a fault lasts.
    fn struck(self, verb: FaultVerb) -> Self {
        let (way, change): (_, &dyn Fn(Way) -> Way) = match &verb {
            FaultVerb::Cut { way } => (way, &|way| Way { flow: Flow::Cut, ..way }),
            FaultVerb::Slow { way, delay_ns } => {
                (way, &|way| Way { delay: Duration::from_nanos(*delay_ns), ..way })
            }
            _ => return self,
        };
        match way {
            Direction::Both => Self { to: change(self.to), back: change(self.back) },
            Direction::ToServer => Self { to: change(self.to), ..self },
            Direction::FromServer => Self { back: change(self.back), ..self },
        }
    }
}

/// A proxy before one target, for any number of connections. Dropping it closes them.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    usual: Ways,
    ways: watch::Sender<Ways>,
    /// Cancelled, and replaced, at a reset.
    connections: watch::Sender<CancellationToken>,
    /// Where new connections lead.
    target: watch::Sender<SocketAddr>,
    /// The task that accepts; it owns those of the connections.
    _accepting: JoinSet<()>,
}

impl Link {
    /// Listens, and passes on to the target with the delays that are usual on this link.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn open(listen: SocketAddr, target: SocketAddr, usual: Ways, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let ways = watch::Sender::new(usual);
        let connections = watch::Sender::new(CancellationToken::new());
        let target = watch::Sender::new(target);
        let accepting = Accepting {
            target: target.subscribe(),
            clock,
            ways: ways.subscribe(),
            connections: connections.subscribe(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(accepting.run(listener));
        Ok(Self { address, usual, ways, connections, target, _accepting: tasks })
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes both ways, for connections that are open, too.
    pub fn set(&self, ways: Ways) {
        self.ways.send_replace(ways);
    }

    /// As the link usually is.
    #[must_use]
    pub fn usual(&self) -> Ways {
        self.usual
    }

    /// Resets all open connections; new ones are passed on.
    pub fn reset(&self) {
        self.connections.send_replace(CancellationToken::new()).cancel();
    }

    /// Leads elsewhere from now on, as an address does that another machine took over: open connections are reset.
    pub fn turn_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
        self.reset();
    }

    /// Breaks it as a fault says.
    pub fn strike(&self, verb: FaultVerb) {
        match verb {
            FaultVerb::Reset => self.reset(),
            verb => self.set(self.usual.struck(verb)),
        }
    }
}

struct Accepting {
    target: watch::Receiver<SocketAddr>,
    clock: Clock,
    ways: watch::Receiver<Ways>,
    connections: watch::Receiver<CancellationToken>,
}

impl Accepting {
    async fn run(self, listener: TcpListener) {
        let mut tasks = JoinSet::new();
        loop {
            let Ok((client, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let reset = self.connections.borrow().clone();
            let target = *self.target.borrow();
            tasks.spawn(connect(client, target, self.ways.clone(), self.clock.clone(), reset));
            while tasks.try_join_next().is_some() {}
        }
    }
}

/// Serves one connection until both ways have ended, or it is reset.
async fn connect(
    client: TcpStream,
    target: SocketAddr,
    ways: watch::Receiver<Ways>,
    clock: Clock,
    reset: CancellationToken,
) {
    let ended = async {
        let (mut client, mut server) = (client, TcpStream::connect(target).await?);
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let there = pass(from_client, to_server, ways.clone(), |ways| ways.to, &clock);
        let back = pass(from_server, to_client, ways.clone(), |ways| ways.back, &clock);
        let passing = async { tokio::try_join!(there, back).map(drop) };
        let ended = reset.run_until_cancelled(passing).await;
        if ended.is_none() {
            // Closed without the good order in which what was sent still arrives.
            client.set_zero_linger()?;
            server.set_zero_linger()?;
        }
        ended.unwrap_or(Ok(()))
    };
    if let Err(error) = ended.await {
        tracing::debug!(%error, %target, "a connection over a link ended");
    }
}

/// Passes bytes on, each after the delay of its way, and the end after them.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut ways: watch::Receiver<Ways>,
    way: fn(&Ways) -> Way,
    clock: &Clock,
) -> io::Result<()> {
    let (sender, mut on_the_way) = mpsc::channel(ON_THE_WAY);
    let seen = ways.clone();
    let reading = async move {
        loop {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            let ended = from.read_buf(&mut chunk).await? == 0;
            let due_ns = clock.now_ns() + way(&seen.borrow()).delay.as_nanos() as u64;
            // The other end takes in until it hears of the end.
            if sender.send((due_ns, chunk)).await.is_err() || ended {
                return io::Result::Ok(());
            }
        }
    };
    let writing = async move {
        while let Some((due_ns, chunk)) = on_the_way.recv().await {
            clock.sleep_until(due_ns).await;
            let open = ways.wait_for(|ways| way(ways).flow == Flow::Open).await;
            open.map_err(|_| io::Error::other("the link was closed"))?;
            if chunk.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(drop)
}

/// The links between the nodes of a run and the contender's server: one for each node and each member.
#[derive(Debug)]
pub struct Links(Vec<Vec<Link>>);

impl Links {
    /// Each on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub async fn open(nodes: u16, members: &[SocketAddr], usual: Ways, clock: &Clock) -> io::Result<Self> {
        let mut links = Vec::new();
        for _ in 0..nodes {
            let mut of_node = Vec::new();
            for member in members {
                let listen = ([127, 0, 0, 1], 0).into();
                of_node.push(Link::open(listen, *member, usual, clock.clone()).await?);
            }
            links.push(of_node);
        }
        Ok(Self(links))
    }

    /// The links of each node, by number, in the order of the members.
    pub fn iter(&self) -> impl Iterator<Item = &[Link]> {
        self.0.iter().map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::task::TaskTracker;

    /// A server that says everything back, and a link before it.
    async fn echo(usual: Ways) -> (Link, Clock, TaskTracker) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (target, clock, tasks) =
            (listener.local_addr().unwrap(), Clock::real().unwrap(), TaskTracker::new());
        let echoes = tasks.clone();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                echoes.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        let link = Link::open(([127, 0, 0, 1], 0).into(), target, usual, clock.clone()).await.unwrap();
        (link, clock, tasks)
    }

    async fn round(stream: &mut TcpStream, text: &str) {
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut heard = vec![0; text.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, text.as_bytes());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bytes_arrive_in_order_and_not_before_their_delay() {
        let (link, clock, _echo) = echo(Ways::delayed(Duration::from_millis(20))).await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        let start_ns = clock.now_ns();
        round(&mut stream, "first").await;
        assert!(clock.now_ns() - start_ns >= 40_000_000, "20 ms there and 20 ms back");
        let long = "0123456789".repeat(20_000);
        let (mut from, mut to) = stream.into_split();
        let (sent, heard) = tokio::join!(
            async {
                to.write_all(long.as_bytes()).await.unwrap();
                to.shutdown().await
            },
            async {
                let mut heard = String::new();
                from.read_to_string(&mut heard).await.map(|_| heard)
            }
        );
        sent.unwrap();
        assert_eq!(heard.unwrap(), long, "the end comes after the bytes");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_cut_way_holds_bytes_back_until_it_is_restored_and_the_other_goes_on() {
        for (cut_to, cut_back) in [(true, false), (false, true), (true, true)] {
            let (link, _clock, _echo) = echo(Ways::default()).await;
            let mut stream = TcpStream::connect(link.address()).await.unwrap();
            round(&mut stream, "before").await;
            let way = |cut| Way { flow: if cut { Flow::Cut } else { Flow::Open }, ..Way::default() };
            link.set(Ways { to: way(cut_to), back: way(cut_back) });
            stream.write_all(b"held").await.unwrap();
            let mut heard = [0; 4];
            let silent =
                tokio::time::timeout(Duration::from_millis(200), stream.read_exact(&mut heard)).await;
            assert!(silent.is_err(), "{cut_to} {cut_back}");
            link.set(link.usual());
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"held");
            round(&mut stream, "after").await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_link_that_is_turned_elsewhere_takes_nobody_along() {
        let (link, _clock, _echo) = echo(Ways::default()).await;
        let (other, _, _other_echo) = echo(Ways::default()).await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        round(&mut stream, "before").await;
        link.turn_to(other.address());
        assert!(matches!(stream.read(&mut [0; 1]).await, Err(_) | Ok(0)));
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        round(&mut stream, "elsewhere").await;
        other.reset();
        assert!(matches!(stream.read(&mut [0; 1]).await, Err(_) | Ok(0)), "it led over the other");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reset_ends_open_connections_and_new_ones_pass() {
        let (link, _clock, _echo) = echo(Ways::default()).await;
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        round(&mut stream, "before").await;
        link.reset();
        assert!(matches!(stream.read(&mut [0; 1]).await, Err(_) | Ok(0)));
        let mut stream = TcpStream::connect(link.address()).await.unwrap();
        round(&mut stream, "after").await;
        let address = link.address();
        drop(link);
        assert!(matches!(stream.read(&mut [0; 1]).await, Err(_) | Ok(0)));
        for _ in 0..1_000 {
            if TcpStream::connect(address).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("somebody still listens");
    }
}
