//! The way of a node's connections to the driver: plain on its own machine, over TLS beyond.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::dial::Dial;
use super::words::Hello;

/// Bytes that are read at once.
const CHUNK: usize = 16 << 10;

/// How often it is looked whether all that a node said has gone on its way; for how long at most.
const POLL: Duration = Duration::from_millis(1);
const DRY: Duration = Duration::from_secs(1);

/// Where a node dials its driver. Dropping it closes what it has carried.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    carried: Arc<Carried>,
    _tasks: JoinSet<()>,
}

/// What a relay has carried to the driver.
#[derive(Debug, Default)]
struct Carried {
    read: AtomicU64,
    written: AtomicU64,
    /// Of the connection that is open, or was last: what is said begins anew with each.
    begun_at: AtomicU64,
    socket: std::sync::Mutex<Option<std::net::TcpStream>>,
}

impl Relay {
    pub(super) async fn open(dial: Arc<Dial>, host: u32) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let carried = Arc::new(Carried::default());
        let mut tasks = JoinSet::new();
        let counts = Arc::clone(&carried);
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        open.spawn(carry(stream, Arc::clone(&dial), host, Arc::clone(&counts)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a node's connection was not accepted");
                        sleep(POLL).await;
                    }
                }
            }
        });
        Ok(Self { address, carried, _tasks: tasks })
    }

    /// Once whoever speaks stands still: waits until all that he said on his last connection is on its way, and tells how much it
    /// is. Cancel safe.
    pub(super) async fn run_dry(&self) -> u64 {
        let Carried { read, written, begun_at, socket } = &*self.carried;
        let dry = async {
            loop {
                let waits = {
                    let socket = socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    socket.as_ref().is_some_and(is_readable)
                };
                if !waits && read.load(Ordering::Acquire) == written.load(Ordering::Acquire) {
                    return;
                }
                sleep(POLL).await;
            }
        };
        drop(timeout(DRY, dry).await);
        written.load(Ordering::Acquire) - begun_at.load(Ordering::Acquire)
    }
}

/// Whether the kernel holds bytes that were not read.
fn is_readable(socket: &std::net::TcpStream) -> bool {
    socket.peek(&mut [0]).is_ok_and(|bytes| bytes > 0)
}

async fn carry(stream: TcpStream, dial: Arc<Dial>, host: u32, carried: Arc<Carried>) {
    if let Err(error) = carry_on(stream, &dial, host, &carried).await {
        tracing::debug!(%error, "a node's connection ended");
    }
}

async fn carry_on(node: TcpStream, dial: &Dial, host: u32, carried: &Carried) -> io::Result<()> {
    node.set_nodelay(true)?;
    let mut frames = dial.connect().await.map_err(io::Error::other)?;
    frames.send(&Hello::Relay { host }).await.map_err(io::Error::other)?;
    carried.begun_at.store(carried.written.load(Ordering::Acquire), Ordering::Release);
    let looked_at = std::net::TcpStream::from(node.as_fd().try_clone_to_owned()?);
    *carried.socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(looked_at);
    let (mut from_driver, mut to_driver) = tokio::io::split(frames.into_stream());
    let (mut from_node, mut to_node) = node.into_split();
    let up = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            let bytes = from_node.read(&mut chunk).await?;
            if bytes == 0 {
                return to_driver.shutdown().await;
            }
            carried.read.fetch_add(bytes as u64, Ordering::AcqRel);
            to_driver.write_all(&chunk[..bytes]).await?;
            to_driver.flush().await?;
            carried.written.fetch_add(bytes as u64, Ordering::AcqRel);
        }
    };
    let down = async {
        tokio::io::copy(&mut from_driver, &mut to_node).await?;
        to_node.shutdown().await
    };
    let ended = tokio::try_join!(up, down);
    *carried.socket.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    ended.map(drop)
}
