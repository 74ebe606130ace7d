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

use super::{ADVISORY_SURVIVES, PerHolder, Statements, options};
use crate::session::{Capabilities, Least, LocalFifo, Mode, SafetyClass, Variant};

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
    open: |endpoint| Ok(Box::new(PerHolder { options: options(endpoint)?, statements: STATEMENTS })),
};

/// The session lock bridges the moment between the transaction that draws the token and the one that holds the lock.
const STATEMENTS: Statements = Statements {
    acquire: |key, mode| {
        let s = suffix(mode);
        format!(
            "SELECT pg_advisory_lock{s}({key}); SELECT nextval('lockbench_fence'); COMMIT; \
             BEGIN; SELECT pg_advisory_xact_lock{s}({key}); \
             SELECT CASE WHEN pg_advisory_unlock{s}({key}) THEN currval('lockbench_fence') END"
        )
    },
    try_acquire: |key, mode| {
        let s = suffix(mode);
        format!(
            "SELECT CASE WHEN pg_try_advisory_lock{s}({key}) THEN nextval('lockbench_fence') END; COMMIT; \
             BEGIN; SELECT CASE WHEN pg_try_advisory_xact_lock{s}({key}) \
             THEN CASE WHEN pg_advisory_unlock{s}({key}) THEN currval('lockbench_fence') END END"
        )
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
