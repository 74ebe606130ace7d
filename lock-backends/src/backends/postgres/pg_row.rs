//! `pg-row`: a row of a table, locked with `SELECT … FOR UPDATE` in a transaction that stays open for as long as the lock is held.
//!
//! **Protocol.** Acquire sees to the row, begins, and selects it for update; release is `COMMIT`. Nothing is written to the row.
//! Waiting, withdrawal and connections as in `pg-session`; a try skips a row that is locked.
//!
//! **Round trips.** 1 to acquire, also while waiting, 1 to release. A name's first use writes its row, and each grant its mark on the
//! row's page: an open transaction with a number of its own for each holder, which vacuum has to wait for.
//!
//! **Safety class A for rows of that database** that are written in the same transaction, which this client does not do; for anything
//! else **T**: the lock is gone with its connection, whatever the holder does then.
//!
//! **No token**: what is drawn in a transaction that stays open is not on disk yet, and the server draws it again after a crash.
//!
//! **Order.** Whoever waits for a row waits for the transaction that has it; when that ends, the first to be woken has it. Mostly in
//! the order of arrival, which nobody promises.
//!
//! **Crash release.** As `pg-session`.
//!
//! Sources: PostgreSQL documentation, "Explicit Locking" (row-level locks), "SELECT" (the locking clause), "lock_timeout".

use std::sync::Arc;

use super::client;
use super::requests::{Scope, Scoped};
use super::worth::ADVISORY_SURVIVES;
use crate::backends::sql::PerHolder;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Variant};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "pg-row",
    summary: "a row selected for update, in a transaction that stays open; a connection for each holder and waiter",
    class: SafetyClass::Timed,
    least: Least::RoundTrips,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: false,
        shared_mode: false,
        lease: false,
        fair: false,
    },
    survives: ADVISORY_SURVIVES,
    open: |endpoint| {
        let server = Arc::new(Scoped(client::at(endpoint)?, Scope::Row));
        Ok(Box::new(PerHolder { server, shared: false }))
    },
};
