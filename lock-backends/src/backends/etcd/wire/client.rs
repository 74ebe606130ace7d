//! A session's connections to the cluster, and how each request goes over them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{ConnectOptions, Error, LockOptions};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::batches::Batches;
use super::keeper::Keeper;
use super::members::Members;
use super::watches::Watches;
use super::words;
use crate::backends::common::{CONNECT_TIMEOUT, Tasks};
use crate::backends::etcd::requests::{
    Answer, Failure, Followed, Follower, Following, KeyValue, Lease, Read, Reply, Requests, Txn,
};
use crate::backends::etcd::url::Cluster;
use crate::session::{BoxFuture, LockError, Operations, unavailable};

/// One watch stream, one keep-alive stream, one connection to each member that was talked to.
struct Wire {
    members: Arc<Members>,
    batches: Arc<Batches>,
    watches: Arc<Watches>,
    keeper: Keeper,
    operations: Arc<Operations>,
}

/// Connects to nobody yet: that comes with the first request. What goes on beside the requests goes on in `tasks`, which end when `lost` fires.
pub(in crate::backends::etcd) async fn connect(
    cluster: &Cluster,
    node: &str,
    ttl: Duration,
    lost: &CancellationToken,
    tasks: &Tasks,
) -> Result<Arc<dyn Requests>, LockError> {
    // A ping only when renewals, due every ttl / 3, stay unanswered: servers close connections that ping idly.
    let options = ConnectOptions::new()
        .with_keep_alive(ttl / 2, ttl / 2)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_require_leader(true);
    let members = Members::new(&cluster.urls(), &cluster.options(options)?, node).await;
    let members = Arc::new(members.map_err(unavailable)?);
    let operations = Arc::<Operations>::default();
    let (watches, inbox) = Watches::new(operations.clone());
    tasks.spawn(watches.clone().run(members.clone(), inbox, lost.clone()));
    let (batches, pending) = Batches::new(members.clone(), operations.clone());
    tasks.spawn(batches.clone().run(pending, ttl / 2, lost.clone()));
    Ok(Arc::new(Wire { members, batches, watches, keeper: Keeper::default(), operations }))
}

impl Wire {
    fn count(&self) {
        self.operations.add(1);
    }

    /// Waits for the answer of the member at this place; without one, the next is to be talked to.
    async fn answer<T>(
        &self,
        place: usize,
        limit: Duration,
        pending: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failure> {
        let failure = match timeout(limit, pending).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => words::failure(&error),
            Err(_) => Failure::Unanswered("no answer in time".to_owned()),
        };
        self.members.leave(place);
        Err(failure)
    }
}

impl Requests for Wire {
    fn members(&self) -> u32 {
        self.members.count()
    }

    fn grant_lease(&self, ttl_s: i64, limit: Duration) -> Reply<'_, Lease> {
        Box::pin(async move {
            self.count();
            let (place, client) = self.members.current();
            let mut leases = client.lease_client();
            let granted = self.answer(place, limit, leases.grant(ttl_s, None)).await?;
            Ok(Lease { id: granted.id(), ttl: Duration::from_secs(granted.ttl().unsigned_abs()) })
        })
    }

    fn keep_alive(&self, lease: Lease, limit: Duration) -> Reply<'_, Duration> {
        Box::pin(async move {
            self.count();
            let (place, client) = self.members.current();
            let renewed = self.answer(place, limit, self.keeper.keep_alive(place, client, lease)).await?;
            renewed.ok_or(Failure::LeaseGone)
        })
    }

    fn revoke(&self, lease: Lease, limit: Duration) -> Reply<'_, ()> {
        Box::pin(async move {
            self.count();
            let (place, client) = self.members.current();
            let mut leases = client.lease_client();
            self.answer(place, limit, leases.revoke(lease.id)).await.map(drop)
        })
    }

    fn txn(&self, txn: Txn, limit: Duration) -> Reply<'_, Answer> {
        Box::pin(self.batches.send(txn, limit))
    }

    fn txn_about<'a>(&'a self, name: &'a str, txn: Txn, limit: Duration) -> Reply<'a, Answer> {
        Box::pin(self.batches.join(name, txn, limit))
    }

    fn read(&self, read: Read, limit: Duration) -> Reply<'_, Vec<KeyValue>> {
        Box::pin(async move {
            self.count();
            let (place, client) = self.members.current();
            let (mut keys, (key, options)) = (client.kv_client(), words::read(read));
            let mut read = self.answer(place, limit, keys.get(key, Some(options))).await?;
            Ok(read.take_kvs().into_iter().map(words::key_value).collect())
        })
    }

    fn follow(&self, what: Followed, follower: Box<dyn Follower>) -> BoxFuture<'_, Option<Following>> {
        Box::pin(self.watches.follow(what, follower))
    }

    fn lock(&self, name: String, lease: Lease) -> Reply<'static, i64> {
        self.count();
        let members = self.members.clone();
        Box::pin(async move {
            let (place, client) = members.current();
            let mut locks = client.lock_client();
            match locks.lock(name, Some(LockOptions::new().with_lease(lease.id))).await {
                Ok(answer) => Ok(answer.header().map_or(0, |header| header.revision())),
                Err(error) => {
                    members.leave(place);
                    Err(Failure::Unanswered(error.to_string()))
                }
            }
        })
    }

    fn sent(&self) -> &Operations {
        &self.operations
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}
