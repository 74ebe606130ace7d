//! Redis: `PING` and `SET` on one multiplexed connection.

use redis::aio::MultiplexedConnection;
use redis::cmd;
use redis::io::tcp::TcpSettings;

use crate::session::{Bare, BoxFuture, Endpoint, LockError, unavailable};

#[derive(Debug)]
pub(super) struct Redis(MultiplexedConnection);

impl Redis {
    pub(super) async fn connect(endpoint: &Endpoint) -> Result<Self, LockError> {
        let tcp = TcpSettings::default().set_nodelay(true);
        let client = super::url::client(endpoint, None, tcp)?;
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
            let set = cmd("SET").arg("lockbench:bare").arg("1").exec_async(&mut connection).await;
            set.map_err(unavailable)
        })
    }
}
