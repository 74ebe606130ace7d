//! A node made and deleted.

use std::sync::Arc;

use futures_util::FutureExt;
use lock_backends::BoxFuture;
use zookeeper_client::{Acls, CreateMode};

use super::Yardstick;
use crate::lane::{CALLERS, Pairs};

pub(super) const YARDSTICK: Yardstick = Yardstick {
    server: "zookeeper",
    first: "zk-crate",
    connection_each: &[],
    waiters_max: 4_000,
    connect: |endpoint| async move { Arc::new(Zookeeper::connect(endpoint).await) as Arc<dyn Pairs> }.boxed(),
    beside: |_| (),
};

/// Creates and deletes a node in the queue of each caller.
struct Zookeeper(zookeeper_client::Client);

impl Zookeeper {
    async fn connect(endpoint: &str) -> Self {
        let client = zookeeper_client::Client::connect(endpoint).await.unwrap();
        let container = CreateMode::Container.with_acls(Acls::anyone_all());
        for caller in 0..CALLERS {
            client.mkdir(&format!("/bare/{caller}"), &container).await.unwrap();
        }
        Self(client)
    }
}

impl Pairs for Zookeeper {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        async move {
            let path = format!("/bare/{caller}/n-");
            let options = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
            let (_, sequence) = self.0.create(&path, b"", &options).await.unwrap();
            self.0.delete(&format!("{path}{sequence}"), None).await.unwrap();
            true
        }
        .boxed()
    }
}
