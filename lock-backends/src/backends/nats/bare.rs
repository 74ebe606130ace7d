//! NATS: a question about the account, and an acknowledged message to a stream of its own.

use async_nats::Client;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, Context};

use super::url::servers;
use crate::session::{Bare, BoxFuture, Endpoint, LockError, unavailable};

const NAME: &str = "lockbench_bare";

#[derive(Debug)]
pub(super) struct Nats {
    client: Client,
    stream: Context,
}

impl Nats {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let servers = servers(endpoint)?;
        let num_replicas = servers.members.len();
        let client = servers.options().connect(&servers.members[..]).await.map_err(unavailable)?;
        let stream = jetstream::new(client.clone());
        let config = Config {
            name: NAME.to_owned(),
            subjects: vec![NAME.to_owned()],
            max_messages_per_subject: 1,
            num_replicas,
            ..Config::default()
        };
        stream.get_or_create_stream(config).await.map_err(unavailable)?;
        Ok(Self { client, stream })
    }
}

impl Bare for Nats {
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
        // Unread: the library wants an answer as servers of later series give it.
        Box::pin(async {
            let asked = self.client.request("$JS.API.INFO", "".into()).await;
            asked.map(drop).map_err(unavailable)
        })
    }

    fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async {
            let sent = self.stream.send_publish(NAME, PublishMessage::build().payload("1".into())).await;
            sent.map_err(unavailable)?.await.map(drop).map_err(unavailable)
        })
    }
}
