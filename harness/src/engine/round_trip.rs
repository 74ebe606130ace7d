//! One message over a link and its answer: what the network alone takes.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::clock::Clock;
use super::link::{Link, Ways};

/// Messages that wait to be sent; then those who ask wait too.
const UNSENT: usize = 1024;

/// A connection over a [`Link`] to somebody who answers at once. Dropping it closes it.
#[derive(Debug)]
pub struct RoundTrip {
    unsent: mpsc::Sender<oneshot::Sender<()>>,
    _link: Link,
    _tasks: JoinSet<()>,
}

impl RoundTrip {
    /// With a link of its own, on loopback.
    ///
    /// # Errors
    /// When loopback cannot be listened on or connected to.
    pub async fn open(ways: Ways, clock: Clock) -> io::Result<Self> {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = TcpListener::bind(any_port).await?;
        let link = Link::open(any_port, listener.local_addr()?, ways, clock).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(listener));
        let stream = TcpStream::connect(link.address()).await?;
        stream.set_nodelay(true)?;
        let (unsent, to_send) = mpsc::channel(UNSENT);
        tasks.spawn(ask(stream, to_send));
        Ok(Self { unsent, _link: link, _tasks: tasks })
    }

    /// There and back. Cancel safe: an answer that nobody waits for any more is dropped.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn once(&self) -> io::Result<()> {
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (answered, answer) = oneshot::channel();
        self.unsent.send(answered).await.map_err(|_| broken())?;
        answer.await.map_err(|_| broken())
    }
}

/// Everything that one connection brings goes back as it came.
async fn answer(listener: TcpListener) {
    let Ok((mut stream, _)) = listener.accept().await else { return };
    let Ok(()) = stream.set_nodelay(true) else { return };
    let (mut read, mut write) = stream.split();
    // A connection that broke is told at its other end.
    drop(tokio::io::copy(&mut read, &mut write).await);
}

/// Until either half of the connection ends: then nobody waits any more, and nobody may ask again.
async fn ask(mut stream: TcpStream, mut to_send: mpsc::Receiver<oneshot::Sender<()>>) {
    // In the order of the questions: answers keep it.
    let waiting = Mutex::new(VecDeque::new());
    let (mut read, mut write) = stream.split();
    let send = async {
        while let Some(answered) = to_send.recv().await {
            waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(answered);
            if write.write_u8(0).await.is_err() {
                return;
            }
        }
    };
    let receive = async {
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = read.read(&mut bytes).await {
            for answered in waiting.lock().unwrap_or_else(PoisonError::into_inner).drain(..count) {
                // Whoever asked may have gone.
                let _gone = answered.send(());
            }
        }
    };
    tokio::select! {
        () = send => {}
        () = receive => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_question_takes_both_ways_of_the_link() {
        let clock = Clock::real().unwrap();
        let one_way = Duration::from_millis(20);
        let trip = Arc::new(RoundTrip::open(Ways::delayed(one_way), clock.clone()).await.unwrap());
        let start_ns = clock.now_ns();
        let mut many = JoinSet::new();
        for asks in 0..100 {
            let trip = Arc::clone(&trip);
            many.spawn(async move {
                // One gives up at once, and takes nobody's answer with it.
                match asks {
                    50 => drop(tokio::time::timeout(Duration::ZERO, trip.once()).await),
                    _ => trip.once().await.unwrap(),
                }
            });
        }
        many.join_all().await;
        assert!(clock.now_ns() - start_ns >= 2 * one_way.as_nanos() as u64);
    }

    #[tokio::test]
    async fn a_broken_connection_answers_everybody() {
        let trip = RoundTrip::open(Ways::delayed(Duration::from_secs(600)), Clock::real().unwrap());
        let trip = trip.await.unwrap();
        let (asked, ()) = tokio::join!(trip.once(), async {
            tokio::task::yield_now().await;
            trip._link.reset();
        });
        assert!(asked.is_err());
        assert!(trip.once().await.is_err());
    }
}
