//! The driver's side: which hosts are there, and which of them takes which node of a run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::keys::{self, KeysError};
use super::line::Line;
use super::lodging::Lodging;
use super::words::{Hello, Offer, Welcome};
use crate::model::Plan;
use crate::placement::door::Door;
use crate::placement::frames::{CONTROL_BYTES, Frames, PROTOCOL_VERSION, STRANGER_BYTES};

/// For the handshakes of whoever connects.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Reasons of refusals that are kept.
const REFUSALS: usize = 100;

/// Connections of nodes that wait for the run to take them.
const INCOMING: usize = 64;

/// For hosts that have gone to be replaced by others, before a run.
const REPLACED: Duration = Duration::from_secs(60);

/// Why there are no hosts.
#[derive(Debug, thiserror::Error)]
pub enum HostsError {
    /// No keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The address cannot be had.
    #[error("cannot listen on {address} for hosts of nodes: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Fewer than are needed.
    #[error("hosts for {wanted} nodes are needed, and there are some for {there}{}", list(.names))]
    TooFew {
        /// So many nodes.
        wanted: u16,
        /// Places of those hosts that are there.
        there: u16,
        /// What they are called.
        names: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// The hosts that have joined. They stay from run to run; when this is dropped, they hear that no more is wanted.
#[derive(Debug)]
pub struct Hosts {
    address: SocketAddr,
    desk: Arc<Desk>,
    _tasks: JoinSet<()>,
}

/// A connection of a node, and whether its host is gone.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(in crate::placement) frames: Frames,
    pub(in crate::placement) from: SocketAddr,
    pub(in crate::placement) gone: CancellationToken,
}

/// Where whoever comes is received.
#[derive(Debug)]
pub(super) struct Desk {
    build: String,
    roster: Mutex<Roster>,
    changed: watch::Sender<()>,
    /// Where connections of nodes go: to the run that goes on.
    incoming: Mutex<Option<mpsc::Sender<Incoming>>>,
    refused: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct Roster {
    next: u32,
    hosts: BTreeMap<u32, Arc<Line>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hosts {
    /// Listens for hosts that have a certificate of the same authority, and are the same lockbench.
    ///
    /// # Errors
    /// When the keys cannot be used, or the address cannot be had.
    pub async fn listen(address: SocketAddr, keys: &Path, build: &str) -> Result<Self, HostsError> {
        let acceptor = keys::acceptor(keys)?;
        let listening = |source| HostsError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let desk = Arc::new(Desk {
            build: build.to_owned(),
            roster: Mutex::default(),
            changed: watch::Sender::new(()),
            incoming: Mutex::default(),
            refused: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&desk).receive(listener, acceptor));
        Ok(Self { address, desk, _tasks: tasks })
    }

    /// Where they dial.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What they are called, each with how many nodes it takes; by name.
    #[must_use]
    pub fn there(&self) -> Vec<(String, u16)> {
        let mut there: Vec<_> =
            self.desk.present().iter().map(|line| (line.name.clone(), line.nodes)).collect();
        there.sort();
        there
    }

    /// Who was refused, and why.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        lock(&self.desk.refused).clone()
    }

    /// Returns when hosts have come or gone. Cancel safe.
    pub async fn changed(&self) {
        let mut changes = self.desk.changed.subscribe();
        // The sender lives as long as this.
        drop(changes.changed().await);
    }

    /// Waits until there are hosts for so many nodes, for so long at most. Cancel safe.
    ///
    /// # Errors
    /// When there are fewer by then.
    pub async fn gathered(&self, nodes: u16, patience: Duration) -> Result<(), HostsError> {
        self.desk.gathered(nodes, patience).await
    }

    /// Gives each node of a run its host, and has their connections go to it. One run at a time.
    ///
    /// # Errors
    /// When there are too few, also after a minute.
    pub(crate) async fn lodge(&self, plan: &Plan) -> Result<(Lodging, mpsc::Receiver<Incoming>), HostsError> {
        let nodes = plan.settings.nodes;
        self.desk.gathered(nodes, REPLACED).await?;
        let lines = self.desk.dealt(nodes);
        let (send, receive) = mpsc::channel(INCOMING);
        *lock(&self.desk.incoming) = Some(send);
        Ok((Lodging::new(lines, plan.settings.window_ns).await, receive))
    }

    /// Tells all hosts that no more nodes are wanted.
    pub async fn dismiss(&self) {
        for line in self.desk.present() {
            line.dismiss().await;
        }
    }
}

impl Desk {
    fn present(&self) -> Vec<Arc<Line>> {
        lock(&self.roster).hosts.values().filter(|line| !line.gone.is_cancelled()).cloned().collect()
    }

    async fn gathered(&self, nodes: u16, patience: Duration) -> Result<(), HostsError> {
        let places = || self.present().iter().map(|line| u32::from(line.nodes)).sum::<u32>();
        let mut changes = self.changed.subscribe();
        let enough = async {
            while places() < u32::from(nodes) {
                // The sender lives as long as this.
                drop(changes.changed().await);
            }
        };
        let there = || u16::try_from(places()).unwrap_or(u16::MAX);
        let names = || self.present().iter().map(|line| line.name.clone()).collect();
        timeout(patience, enough).await.map_err(|_| HostsError::TooFew {
            wanted: nodes,
            there: there(),
            names: names(),
        })
    }

    /// A host for each node: one after the other by name, as long as they have room.
    fn dealt(&self, nodes: u16) -> Vec<Arc<Line>> {
        let mut hosts = self.present();
        hosts.sort_by(|a, b| (&a.name, a.number).cmp(&(&b.name, b.number)));
        let mut rounds = (0..u16::MAX).flat_map(|round| {
            let roomy = hosts.iter().filter(move |line| line.nodes > round);
            roomy.cloned().collect::<Vec<_>>()
        });
        rounds.by_ref().take(usize::from(nodes)).collect()
    }

    fn refuse(&self, from: SocketAddr, why: &str) {
        tracing::warn!(%from, why, "somebody was refused who wanted to be a host of nodes");
        let mut refused = lock(&self.refused);
        if refused.len() < REFUSALS {
            refused.push(format!("{from}: {why}"));
        }
    }

    async fn receive(self: Arc<Self>, listener: TcpListener, acceptor: TlsAcceptor) {
        let (door, mut tasks) = (Door::of(listener), JoinSet::new());
        loop {
            let (stream, from, permit) = door.next().await;
            while tasks.try_join_next().is_some() {}
            let (desk, acceptor) = (Arc::clone(&self), acceptor.clone());
            tasks.spawn(async move {
                let met = timeout(HANDSHAKE, meet(&acceptor, stream)).await;
                drop(permit);
                match met.unwrap_or_else(|_| Err("it says nothing".to_owned())) {
                    Ok((frames, Hello::Host(offer))) => desk.host(frames, from, offer).await,
                    Ok((frames, Hello::Relay { host })) => desk.relay(frames, from, host).await,
                    Err(why) => desk.refuse(from, &why),
                }
            });
        }
    }

    async fn relay(&self, mut frames: Frames, from: SocketAddr, host: u32) {
        let line = lock(&self.roster).hosts.get(&host).cloned();
        let to = lock(&self.incoming).clone();
        frames.hand_over();
        // To a run that is over nothing more is told.
        if let (Some(line), Some(to)) = (line, to) {
            drop(to.send(Incoming { frames, from, gone: line.gone.clone() }).await);
        }
    }

    async fn host(self: Arc<Self>, mut frames: Frames, from: SocketAddr, offer: Offer) {
        let Offer { version, build, name, nodes } = offer;
        let wrong = if version != PROTOCOL_VERSION {
            Some(format!(
                "protocol version {version} of the host, {PROTOCOL_VERSION} of the driver: both must be one build"
            ))
        } else if build != self.build {
            Some(format!("it is lockbench {build}, and the driver {}: both must be one build", self.build))
        } else if nodes == 0 {
            Some("it takes no nodes".to_owned())
        } else {
            None
        };
        if let Some(why) = wrong {
            self.refuse(from, &why);
            return drop(timeout(HANDSHAKE, frames.send(&Welcome::Refused(why))).await);
        }
        let (line, orders) = {
            let mut roster = lock(&self.roster);
            let number = roster.next;
            roster.next += 1;
            let (line, orders) = Line::new(number, name, nodes, from);
            roster.hosts.insert(number, Arc::clone(&line));
            (line, orders)
        };
        frames.allow(CONTROL_BYTES);
        if frames.send(&Welcome::Welcome { host: line.number }).await.is_ok() {
            self.changed.send_replace(());
            line.converse(frames, orders).await;
        }
        lock(&self.roster).hosts.remove(&line.number);
        self.changed.send_replace(());
    }
}

async fn meet(acceptor: &TlsAcceptor, stream: TcpStream) -> Result<(Frames, Hello), String> {
    let stream = acceptor.accept(stream).await.map_err(|error| error.to_string())?;
    let mut frames = Frames::secured(stream, STRANGER_BYTES);
    let hello = frames.next::<Hello>().await.map_err(|error| error.to_string())?;
    Ok((frames, hello))
}
