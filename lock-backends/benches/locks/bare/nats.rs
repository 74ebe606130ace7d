//! Two acknowledged messages, each in the place of the last under its subject.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};
use futures_util::FutureExt;
use lock_backends::BoxFuture;

use super::Yardstick;
use crate::lane::{CALLERS, Pairs};

pub(super) const YARDSTICK: Yardstick = Yardstick {
    server: "nats",
    first: "nats-kv",
    connection_each: &[],
    waiters_max: 4_000,
    connect: |endpoint| async move { Arc::new(Nats::connect(endpoint).await) as Arc<dyn Pairs> }.boxed(),
    beside: |_| (),
};

/// Replaces what stands under the subject of each caller.
struct Nats {
    stream: Context,
    /// What each caller wrote last.
    revisions: Vec<AtomicU64>,
}

impl Nats {
    async fn connect(endpoint: &str) -> Self {
        let stream = jetstream::new(async_nats::connect(endpoint).await.unwrap());
        // Every table is measured on the same server.
        let _missing = stream.delete_stream("pairs").await;
        let config = Config {
            name: "pairs".to_owned(),
            subjects: vec!["pairs.*".to_owned()],
            max_messages_per_subject: 1,
            ..Config::default()
        };
        stream.create_stream(config).await.unwrap();
        Self { stream, revisions: (0..CALLERS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Pairs for Nats {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        async move {
            let revision = &self.revisions[caller];
            for payload in ["held", ""] {
                let message = PublishMessage::build()
                    .payload(payload.into())
                    .expected_last_subject_sequence(revision.load(Ordering::Relaxed));
                let sent = self.stream.send_publish(format!("pairs.{caller}"), message).await.unwrap();
                revision.store(sent.await.unwrap().sequence, Ordering::Relaxed);
            }
            true
        }
        .boxed()
    }
}
