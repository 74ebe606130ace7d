//! What all variants on Redis share: the node's one connection, renewals, and what an error means for a lock.

mod asked;
mod bare;
mod channels;
mod hand_over;
mod race;
mod scripts;

mod redis_poll;
mod redis_pubsub;
mod redis_fenced;
mod redis_queue;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::{AsyncPushSender, ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::{AsyncCommands, ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError, ServerErrorKind};
use tokio_util::sync::CancellationToken;

pub(super) use self::hand_over::HandOver;
pub(super) use self::race::{Race, Wake};
use self::scripts::Renew;
pub(super) use self::scripts::Tokens;
use crate::session::{
    Endpoint, Grant, LockError, Now, OwnerId, Renewal, Request, Server, SessionOptions, Survives, Token,
    Validity, slot_key, valid_until,
};

const URL: &str = "redis://[user:password@]host[:port][/database]";

/// The product, and one line for each variant on it.
pub(super) const SERVER: Server = Server {
    name: "redis",
    url: URL,
    variants: &[&redis_poll::VARIANT, &redis_pubsub::VARIANT, &redis_fenced::VARIANT, &redis_queue::VARIANT],
    settings: &[
        ("appendonly, appendfsync", "whether a grant outlives the server"),
        ("maxmemory-policy", "whether a lock can be evicted"),
        ("timeout", "whether an idle session is closed"),
    ],
    bare: |endpoint| Box::pin(async { Ok(Box::new(bare::Redis::connect(endpoint).await?) as _) }),
};

/// What a grant of every variant here survives.
pub(super) const SURVIVES: Survives = Survives {
    node_crash: "free after the ttl",
    server_kill: "kept, with appendfsync always",
    power_loss: "kept, with appendfsync always",
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

/// One node's connection: RESP3, multiplexed, carries commands and pushes, reconnects by itself, resubscribes, and
/// surfaces what was lost on the way.
struct Node {
    connection: ConnectionManager,
    ttl: Duration,
    now: Arc<dyn Now>,
    lost: CancellationToken,
    operations: AtomicU64,
}

impl Node {
    async fn connect(
        endpoint: &Endpoint,
        options: SessionOptions,
        pushes: impl AsyncPushSender,
    ) -> Result<Self, LockError> {
        let ttl = options.ttl.max(Duration::from_millis(1));
        let info = endpoint.0.as_str().into_connection_info().map_err(|_| LockError::BadUrl(URL))?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        // A black-holed connection is given up after the user timeout; without it the kernel goes on for a
        // quarter of an hour.
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(ttl.max(Duration::from_secs(1)));
        let client = redis::Client::open(info.set_redis_settings(settings).set_tcp_settings(tcp))
            .map_err(|error| fault(&error))?;
        let config = ConnectionManagerConfig::new()
            .set_push_sender(pushes)
            .set_automatic_resubscription()
            .set_pipeline_buffer_size(PIPELINE_BUFFER)
            // Room for a second renewal before the lease ends.
            .set_response_timeout(Some((ttl / 4).clamp(Duration::from_millis(100), Duration::from_secs(2))))
            .set_connection_timeout(Some((ttl / 2).clamp(Duration::from_millis(200), Duration::from_secs(2))))
            .set_min_delay(Duration::from_millis(10))
            .set_max_delay(RETRY_MAX)
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_with_config(client, config).await;
        let connection = connection.map_err(|error| match fault(&error) {
            LockError::Unknown(why) => LockError::Unavailable(why),
            other => other,
        })?;
        let (lost, operations) = (CancellationToken::new(), AtomicU64::new(0));
        Ok(Self { connection, ttl, now: options.now, lost, operations })
    }

    /// A handle on the connection for one request, which is counted.
    fn send(&self) -> ConnectionManager {
        self.operations.fetch_add(1, Ordering::Relaxed);
        self.connection.clone()
    }

    fn alive(&self) -> Result<(), LockError> {
        if self.lost.is_cancelled() { Err(LockError::SessionLost("closed".into())) } else { Ok(()) }
    }

    fn admit<'a>(&self, request: &'a Request) -> Result<&'a Arc<str>, LockError> {
        self.alive()?;
        match &*request.keys {
            [key] => Ok(key),
            _ => Err(LockError::Unsupported("one key at a time")),
        }
    }

    fn grant(&self, request: &Request, slot: u32, token: Option<Token>, validity: Validity) -> Grant {
        let keys = match &*request.keys {
            [key] if request.level > 1 => vec![slot_key(key, slot).into()],
            keys => keys.to_vec(),
        };
        Grant { keys, owner: request.owner.clone(), token, validity }
    }

    /// Renews, and hands the moment before each request and the server's time in the answer to `clock`.
    async fn renew(
        &self,
        renew: &Renew,
        grants: &[Arc<Grant>],
        clock: impl Fn(u64, u64),
    ) -> Result<Renewal, LockError> {
        let chunks = join_all(grants.chunks(RENEW_CHUNK).map(|chunk| self.renew_chunk(renew, chunk, &clock)));
        let mut renewed = Vec::with_capacity(grants.len());
        let mut failed = None;
        let mut answered = grants.is_empty();
        for (chunk, answer) in grants.chunks(RENEW_CHUNK).zip(chunks.await) {
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
    }

    async fn renew_chunk(
        &self,
        renew: &Renew,
        chunk: &[Arc<Grant>],
        clock: impl Fn(u64, u64),
    ) -> Result<Vec<Validity>, LockError> {
        let sent_ns = self.now.now_ns();
        let answer = renew.call(&mut self.send(), chunk, self.ttl).await;
        let (held, server_us) = answer.map_err(|error| fault(&error))?;
        clock(sent_ns, server_us);
        let renewed = valid_until(sent_ns, self.ttl);
        Ok(held.into_iter().map(|held| if held { renewed } else { Validity::Lost }).collect())
    }

    async fn holder(&self, key: &str) -> Result<Option<String>, LockError> {
        let value: Result<Option<String>, _> = self.send().get(scripts::lock_key(key)).await;
        let value = value.map_err(|error| LockError::Unavailable(error.to_string()))?;
        Ok(value.as_deref().and_then(scripts::description))
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

/// What a waiter knows of its tries.
#[derive(Debug)]
struct Tries {
    /// The connection on which a try stayed unanswered: a grant may stand.
    doubt: Option<u64>,
    /// Why the last try did not reach the server.
    unreached: Option<LockError>,
    retry: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { doubt: None, unreached: None, retry: RETRY_FIRST }
    }
}

impl Tries {
    /// A try was answered on this connection: a lost answer before it was a refusal too, since commands of one
    /// connection are executed in their order.
    fn refused(&mut self, connection: u64) {
        self.unreached = None;
        self.doubt = self.doubt.filter(|doubt| *doubt != connection);
    }

    /// How long to wait after this failure, if there is sense in another try.
    fn failed(&mut self, error: LockError, connection: u64) -> Result<Duration, LockError> {
        match error {
            LockError::Unknown(_) => _ = self.doubt.get_or_insert(connection),
            LockError::Unavailable(_) => self.unreached = Some(error),
            error => return Err(error),
        }
        Ok(self.back_off(RETRY_MAX))
    }

    fn back_off(&mut self, most: Duration) -> Duration {
        let pause = self.retry;
        self.retry = (pause * 2).min(most);
        pause
    }

    /// What to say when nothing was ever in doubt.
    fn timed_out(&mut self) -> LockError {
        self.unreached.take().unwrap_or(LockError::TimedOut)
    }
}

/// Up to a twentieth of the lease that was waited for, at most 20 ms, drawn from the owner.
fn jitter(owner: &OwnerId, left: Duration) -> Duration {
    let most = (left / 20).min(JITTER_MAX).max(Duration::from_millis(2));
    Duration::from_millis(1) + owner.spread(0, most)
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
