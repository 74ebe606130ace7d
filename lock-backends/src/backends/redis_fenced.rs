//! `redis-fenced`: `SET NX PX` and a fencing token in one script, waiters woken by pub/sub.
//!
//! Protocol, on one RESP3 connection per node that carries commands and pushes:
//! - *acquire*, 1 round trip: absent → take the next token and set the key to `token:owner` with its time to
//!   live; held by the same owner → the stored token again, time to live refreshed, so a retry after a lost
//!   answer is harmless; held by another → its remaining time to live.
//! - *wait*: subscribe to the lock's channel, try again (a release in between would be missed), then sleep
//!   until a message, a lost connection, or the end of the holder's lease plus jitter, the safety net. One
//!   subscription per lock that is fought for, kept until it was idle for a whole renewal period: a node
//!   hears only of locks that it waits for, and a hot lock pays for SUBSCRIBE and the second try once. A
//!   channel per node would need the server to know the waiters; that is the queueing variant.
//! - *release*, 1 round trip: compare the owner, delete, publish. *Renew*: one script per 100 keys.
//!
//! Pair: 2 round trips. Safety class F (`T` for resources that do not check tokens): exclusive while clocks
//! run at similar rates and the data set survives. Token: the greater of counter + 1 and the server's time in
//! µs, in the same script, so it rises over a restart without persistence unless the server's clock steps
//! back. One counter orders all locks. Crash release: ttl, plus up to 20 ms of jitter. Not for Redis Cluster:
//! the counter is a second key.
//!
//! Unknown outcomes: an answer can be lost with the connection. The script is run again until the deadline,
//! then the owner is withdrawn; that proves the withdrawal only on the same connection, where commands keep
//! their order.
//!
//! Sources: redis.io "Distributed Locks with Redis" (owner-checked release); Redisson `RedissonLock`,
//! `RedissonFencedLock` and its renewal in chunks (structure only); redis-rs 1.8 documentation of
//! `ConnectionManager`.

mod channels;
mod scripts;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError, ServerErrorKind};
use tokio_util::sync::CancellationToken;

use self::channels::{Channels, Listener};
use self::scripts::{AcquireRet, Scripts};
use crate::session::{
    BoxFuture, Capabilities, Endpoint, Grant, LocalFifo, LockBackend, LockError, LockSession, Now, OwnerId,
    ReleaseRet, Renewal, Request, Server, SessionOptions, Survives, Token, Validity, Variant, sleep_until,
    valid_until,
};

pub(super) const VARIANT: Variant = Variant {
    name: "redis-fenced",
    summary: "SET NX PX and a fencing token in one script, waiters woken by pub/sub",
    server: Server::Redis,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: Survives {
        node_crash: "free after the ttl",
        server_kill: "kept, with appendfsync always",
        power_loss: "kept, with appendfsync always",
    },
    open: |endpoint| Ok(Box::new(RedisFenced(endpoint.clone()))),
};

/// Keys renewed by one script.
const RENEW_CHUNK: usize = 100;

/// Commands that may wait in the connection; the crate's 50 makes callers queue.
const PIPELINE_BUFFER: usize = 4096;

/// First pause after a failed try; doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_millis(5);
const RETRY_MAX: Duration = Duration::from_millis(200);

/// Waiters of one lock try at different moments after a lease ended.
const JITTER_MAX: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct RedisFenced(Endpoint);

#[derive(Debug)]
struct RedisSession {
    connection: ConnectionManager,
    scripts: Scripts,
    channels: Arc<Channels>,
    ttl: Duration,
    now: Arc<dyn Now>,
    lost: CancellationToken,
    operations: AtomicU64,
}

impl LockBackend for RedisFenced {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let channels = Arc::new(Channels::default());
            let connection = connect(&self.0, options.ttl, Arc::clone(&channels)).await?;
            let scripts = Scripts::new();
            scripts.load(&mut connection.clone()).await.map_err(|error| fault(&error))?;
            let session = RedisSession {
                connection,
                scripts,
                channels,
                ttl: options.ttl.max(Duration::from_millis(1)),
                now: options.now,
                lost: CancellationToken::new(),
                operations: AtomicU64::new(0),
            };
            Ok(Arc::new(session) as Arc<dyn LockSession>)
        })
    }
}

/// One multiplexed connection that reconnects by itself, resubscribes, and surfaces what was lost on the way.
async fn connect(
    endpoint: &Endpoint,
    ttl: Duration,
    channels: Arc<Channels>,
) -> Result<ConnectionManager, LockError> {
    let info = endpoint.0.as_str().into_connection_info().map_err(|error| fault(&error))?;
    let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    // A black-holed connection is given up after the user timeout; without it the kernel goes on for a
    // quarter of an hour.
    let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(ttl.max(Duration::from_secs(1)));
    let client = redis::Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
        .map_err(|error| fault(&error))?;
    let config = ConnectionManagerConfig::new()
        .set_push_sender(move |push| channels.push(&push))
        .set_automatic_resubscription()
        .set_pipeline_buffer_size(PIPELINE_BUFFER)
        // Room for a second renewal before the lease ends.
        .set_response_timeout(Some((ttl / 4).clamp(Duration::from_millis(100), Duration::from_secs(2))))
        .set_connection_timeout(Some((ttl / 2).clamp(Duration::from_millis(200), Duration::from_secs(2))))
        .set_min_delay(Duration::from_millis(10))
        .set_max_delay(RETRY_MAX)
        .set_number_of_retries(1);
    ConnectionManager::new_with_config(client, config).await.map_err(|error| match fault(&error) {
        LockError::Unknown(why) => LockError::Unavailable(why),
        other => other,
    })
}

impl LockSession for RedisSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            let key = self.admit(request)?;
            match self.ask(key, request).await {
                Ok(asked) => Ok(asked.granted()),
                // Idempotent: the second answer tells what came of the first.
                Err(LockError::Unknown(_)) => Ok(self.ask(key, request).await?.granted()),
                Err(error) => Err(error),
            }
        })
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move { Wait::new(self, request)?.run().await })
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        Box::pin(async move {
            let chunks = join_all(grants.chunks(RENEW_CHUNK).map(|chunk| self.renew_chunk(chunk))).await;
            self.drop_idle_channels().await;
            let mut renewed = Vec::with_capacity(grants.len());
            let mut failed = None;
            let mut answered = grants.is_empty();
            for (chunk, answer) in grants.chunks(RENEW_CHUNK).zip(chunks) {
                match answer {
                    Ok(validities) => {
                        renewed.extend(validities);
                        answered = true;
                    }
                    // Their last acknowledged validity stands.
                    Err(error) => {
                        renewed.extend(chunk.iter().map(|grant| grant.validity));
                        failed = Some(error);
                    }
                }
            }
            match failed {
                Some(error) if !answered => Err(error),
                _ => Ok(Renewal { session: Validity::NoLease, grants: renewed }),
            }
        })
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            self.alive()?;
            match &*grant.keys {
                [key] => self.withdraw(key, &grant.owner).await,
                _ => Err(LockError::Unsupported("several keys at once")),
            }
        })
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        Some(self.ttl)
    }

    fn operations(&self) -> &AtomicU64 {
        &self.operations
    }

    /// There is no session at the server: what is still held ends with its ttl.
    fn close(&self) -> BoxFuture<'_, ()> {
        self.lost.cancel();
        Box::pin(std::future::ready(()))
    }
}

/// Answer to one run of the acquire script.
enum Asked {
    Granted(Grant),
    /// Held by another for so long.
    Held(Duration),
}

impl Asked {
    fn granted(self) -> Option<Grant> {
        match self {
            Self::Granted(grant) => Some(grant),
            Self::Held(_) => None,
        }
    }
}

impl RedisSession {
    fn alive(&self) -> Result<(), LockError> {
        if self.lost.is_cancelled() { Err(LockError::SessionLost("closed".into())) } else { Ok(()) }
    }

    fn admit<'a>(&self, request: &'a Request) -> Result<&'a Arc<str>, LockError> {
        self.alive()?;
        match &*request.keys {
            [key] if request.level == 1 => Ok(key),
            _ => Err(LockError::Unsupported("one key of level 1 at a time")),
        }
    }

    /// Runs the acquire script once.
    async fn ask(&self, key: &Arc<str>, request: &Request) -> Result<Asked, LockError> {
        self.count(1);
        let sent_ns = self.now.now_ns();
        let connection = &mut self.connection.clone();
        let answer =
            self.scripts.acquire(connection, key, &request.owner, self.ttl, &request.description).await;
        match answer.map_err(|error| fault(&error))? {
            AcquireRet::Granted(sequence) => Ok(Asked::Granted(Grant {
                keys: vec![Arc::clone(key)],
                owner: request.owner.clone(),
                token: Some(Token { generation: 0, sequence }),
                validity: valid_until(sent_ns, self.ttl),
            })),
            AcquireRet::Held(left) => Ok(Asked::Held(left)),
        }
    }

    /// Gives a key back by owner.
    async fn withdraw(&self, key: &str, owner: &OwnerId) -> Result<ReleaseRet, LockError> {
        self.count(1);
        let was_held = self.scripts.release(&mut self.connection.clone(), key, owner).await;
        match was_held.map_err(|error| fault(&error))? {
            true => Ok(ReleaseRet::Released),
            false => Ok(ReleaseRet::AlreadyLost),
        }
    }

    async fn renew_chunk(&self, chunk: &[Arc<Grant>]) -> Result<Vec<Validity>, LockError> {
        self.count(1);
        let sent_ns = self.now.now_ns();
        let held = self.scripts.renew(&mut self.connection.clone(), chunk, self.ttl).await;
        let held = held.map_err(|error| fault(&error))?;
        if held.len() != chunk.len() {
            return Err(LockError::Protocol("a renewal answered for other grants".into()));
        }
        let renewed = valid_until(sent_ns, self.ttl);
        Ok(held.into_iter().map(|held| if held { renewed } else { Validity::Lost }).collect())
    }

    /// Unsubscribes where nobody waited since the last renewal. A failure costs a useless message, no more.
    async fn drop_idle_channels(&self) {
        let order = self.channels.order.lock().await;
        let idle = self.channels.take_idle();
        if !idle.is_empty() {
            self.count(1);
            if let Err(error) = self.connection.clone().unsubscribe(&idle).await {
                tracing::debug!(%error, "unsubscribe failed");
            }
        }
        drop(order);
    }

    /// Subscribes, or finds it done.
    async fn subscribe(&self, listener: &Listener) -> Result<(), LockError> {
        let subscribing = listener.subscribed().get_or_try_init(|| async {
            let _order = self.channels.order.lock().await;
            self.count(1);
            self.connection.clone().subscribe(listener.name()).await
        });
        subscribing.await.map(drop).map_err(|error| fault(&error))
    }

    fn count(&self, operations: u64) {
        self.operations.fetch_add(operations, Ordering::Relaxed);
    }
}

/// A waiting acquire.
struct Wait<'a> {
    session: &'a RedisSession,
    request: &'a Request,
    key: &'a Arc<str>,
    /// Set from the start where this node is subscribed already; an uncontended lock needs none.
    listener: Option<Listener>,
    /// The connection on which a try stayed unanswered: a grant may stand.
    doubt: Option<u64>,
    /// Why the last try did not reach the server.
    unreached: Option<LockError>,
    retry: Duration,
}

impl<'a> Wait<'a> {
    fn new(session: &'a RedisSession, request: &'a Request) -> Result<Self, LockError> {
        let key = session.admit(request)?;
        let listener = session.channels.join(&scripts::lock_key(key));
        Ok(Self { session, request, key, listener, doubt: None, unreached: None, retry: RETRY_FIRST })
    }

    async fn run(mut self) -> Result<Grant, LockError> {
        loop {
            // Before the try: what is published from here on wakes this waiter.
            let subscribed = self.listener.as_mut().is_some_and(|listener| {
                listener.mark_seen();
                listener.subscribed().initialized()
            });
            let connection = self.session.channels.connection();
            let pause = match self.session.ask(self.key, self.request).await {
                Ok(Asked::Granted(grant)) => return Ok(grant),
                Ok(Asked::Held(left)) => {
                    self.unreached = None;
                    if self.doubt == Some(connection) {
                        // Answered in order on one connection, so the lost answer was a refusal too.
                        self.doubt = None;
                    }
                    if subscribed {
                        self.retry = RETRY_FIRST;
                        left + jitter(&self.request.owner, left)
                    } else if self.subscribe().await.is_ok() {
                        continue;
                    } else {
                        self.back_off()
                    }
                }
                Err(LockError::Unknown(_)) => {
                    self.doubt.get_or_insert(connection);
                    self.back_off()
                }
                Err(error @ LockError::Unavailable(_)) => {
                    self.unreached = Some(error);
                    self.back_off()
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                biased;
                () = self.session.lost.cancelled() => return Err(LockError::SessionLost("closed".into())),
                () = sleep_until(&*self.session.now, self.request.deadline_ns) => return Err(self.give_up().await),
                () = woken(&mut self.listener) => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn subscribe(&mut self) -> Result<(), LockError> {
        let channels = &self.session.channels;
        let listener = self.listener.get_or_insert_with(|| channels.listen(scripts::lock_key(self.key)));
        self.session.subscribe(listener).await
    }

    fn back_off(&mut self) -> Duration {
        let pause = self.retry;
        self.retry = (pause * 2).min(RETRY_MAX);
        pause
    }

    /// The deadline passed: withdraws what may stand.
    async fn give_up(&mut self) -> LockError {
        let Some(connection) = self.doubt else {
            return self.unreached.take().unwrap_or(LockError::TimedOut);
        };
        let withdrawn = self.session.withdraw(self.key, &self.request.owner).await;
        match withdrawn {
            Ok(_) if self.session.channels.connection() == connection => LockError::TimedOut,
            Ok(_) => LockError::Unknown("withdrawn on another connection than asked".into()),
            Err(error) => LockError::Unknown(error.to_string()),
        }
    }
}

/// Waits for a push after the last mark; for ever where nobody listens.
async fn woken(listener: &mut Option<Listener>) {
    match listener {
        Some(listener) => listener.woken().await,
        None => std::future::pending().await,
    }
}

/// Up to a twentieth of the lease that was waited for, at most 20 ms, drawn from the owner.
fn jitter(owner: &OwnerId, left: Duration) -> Duration {
    let mut hasher = DefaultHasher::new();
    owner.hash(&mut hasher);
    let most = (left / 20).min(JITTER_MAX).max(Duration::from_millis(2));
    let most_us = u64::try_from(most.as_micros()).unwrap_or(1).max(1);
    Duration::from_micros(1_000 + hasher.finish() % most_us)
}

/// What an error of the crate means for a lock.
fn fault(error: &RedisError) -> LockError {
    let text = error.to_string();
    match error.kind() {
        // Nothing was sent.
        ErrorKind::Io if error.is_connection_refusal() => LockError::Unavailable(text),
        ErrorKind::Io => LockError::Unknown(text),
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => LockError::Unavailable(text),
        // The server answered that it ran nothing.
        ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain) => {
            LockError::Unavailable(text)
        }
        _ => LockError::Protocol(text),
    }
}
