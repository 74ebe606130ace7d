//! `pg-xact`: advisory locks of a transaction: whatever ends the transaction ends the lock.
//!
//! **Protocol.** Acquire sends `BEGIN`, `SET lock_timeout`, `pg_advisory_xact_lock` and `nextval` as one simple query;
//! release is `COMMIT`. Waiting, withdrawal and shared mode as in `pg-session`.
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

use super::postgres::{ADVISORY_SURVIVES, PerHolder, Statements, options};
use crate::session::{Capabilities, LocalFifo, Mode, Server, Variant};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "pg-xact",
    summary: "advisory locks of a transaction, a connection for each holder and waiter",
    server: Server::Postgres,
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
    open: |endpoint| Ok(Box::new(PerHolder { options: options(endpoint)?, statements: STATEMENTS })),
};

const STATEMENTS: Statements = Statements {
    acquire: |key, mode| {
        format!(
            "BEGIN; SELECT pg_advisory_xact_lock{}({key}); SELECT nextval('lockbench_fence')",
            suffix(mode)
        )
    },
    try_acquire: |key, mode| {
        let lock = format!("pg_try_advisory_xact_lock{}({key})", suffix(mode));
        format!("BEGIN; SELECT CASE WHEN {lock} THEN nextval('lockbench_fence') END")
    },
    refused: Some("ROLLBACK"),
    // Only a transaction that is still open holds the lock: its start is before the statement's.
    release: |_, _| "SELECT transaction_timestamp() < statement_timestamp(); COMMIT".to_owned(),
};

fn suffix(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "",
        Mode::Shared => "_shared",
    }
}
