//! `pg-session`: advisory locks of a session, waiting in the server; a connection for each holder and each waiter.
//!
//! **Protocol.** Acquire sends `SET lock_timeout` (what is left until the deadline), `pg_advisory_lock` and `nextval` as
//! one simple query: they run one after the other, so the token is drawn when the lock is held. The server queues its
//! waiters and wakes exactly one. A caller that leaves has its server process terminated, which proves the withdrawal.
//! Release is `pg_advisory_unlock`, and the connection serves the next attempt of the node. Shared mode is
//! `pg_advisory_lock_shared`.
//!
//! **Round trips.** 1 to acquire, also while waiting, 1 to release; a new connection where none is idle. Up to 64
//! connections a node, of which 32 stay open; more holders and waiters wait in the node, and when none comes back for a
//! second they get [`LockError::Unavailable`](crate::session::LockError::Unavailable), so that holders who ask for more
//! cannot wait for each other; a try gets it at once. Renewal is a query on each holder's connection.
//!
//! **Safety class F**: exclusive while the holder's connection lives, and fenced by a token. The server frees the key the
//! moment it sees the connection end; an idle client notices only at its next heartbeat, a third of the ttl later at
//! most.
//!
//! **Token.** `nextval` of the sequence `lockbench_fence`: no cycle, cache 1; values may skip, and never repeat on the
//! same primary.
//!
//! **Crash release.** As `pg-mux`: no lease; a killed process frees its keys at once, a vanished host when TCP
//! keep-alive gives up, set to about the ttl asked for.
//!
//! **Keys** are 64-bit hashes of the names; two names with one hash exclude each other.
//!
//! Sources: PostgreSQL documentation, "Advisory Locks", "lock_timeout", "client_connection_check_interval"; sqlx
//! `PgAdvisoryLock` (whose cancelled wait blocks its connection).

use std::sync::Arc;

use super::client;
use super::requests::{Postgres, Scope, Scoped};
use super::worth::ADVISORY_SURVIVES;
use crate::backends::sql::PerHolder;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Variant};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "pg-session",
    summary: "advisory locks that wait in the server, a connection for each holder and waiter",
    class: SafetyClass::Fenced,
    least: Least::RoundTrips,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: true,
        lease: false,
        fair: true,
    },
    survives: ADVISORY_SURVIVES,
    open: |endpoint| Ok(Box::new(over(client::at(endpoint)?))),
};

/// The variant over whatever answers its requests.
pub(super) fn over(server: Arc<dyn Postgres>) -> PerHolder {
    PerHolder { server: Arc::new(Scoped(server, Scope::Session)), shared: true }
}
