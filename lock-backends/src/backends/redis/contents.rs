//! Redis: keys of all databases, and those of ours in the one of the URL.

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{RedisError, cmd};

use crate::session::{BoxFuture, Contents, Endpoint, Held, LockError, unavailable};

const OURS: &str = "lockbench:*";
/// Keys that the server looks at for each answer: it answers nobody else meanwhile, so not too many.
const AT_ONCE: usize = 1000;

#[derive(Debug)]
pub(super) struct Redis(MultiplexedConnection);

impl Redis {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let client = super::url::client(endpoint, None, TcpSettings::default().set_nodelay(true))?;
        client.get_multiplexed_async_connection().await.map(Self).map_err(unavailable)
    }

    /// Does something to all keys of ours, some at a time; how many they are.
    async fn of_ours(&self, what: Option<&str>) -> Result<u64, RedisError> {
        let (mut connection, mut next, mut count) = (self.0.clone(), 0_u64, 0);
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(next).arg("MATCH").arg(OURS).arg("COUNT").arg(AT_ONCE);
            let (after, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut connection).await?;
            count += keys.len() as u64;
            if let Some(what) = what.filter(|_| !keys.is_empty()) {
                cmd(what).arg(&keys).exec_async(&mut connection).await?;
            }
            next = after;
            if next == 0 {
                return Ok(count);
            }
        }
    }
}

impl Contents for Redis {
    fn held(&self) -> BoxFuture<'_, Result<Held, LockError>> {
        Box::pin(async {
            let ours = self.of_ours(None).await.map_err(unavailable)?;
            let said: Result<String, _> = cmd("INFO").arg("keyspace").query_async(&mut self.0.clone()).await;
            // A line for each database: `db0:keys=12,expires=…`.
            let keys = |line: &str| line.split_once(":keys=")?.1.split(',').next()?.parse::<u64>().ok();
            let all = said.ok().map(|said| said.lines().filter_map(keys).sum::<u64>());
            Ok(Held { ours, others: all.map(|all| all.saturating_sub(ours)) })
        })
    }

    fn clear(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async { self.of_ours(Some("UNLINK")).await.map(drop).map_err(unavailable) })
    }
}
