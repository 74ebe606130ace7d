//! The two transactions of `etcd-cas`.

use std::sync::Arc;

use etcd_client::{Client, Compare, CompareOp, KvClient, PutOptions, Txn, TxnOp};
use futures_util::FutureExt;
use lock_backends::BoxFuture;

use super::Yardstick;
use crate::lane::Pairs;

pub(super) const YARDSTICK: Yardstick = Yardstick {
    server: "etcd",
    first: "etcd-v3lock-checked",
    connection_each: &[],
    waiters_max: 4_000,
    connect: |endpoint| async move { Arc::new(Etcd::connect(endpoint).await) as Arc<dyn Pairs> }.boxed(),
    beside: |_| (),
};

/// The transactions of `etcd-cas`, one for each caller and step.
struct Etcd {
    client: KvClient,
    lease: i64,
}

impl Etcd {
    async fn connect(endpoint: &str) -> Self {
        let client = Client::connect([endpoint], None).await.unwrap();
        let lease = client.lease_client().grant(3600, None).await.unwrap().id();
        Self { client: client.kv_client(), lease }
    }
}

impl Pairs for Etcd {
    fn pair(&self, caller: usize) -> BoxFuture<'_, bool> {
        async move {
            let key = format!("lockbench/bare/{caller}");
            let mut client = self.client.clone();
            let absent = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
            let put = TxnOp::put(key.as_str(), "", Some(PutOptions::new().with_lease(self.lease)));
            let taken = client.txn(Txn::new().when([absent]).and_then([put])).await.unwrap();
            let revision = taken.header().unwrap().revision();
            let mine = Compare::create_revision(key.as_str(), CompareOp::Equal, revision);
            let delete = Txn::new().when([mine]).and_then([TxnOp::delete(key, None)]);
            taken.succeeded() && client.txn(delete).await.unwrap().succeeded()
        }
        .boxed()
    }
}
