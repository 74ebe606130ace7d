//! A connection to one server, by the client crate `redis`: RESP3, multiplexed, carries commands and
//! pushes, reconnects by itself, resubscribes, and surfaces what was lost on the way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, SendError};
use redis::io::tcp::TcpSettings;
use redis::{
    Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError, RedisResult, ScriptInvocation,
    ServerErrorKind, Value, cmd,
};

use super::names;
use super::requests::{Heard, Hears};
use super::scripts::{self, Scripts};
use super::url::Access;
use crate::session::{LockError, told};

/// Commands that may wait in the connection; the crate's 50 makes callers queue.
const PIPELINE_BUFFER: usize = 4096;

/// Pauses between attempts to connect again.
const RECONNECT_MIN: Duration = Duration::from_millis(10);
const RECONNECT_MAX: Duration = Duration::from_millis(200);

/// A node's connection to a server.
pub(super) struct Connection(ConnectionManager);

/// What is asked of a server.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    Script(&'a ScriptInvocation<'a>),
    Command(&'a Cmd),
}

impl Connection {
    /// Connects for leases of `ttl`; what it hears goes to `hears`. The scripts are there when it is open.
    pub(super) async fn open(
        access: &Access,
        ttl: Duration,
        hears: Arc<dyn Hears>,
        scripts: &Scripts,
    ) -> Result<Self, LockError> {
        // A black-holed connection is given up after the user timeout; without it the kernel goes on for a
        // quarter of an hour.
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(ttl.max(Duration::from_secs(1)));
        let client = access.client(Some(ProtocolVersion::RESP3), tcp)?;
        let config = ConnectionManagerConfig::new()
            .set_push_sender(move |push| push_to(&*hears, &push))
            .set_automatic_resubscription()
            .set_pipeline_buffer_size(PIPELINE_BUFFER)
            // Room for a second renewal before the lease ends.
            .set_response_timeout(Some((ttl / 4).clamp(Duration::from_millis(100), Duration::from_secs(2))))
            .set_connection_timeout(Some((ttl / 2).clamp(Duration::from_millis(200), Duration::from_secs(2))))
            .set_min_delay(RECONNECT_MIN)
            .set_max_delay(RECONNECT_MAX)
            .set_number_of_retries(1);
        let manager = ConnectionManager::new_with_config(client, config).await;
        let manager = manager.map_err(|error| match fault(&error) {
            LockError::Unknown(why) => LockError::Unavailable(why),
            other => other,
        })?;
        scripts.load(&manager).await.map_err(|error| fault(&error))?;
        Ok(Self(manager))
    }

    /// Whether the server is one that serves alone: it takes writes, and has all keys.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] with the URL that would be right, where it says that it does not. What it does not tell
    /// somebody with this login, the first request shows.
    pub(super) async fn serves_alone(&self) -> Result<(), LockError> {
        let (replication, cluster) = tokio::join!(self.info("replication"), self.info("cluster"));
        let says = |said: &str, line: &str| said.lines().any(|said| said.trim() == line);
        let why = if says(&cluster, "cluster_enabled:1") {
            "this is a member of a Redis Cluster, which has a part of the keys: its URL is redis+cluster://host:port,…"
        } else if says(&replication, "role:slave") {
            "this is a replica, which takes no writes: give its primary, or redis+sentinel://host:port,…/service, which follows it"
        } else {
            return Ok(());
        };
        Err(LockError::Unavailable(why.to_owned()))
    }

    /// A section of what the server says of itself; empty where this login is not told.
    async fn info(&self, section: &str) -> String {
        let said: RedisResult<String> = cmd("INFO").arg(section).query_async(&mut self.0.clone()).await;
        said.unwrap_or_default()
    }

    pub(super) async fn ask(&self, what: Ask<'_>) -> RedisResult<Value> {
        let mut manager = self.0.clone();
        match what {
            Ask::Script(call) => call.invoke_async(&mut manager).await,
            Ask::Command(command) => command.query_async(&mut manager).await,
        }
    }

    /// Hears the channel from the answer on, also after the connection was made anew.
    pub(super) async fn subscribe(&self, channel: &str) -> RedisResult<()> {
        self.0.clone().subscribe(channel).await
    }

    pub(super) async fn unsubscribe(&self, channels: &[String]) -> RedisResult<()> {
        self.0.clone().unsubscribe(channels).await
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Takes what the connection pushes.
fn push_to(hears: &dyn Hears, push: &PushInfo) -> Result<(), SendError> {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Message, [Value::BulkString(channel), Value::BulkString(message)]) => {
            let text = |bytes| std::str::from_utf8(bytes).ok();
            if let Some(key) = text(channel).and_then(names::key_of) {
                hears.hear(Heard::Released { key });
            } else if let Some(handed_over) = text(message).and_then(scripts::handed_over) {
                hears.hear(Heard::HandedOver(handed_over));
            } else {
                tracing::warn!("not a hand-over of ours");
            }
        }
        (PushKind::Disconnection, _) => hears.hear(Heard::Disconnected),
        _ => {}
    }
    Ok(())
}

/// Whether the server ran nothing because another one has the key, or is the primary.
pub(super) fn is_elsewhere(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, MasterDown, Moved, ReadOnly};
    matches!(error.kind(), ErrorKind::Server(Moved | Ask | ReadOnly | MasterDown | ClusterDown))
}

/// What an error of the crate means for a request.
pub(super) fn fault(error: &RedisError) -> LockError {
    let text = told(error);
    match error.kind() {
        // Nothing was sent.
        ErrorKind::Io if error.is_connection_refusal() => LockError::Unavailable(text),
        ErrorKind::Io => LockError::Unknown(text),
        ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => LockError::Unavailable(text),
        // The server answered that it ran nothing.
        ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain) => {
            LockError::Unavailable(text)
        }
        _ if is_elsewhere(error) => LockError::Unavailable(text),
        _ => LockError::Protocol(text),
    }
}
