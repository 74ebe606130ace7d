//! The requests, sent by the client crate `redis`: one RESP3 connection a node, multiplexed, that carries commands and
//! pushes, reconnects by itself, resubscribes, and surfaces what was lost on the way.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig, SendError};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncCommands, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError, ServerErrorKind, Value,
};

use super::requests::{
    Announce, AskRet, Channel, Heard, Hears, IfHeld, Redis, RenewRet, Requests, Tokens, Wanted,
};
use super::scripts::{self, Scripts, lock_key, node_channel};
use super::url;
use crate::backends::common::asked;
use crate::session::{BoxFuture, Endpoint, Grant, LockError, OwnerId, told};

/// Commands that may wait in the connection; the crate's 50 makes callers queue.
const PIPELINE_BUFFER: usize = 4096;

/// Pauses between attempts to connect again.
const RECONNECT_MIN: Duration = Duration::from_millis(10);
const RECONNECT_MAX: Duration = Duration::from_millis(200);

/// A real server.
#[derive(Debug)]
pub(super) struct Server(Endpoint);

/// A connection to it.
struct Connection {
    manager: ConnectionManager,
    scripts: Scripts,
}

/// The server at that URL.
pub(super) fn at(endpoint: &Endpoint) -> Box<dyn Redis> {
    Box::new(Server(endpoint.clone()))
}

impl Redis for Server {
    fn connect<'a>(
        &'a self,
        ttl: Duration,
        hears: Arc<dyn Hears>,
    ) -> BoxFuture<'a, Result<Box<dyn Requests>, LockError>> {
        asked(async move {
            // A black-holed connection is given up after the user timeout; without it the kernel goes on for a
            // quarter of an hour.
            let tcp =
                TcpSettings::default().set_nodelay(true).set_user_timeout(ttl.max(Duration::from_secs(1)));
            let client = url::client(&self.0, Some(ProtocolVersion::RESP3), tcp)?;
            let config = ConnectionManagerConfig::new()
                .set_push_sender(move |push| push_to(&*hears, &push))
                .set_automatic_resubscription()
                .set_pipeline_buffer_size(PIPELINE_BUFFER)
                // Room for a second renewal before the lease ends.
                .set_response_timeout(Some(
                    (ttl / 4).clamp(Duration::from_millis(100), Duration::from_secs(2)),
                ))
                .set_connection_timeout(Some(
                    (ttl / 2).clamp(Duration::from_millis(200), Duration::from_secs(2)),
                ))
                .set_min_delay(RECONNECT_MIN)
                .set_max_delay(RECONNECT_MAX)
                .set_number_of_retries(1);
            let manager = ConnectionManager::new_with_config(client, config).await;
            let manager = manager.map_err(|error| match fault(&error) {
                LockError::Unknown(why) => LockError::Unavailable(why),
                other => other,
            })?;
            let scripts = Scripts::new();
            scripts.load(&manager).await.map_err(|error| fault(&error))?;
            Ok(Box::new(Connection { manager, scripts }) as Box<dyn Requests>)
        })
    }
}

/// Takes what the connection pushes.
fn push_to(hears: &dyn Hears, push: &PushInfo) -> Result<(), SendError> {
    match (&push.kind, push.data.as_slice()) {
        (PushKind::Message, [Value::BulkString(channel), Value::BulkString(message)]) => {
            let text = |bytes| std::str::from_utf8(bytes).ok();
            if let Some(key) = text(channel).and_then(scripts::key_of) {
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

impl Requests for Connection {
    fn acquire<'a>(&'a self, wanted: Wanted<'a>, tokens: Tokens) -> BoxFuture<'a, Result<AskRet, LockError>> {
        asked(async move {
            let answer = self.scripts.acquire(&mut self.manager.clone(), wanted, tokens).await;
            answer.map_err(|error| fault(&error))
        })
    }

    fn ask<'a>(
        &'a self,
        wanted: Wanted<'a>,
        claim: Duration,
        if_held: IfHeld<'a>,
    ) -> BoxFuture<'a, Result<AskRet, LockError>> {
        asked(async move {
            let answer = self.scripts.ask(&mut self.manager.clone(), wanted, claim, if_held).await;
            answer.map_err(|error| fault(&error))
        })
    }

    fn release<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        announce: Announce,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        asked(async move {
            let was_held = self.scripts.release(&mut self.manager.clone(), keys, owner, announce).await;
            was_held.map_err(|error| fault(&error))
        })
    }

    fn pass_on<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        node: &'a str,
        claim: Duration,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        asked(async move {
            let was_held = self.scripts.pass_on(&mut self.manager.clone(), keys, owner, node, claim).await;
            was_held.map_err(|error| fault(&error))
        })
    }

    fn renew<'a>(
        &'a self,
        grants: &'a [Arc<Grant>],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<RenewRet, LockError>> {
        asked(async move {
            let renewed = self.scripts.renew(&mut self.manager.clone(), grants, ttl).await;
            renewed.map_err(|error| fault(&error))
        })
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        asked(async move {
            let value: Option<String> =
                self.manager.clone().get(lock_key(key)).await.map_err(|error| fault(&error))?;
            Ok(value.as_deref().and_then(scripts::description))
        })
    }

    fn subscribe<'a>(&'a self, channel: Channel<'a>) -> BoxFuture<'a, Result<(), LockError>> {
        asked(async move {
            let name = match channel {
                Channel::Releases(key) => lock_key(key),
                Channel::Node(name) => node_channel(name),
            };
            self.manager.clone().subscribe(name).await.map_err(|error| fault(&error))
        })
    }

    fn unsubscribe<'a>(&'a self, keys: &'a [Arc<str>]) -> BoxFuture<'a, Result<(), LockError>> {
        asked(async move {
            let names: Vec<String> = keys.iter().map(|key| lock_key(key)).collect();
            self.manager.clone().unsubscribe(&names).await.map_err(|error| fault(&error))
        })
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// What an error of the crate means for a request.
fn fault(error: &RedisError) -> LockError {
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
        _ => LockError::Protocol(text),
    }
}
