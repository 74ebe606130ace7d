//! The way of a node's connections to the driver: plain on its own machine, over TLS beyond.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
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
    /// By the connection that is open, or was last.
    carried: Arc<Mutex<Option<Arc<Carried>>>>,
    _tasks: JoinSet<()>,
}

/// What a connection has carried to the driver.
#[derive(Debug)]
struct Carried {
    /// To see what waits in the kernel.
    socket: std::net::TcpStream,
    /// Whether bytes are taken from there.
    taking: AtomicBool,
    read: AtomicU64,
    written: AtomicU64,
}

impl Carried {
    /// Whether all that was said on it has gone on its way. Whoever takes bytes says so before he does.
    fn is_dry(&self) -> bool {
        let waits = self.socket.peek(&mut [0]).is_ok_and(|bytes| bytes > 0);
        !waits
            && !self.taking.load(Ordering::SeqCst)
            && self.read.load(Ordering::SeqCst) == self.written.load(Ordering::SeqCst)
    }
}

impl Relay {
    pub(super) async fn open(dial: Arc<Dial>, host: u32) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let carried = Arc::new(Mutex::default());
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
    ///
    /// # Errors
    /// When it does not get on its way.
    pub(super) async fn run_dry(&self) -> Result<u64, String> {
        let Some(carried) = lock(&self.carried).clone() else { return Ok(0) };
        let dry = async {
            while !carried.is_dry() {
                sleep(POLL).await;
            }
        };
        let late = |_| "what it said does not get on its way to the driver".to_owned();
        timeout(DRY, dry).await.map_err(late)?;
        Ok(carried.written.load(Ordering::SeqCst))
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

type Last = Mutex<Option<Arc<Carried>>>;

async fn carry(stream: TcpStream, dial: Arc<Dial>, host: u32, last: Arc<Last>) {
    if let Err(error) = carry_on(stream, &dial, host, &last).await {
        tracing::debug!(%error, "a node's connection ended");
    }
}

async fn carry_on(node: TcpStream, dial: &Dial, host: u32, last: &Last) -> io::Result<()> {
    node.set_nodelay(true)?;
    let mut frames = dial.connect().await.map_err(io::Error::other)?;
    frames.send(&Hello::Relay { host }).await.map_err(io::Error::other)?;
    let carried = Arc::new(Carried {
        socket: std::net::TcpStream::from(node.as_fd().try_clone_to_owned()?),
        taking: AtomicBool::new(false),
        read: AtomicU64::new(0),
        written: AtomicU64::new(0),
    });
    *lock(last) = Some(Arc::clone(&carried));
    let (mut from_driver, mut to_driver) = tokio::io::split(frames.into_stream());
    let (from_node, mut to_node) = node.into_split();
    let up = async {
        let mut chunk = vec![0; CHUNK];
        loop {
            from_node.readable().await?;
            carried.taking.store(true, Ordering::SeqCst);
            let bytes = match from_node.try_read(&mut chunk) {
                Ok(0) => return to_driver.shutdown().await,
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            carried.read.fetch_add(bytes as u64, Ordering::SeqCst);
            carried.taking.store(false, Ordering::SeqCst);
            to_driver.write_all(&chunk[..bytes]).await?;
            to_driver.flush().await?;
            carried.written.fetch_add(bytes as u64, Ordering::SeqCst);
        }
    };
    let down = async {
        tokio::io::copy(&mut from_driver, &mut to_node).await?;
        to_node.shutdown().await
    };
    tokio::try_join!(up, down).map(drop)
}
