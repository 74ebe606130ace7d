//! Redis: `PING` and `SET` on one multiplexed connection; of several servers, to a primary.

use redis::aio::MultiplexedConnection;
use redis::cmd;
use redis::io::tcp::TcpSettings;

use super::directory::Directory;
use super::names::slot_of;
use super::url::{Named, named};
use crate::session::{Bare, BoxFuture, Endpoint, LockError, ServerTime, unavailable};

/// Where keys are spread over several servers it is in the slot of tag 0.
const KEY: &str = "lockbench:{0}:bare";

#[derive(Debug)]
pub(super) struct Redis(MultiplexedConnection);

impl Redis {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let access = match named(endpoint)? {
            Named::One(access) => *access,
            Named::Several(several) => {
                let directory = Directory::new(several);
                let view = directory.look().await?;
                let nobody = || LockError::Unavailable("the Cluster has no slots yet".to_owned());
                directory.access(view.primary(slot_of(0)).ok_or_else(nobody)?)
            }
        };
        let client = access.client(None, TcpSettings::default().set_nodelay(true))?;
        client.get_multiplexed_async_connection().await.map(Self).map_err(unavailable)
    }
}

impl Bare for Redis {
    fn ping(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async {
            let mut connection = self.0.clone();
            cmd("PING").exec_async(&mut connection).await.map_err(unavailable)
        })
    }

    fn write(&self) -> BoxFuture<'_, Result<(), LockError>> {
        Box::pin(async {
            let mut connection = self.0.clone();
            cmd("SET").arg(KEY).arg("1").exec_async(&mut connection).await.map_err(unavailable)
        })
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<ServerTime>, LockError>> {
        Box::pin(async {
            let asked = cmd("TIME").query_async(&mut self.0.clone()).await;
            let (seconds, micros): (i64, i64) = asked.map_err(unavailable)?;
            Ok(Some(ServerTime {
                unix_us: seconds.saturating_mul(1_000_000).saturating_add(micros),
                step_us: 1,
            }))
        })
    }
}
