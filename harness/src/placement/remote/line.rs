//! The driver's line to one host of nodes: orders and what comes of them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::host::SILENCE;
use super::offset::{Exchange, Offset};
use super::words::{Done, Number, Order, Said, What};
use crate::engine::monotonic_ns;
use crate::placement::frames::{FrameError, Frames};

/// Orders that wait to be written: as many as a thousand nodes are ended by, which a host may have.
const OUTBOX: usize = 4_096;

/// How often the host is asked for the time, so that each end knows that the other is there.
const BEAT: Duration = Duration::from_secs(1);

/// Questions for the time of which the one that takes least tells how far clocks are apart.
const EXCHANGES: usize = 30;

/// For the host to say that it has heard that no more is wanted.
const GOODBYE: Duration = Duration::from_secs(5);

pub(super) type Ordered = (What, oneshot::Sender<Answer>);

/// What came of an order, and when, by our clock, it was sent and answered.
#[derive(Debug)]
pub(super) struct Answer {
    what: Result<Done, String>,
    sent_ns: u64,
    back_ns: u64,
}

/// A host that has joined.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) nodes: u16,
    pub(super) from: SocketAddr,
    /// Cancelled when nothing more can be heard of it.
    pub(super) gone: CancellationToken,
    orders: mpsc::Sender<Ordered>,
    /// How the processes there have ended.
    ended: Mutex<HashMap<Number, watch::Sender<Option<String>>>>,
    next: Mutex<Number>,
    /// How far our clock was ahead at each beat since somebody asked last.
    beats: Mutex<Vec<Offset>>,
}

impl Line {
    pub(super) fn new(
        number: u32,
        name: String,
        nodes: u16,
        from: SocketAddr,
    ) -> (Arc<Self>, mpsc::Receiver<Ordered>) {
        let (orders, receive) = mpsc::channel(OUTBOX);
        let (gone, ended) = (CancellationToken::new(), Mutex::default());
        let line = Self {
            number,
            name,
            nodes,
            from,
            gone,
            orders,
            ended,
            next: Mutex::default(),
            beats: Mutex::default(),
        };
        (Arc::new(line), receive)
    }

    fn ended(&self) -> MutexGuard<'_, HashMap<Number, watch::Sender<Option<String>>>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for the next process there, and how it will have ended.
    pub(super) fn next_process(&self) -> (Number, watch::Receiver<Option<String>>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        *next += 1;
        let (ended, hear) = watch::channel(None);
        self.ended().insert(*next, ended);
        (*next, hear)
    }

    /// Forgets a process.
    pub(super) fn forget(&self, process: Number) {
        self.ended().remove(&process);
        // One that cannot be told is ended with its host.
        let (answer, _) = oneshot::channel();
        drop(self.orders.try_send((What::End(process), answer)));
    }

    /// Has an order carried out.
    ///
    /// # Errors
    /// In words, when it cannot be, or the host is gone.
    pub(super) async fn order(&self, what: What) -> Result<Done, String> {
        self.ask(what).await?.what
    }

    async fn ask(&self, what: What) -> Result<Answer, String> {
        let gone = || format!("its host {} is gone", self.name);
        let (answer, answered) = oneshot::channel();
        self.orders.send((what, answer)).await.map_err(|_| gone())?;
        tokio::select! {
            biased;
            answer = answered => answer.map_err(|_| gone()),
            () = self.gone.cancelled() => Err(gone()),
        }
    }

    /// How far our clock is ahead of the host's.
    ///
    /// # Errors
    /// In words, when the host is gone.
    pub(super) async fn offset(&self) -> Result<Offset, String> {
        let mut exchanges = Vec::with_capacity(EXCHANGES);
        for _ in 0..EXCHANGES {
            let Answer { what, sent_ns, back_ns } = self.ask(What::Time).await?;
            if let Done::Time { came_ns, answered_ns } = what? {
                exchanges.push(Exchange { sent_ns, came_ns, answered_ns, back_ns });
            }
        }
        Offset::of(exchanges).ok_or_else(|| format!("its host {} tells no time", self.name))
    }

    /// How far it was ahead at each beat since this was asked last: less exactly, since each is by one exchange alone.
    pub(super) fn beats(&self) -> Vec<Offset> {
        std::mem::take(&mut self.beats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the host that no more is wanted.
    pub(super) async fn dismiss(&self) {
        drop(timeout(GOODBYE, self.order(What::Leave)).await);
    }

    /// Passes on orders and what comes of them, until the host is gone.
    pub(super) async fn converse(&self, mut frames: Frames, mut orders: mpsc::Receiver<Ordered>) {
        let ended = self.pass_on(&mut frames, &mut orders).await;
        if let Err(error) = ended {
            tracing::warn!(host = %self.name, %error, "a host of nodes is gone");
        }
        self.gone.cancel();
        for ended in self.ended().values() {
            ended.send_if_modified(|how| {
                let is_news = how.is_none();
                how.get_or_insert_with(|| format!("its host {} is gone", self.name));
                is_news
            });
        }
    }

    async fn pass_on(
        &self,
        frames: &mut Frames,
        orders: &mut mpsc::Receiver<Ordered>,
    ) -> Result<(), FrameError> {
        // Those that somebody waits for, and beats.
        let mut waiting: HashMap<u64, (Option<oneshot::Sender<Answer>>, u64)> = HashMap::new();
        let mut number = 0;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = tokio::time::Instant::now();
        let mut leaves = false;
        loop {
            let order = tokio::select! {
                biased;
                said = frames.next::<Said>() => {
                    let (said, back_ns) = match said {
                        Ok(said) => (said, monotonic_ns()),
                        Err(_) if leaves => return Ok(()),
                        Err(error) => return Err(error),
                    };
                    heard = tokio::time::Instant::now();
                    match said {
                        Said::Done { number, what } => {
                            match (waiting.remove(&number), what) {
                                // Who asked may not be there any more.
                                (Some((Some(answer), sent_ns)), what) => {
                                    drop(answer.send(Answer { what, sent_ns, back_ns }));
                                }
                                (Some((None, sent_ns)), Ok(Done::Time { came_ns, answered_ns })) => {
                                    let exchange = Exchange { sent_ns, came_ns, answered_ns, back_ns };
                                    let mut beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
                                    beats.extend(Offset::of([exchange]));
                                }
                                _ => {}
                            }
                        }
                        Said::Ended { process, how } => {
                            if let Some(ended) = self.ended().get(&process) {
                                ended.send_replace(Some(how));
                            }
                        }
                    }
                    continue;
                }
                Some((what, answer)) = orders.recv() => (what, Some(answer)),
                _ = beat.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Err(FrameError::Closed);
                    }
                    (What::Time, None)
                }
            };
            let (what, answer) = order;
            leaves |= what == What::Leave;
            number += 1;
            waiting.insert(number, (answer, monotonic_ns()));
            frames.send(&Order { number, what }).await?;
        }
    }
}
