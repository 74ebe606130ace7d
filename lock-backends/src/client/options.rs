//! How a client is asked to treat its callers.

use std::time::Duration;

/// How a client treats its callers.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Whether waiters of one key line up in this node. Cannot be switched off where the variant requires it.
    pub local_fifo: bool,
    /// How long past its deadline a call waits for a server that does not answer, before it is told
    /// [`LockError::Unknown`](crate::LockError::Unknown), to a quarter of it. The call goes on in the background.
    pub answer_grace: Duration,
    /// How long [`LockClient::close`](crate::LockClient::close) waits for releases on their way, and then again for the session.
    pub close_within: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let (answer_grace, close_within) = (Duration::from_secs(1), Duration::from_secs(2));
        Self { local_fifo: true, answer_grace, close_within }
    }
}
