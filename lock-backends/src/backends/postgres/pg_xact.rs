//! `pg-xact`: advisory locks of a transaction: whatever ends the transaction ends the lock.
//!
//! **Protocol.** Acquire is one simple query of two transactions: take the lock for the session, draw the token and
//! commit; then begin, take the lock again for the transaction and let go of the session's. The token has to be
//! committed before it is used: one that is drawn in the transaction that stays open is not on disk yet, and the server
//! draws it again after a crash. Release is `COMMIT`. Waiting, withdrawal and shared mode as in `pg-session`.
//!
//! **Round trips.** 1 to acquire, also while waiting, 1 to release. A transaction stays open for as long as the lock is
//! held, without a snapshot.
//!
//! **Safety class A for rows of that database** that are written in the same transaction, which this client does not do;
//! for anything else **F**, as `pg-session`.
//!
//! **Token, crash release, keys.** As `pg-session`.
//!
//! Sources: PostgreSQL documentation, "Advisory Locks" (transaction-level), "lock_timeout".

use std::sync::Arc;

use super::client;
use super::requests::{Postgres, Scope, Scoped};
use super::worth::ADVISORY_SURVIVES;
use crate::backends::sql::PerHolder;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Variant};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "pg-xact",
    summary: "advisory locks of a transaction, a connection for each holder and waiter",
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
    PerHolder { server: Arc::new(Scoped(server, Scope::Transaction)), shared: true }
}
