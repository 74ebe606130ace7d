//! The requests over the client library: its client, its streams and its errors stay here.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, LastRawMessageErrorKind, Republish, StorageType, Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, Event, HeaderMap, Subscriber};
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::names::Bucket;
use super::requests::{Entry, Heard, Last, Listening, Put, Reply, Requests, Unanswered, What};
use super::url::Servers;
use crate::backends::common::{CONNECT_TIMEOUT, RELISTEN_DELAY};
use crate::session::{BoxFuture, LockError, Operations, unavailable};

/// The most copies that a server keeps of a stream.
const REPLICAS_MAX: usize = 5;

/// How often a node looks whether another one has made the bucket.
const TRIES: u32 = 20;

/// What a client library writes where a key was deleted.
const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";

/// What the server adds where it says that something was written.
const SEQUENCE: &str = "Nats-Sequence";

/// A connection, and the bucket on it.
#[derive(Debug)]
struct Wire {
    client: Client,
    context: Context,
    stream: Stream<()>,
    bucket: Bucket,
    /// Whether several members keep it.
    replicated: bool,
    /// Connections made so far.
    connections: watch::Receiver<u64>,
    sent: Operations,
}

/// Connects to whichever of the servers answers and makes the bucket where it is missing, with a copy on each of them. `lost`
/// is fired when the client gives up for good.
pub(super) async fn connect(
    servers: &Servers,
    node: &str,
    ttl: Duration,
    lost: &CancellationToken,
) -> Result<Arc<dyn Requests>, LockError> {
    let members = servers.members.len();
    let (connected, connections) = watch::channel(0);
    let (connected, lost) = (Arc::new(connected), lost.clone());
    let options = servers
        .options()
        .name(node)
        // After three that are not answered it connects again.
        .ping_interval((ttl / 6).max(Duration::from_millis(50)))
        .connection_timeout(CONNECT_TIMEOUT / members as u32)
        .reconnect_delay_callback(|_| RELISTEN_DELAY)
        // Those of the URL may stand behind something.
        .ignore_discovered_servers()
        .event_callback(move |event| {
            match event {
                Event::Connected => connected.send_modify(|connections| *connections += 1),
                Event::Closed => lost.cancel(),
                event => tracing::debug!(%event, "nats"),
            }
            std::future::ready(())
        });
    let client = options.connect(&servers.members[..]).await.map_err(unavailable)?;
    let context = jetstream::new(client.clone());
    let bucket = Bucket::of(ttl);
    let config = Config {
        name: bucket.stream(),
        subjects: vec![bucket.subjects()],
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        max_age: ttl,
        // No longer than entries last; a revision that is to be replaced has been replaced for good long before.
        duplicate_window: ttl,
        storage: StorageType::File,
        num_replicas: members.min(REPLICAS_MAX),
        allow_rollup: true,
        deny_delete: true,
        republish: Some(Republish {
            source: bucket.subjects(),
            destination: bucket.all_news(),
            headers_only: true,
        }),
        ..Config::default()
    };
    // Until a leader is there, members say no.
    let mut tries = 0;
    let replicated = loop {
        match context.get_or_create_stream(config.clone()).await {
            // It may have been made through a URL of other members.
            Ok(stream) => break stream.cached_info().config.num_replicas > 1,
            Err(error) if members == 1 && !(overlaps(&error) && tries < TRIES) => {
                return Err(unavailable(error));
            }
            Err(_) => sleep(RELISTEN_DELAY).await,
        }
        tries += 1;
    };
    let stream = context.get_stream_no_info(bucket.stream()).await.map_err(unavailable)?;
    let sent = Operations::default();
    Ok(Arc::new(Wire { client, context, stream, bucket, replicated, connections, sent }))
}

/// Of a bucket that another node is just making, the server says not that it is there but that its subjects are taken.
fn overlaps(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP)
}

impl Wire {
    async fn put(&self, key: &str, entry: &Entry, replaces: u64) -> Result<Put, Unanswered> {
        let mut message = PublishMessage::build().payload(entry.to_payload().into());
        if entry.what == What::Free {
            message = message.header(OPERATION, DELETED);
        }
        // Of several members, the one that leads compares revisions before it asks the others, and no longer when they have
        // agreed: what it has asked for in the meantime, or what a former leader did, is compared with nothing. A message's id
        // is compared when they have agreed, so the second write that replaces a revision is a duplicate of the first.
        if self.replicated && replaces > 0 {
            message = message.message_id(replaces.to_string());
        }
        let message = message.expected_last_subject_sequence(replaces);
        let answer = match self.context.send_publish(self.bucket.subject(key), message).await {
            Ok(answer) => answer.await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(first) if first.duplicate => Ok(Put::Refused),
            Ok(written) => Ok(Put::Written(written.sequence)),
            Err(error) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(Put::Refused),
            Err(error) => Err(unanswered(error)),
        }
    }

    async fn last(&self, key: &str) -> Result<Option<Last>, Unanswered> {
        let subject = self.bucket.subject(key);
        let message = match self.stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => message,
            Err(error) => {
                return match error.kind() {
                    LastRawMessageErrorKind::NoMessageFound => Ok(None),
                    LastRawMessageErrorKind::JetStream(why)
                        if why.error_code() == ErrorCode::NO_MESSAGE_FOUND =>
                    {
                        Ok(None)
                    }
                    _ => Err(unanswered(error)),
                };
            }
        };
        let entry = Entry::from_payload(what(Some(&message.headers)), &message.payload);
        let strange = || Unanswered(format!("somebody else writes under {subject}"));
        Ok(Some(Last { revision: message.sequence, entry: entry.ok_or_else(strange)? }))
    }

    /// Waits so long for an answer.
    async fn answered<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Unanswered> {
        self.sent.add(1);
        timeout(limit, request).await.unwrap_or_else(|_| Err(Unanswered("no answer from nats".to_owned())))
    }
}

impl Requests for Wire {
    fn put<'a>(&'a self, key: &'a str, entry: &'a Entry, replaces: u64, limit: Duration) -> Reply<'a, Put> {
        Box::pin(self.answered(limit, self.put(key, entry, replaces)))
    }

    fn last<'a>(&'a self, key: &'a str, limit: Duration) -> Reply<'a, Option<Last>> {
        Box::pin(self.answered(limit, self.last(key)))
    }

    fn listen<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Box<dyn Listening>, Unanswered>> {
        Box::pin(async move {
            self.sent.add(1);
            let mut connections = self.connections.clone();
            connections.mark_unchanged();
            let news = self.client.subscribe(self.bucket.news(key)).await.map_err(unanswered)?;
            Ok(Box::new(News { news, connections }) as _)
        })
    }

    fn sent(&self) -> &Operations {
        &self.sent
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if timeout(CONNECT_TIMEOUT, self.client.drain()).await.is_err() {
                tracing::debug!("the connection was not drained");
            }
        })
    }
}

struct News {
    news: Subscriber,
    connections: watch::Receiver<u64>,
}

impl Listening for News {
    fn next(&mut self) -> BoxFuture<'_, Heard> {
        Box::pin(async {
            loop {
                tokio::select! {
                    biased;
                    news = self.news.next() => {
                        let Some(news) = news else { return pending().await };
                        let headers = news.headers.as_ref();
                        let revision = headers.and_then(|headers| headers.get(SEQUENCE)?.as_str().parse().ok());
                        if let Some(revision) = revision {
                            return Heard::Written { revision, what: what(headers) };
                        }
                    }
                    changed = self.connections.changed() => match changed {
                        Ok(()) => return Heard::Gap,
                        Err(_) => return pending().await,
                    },
                }
            }
        })
    }
}

fn what(headers: Option<&HeaderMap>) -> What {
    let operation = headers.and_then(|headers| headers.get(OPERATION));
    if operation.is_some_and(|operation| operation.as_str() == DELETED) { What::Free } else { What::Held }
}

fn unanswered(error: impl std::fmt::Display) -> Unanswered {
    Unanswered(error.to_string())
}
