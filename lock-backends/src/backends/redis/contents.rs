//! Redis: keys of all databases, and those of ours in the one of the URL; of a Cluster, at each primary.

use futures_util::future::try_join_all;
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{RedisError, cmd};

use super::directory::Directory;
use super::url::{Access, Named, named};
use crate::session::{BoxFuture, Contents, Endpoint, Held, LockError, unavailable};

const OURS: &str = "lockbench:*";
/// Keys that the server looks at for each answer: it answers nobody else meanwhile, so not too many.
const AT_ONCE: usize = 1000;

/// A connection to each primary.
#[derive(Debug)]
pub(super) struct Redis(Vec<MultiplexedConnection>);

impl Redis {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let primaries: Vec<Access> = match named(endpoint)? {
            Named::One(access) => vec![*access],
            Named::Several(several) => {
                let directory = Directory::new(several);
                let view = directory.look().await?;
                view.primaries().into_iter().map(|address| directory.access(address)).collect()
            }
        };
        let connected = primaries.iter().map(|access| async move {
            let client = access.client(None, TcpSettings::default().set_nodelay(true))?;
            client.get_multiplexed_async_connection().await.map_err(unavailable)
        });
        try_join_all(connected).await.map(Self)
    }

    /// Does something to all keys of ours, some at a time; how many they are.
    async fn of_ours(&self, what: Option<&str>) -> Result<u64, RedisError> {
        let counts = self.0.iter().map(|primary| of_ours(primary.clone(), what));
        Ok(try_join_all(counts).await?.iter().sum())
    }

    async fn of_all(&self) -> Option<u64> {
        let counts = self.0.iter().map(|primary| of_all(primary.clone()));
        Some(try_join_all(counts).await.ok()?.iter().sum())
    }
}

async fn of_ours(mut connection: MultiplexedConnection, what: Option<&str>) -> Result<u64, RedisError> {
    let (mut next, mut count) = (0_u64, 0);
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(next).arg("MATCH").arg(OURS).arg("COUNT").arg(AT_ONCE);
        let (after, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut connection).await?;
        count += keys.len() as u64;
        // One by one: in a Cluster no request is about keys of several slots.
        if let Some(what) = what.filter(|_| !keys.is_empty()) {
            let mut all = redis::pipe();
            for key in &keys {
                all.cmd(what).arg(key).ignore();
            }
            all.exec_async(&mut connection).await?;
        }
        next = after;
        if next == 0 {
            return Ok(count);
        }
    }
}

async fn of_all(mut connection: MultiplexedConnection) -> Result<u64, RedisError> {
    let said: String = cmd("INFO").arg("keyspace").query_async(&mut connection).await?;
    // A line for each database: `db0:keys=12,expires=…`.
    let keys = |line: &str| line.split_once(":keys=")?.1.split(',').next()?.parse::<u64>().ok();
    Ok(said.lines().filter_map(keys).sum())
}

impl Contents for Redis {
    fn held(&self) -> BoxFuture<'_, Result<Held, LockError>> {
        Box::pin(async {
            let ours = self.of_ours(None).await.map_err(unavailable)?;
            Ok(Held { ours, others: self.of_all().await.map(|all| all.saturating_sub(ours)) })
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async { self.of_ours(Some("UNLINK")).await.map(drop).map_err(unavailable) })
    }
}
