//! `pg-lease`: a table of leases on the database's clock; any connection will do.
//!
//! **Protocol.** A row per name: owner, token, expiry. Acquire is one upsert that takes the row if its lease is over,
//! and answers the same token to the same owner. The row lock orders contenders; the token is drawn after it is had,
//! since rows are never deleted (an insert that met a deleted row would bring an older token). Refused: one statement
//! marks the row as awaited and reads when its lease ends. Release ends the lease if the owner still has it, and
//! announces the name if it is awaited; a listening connection wakes the waiters of the node, who race. Renewal is one
//! statement for all, on a connection that does nothing else.
//!
//! **Round trips.** 1 to acquire, 1 to release, each a commit: on disk before it is acknowledged in the durable profile.
//! Refused: 1 more, and 1 per lost race.
//!
//! **Safety class F**: exclusive while clocks run at similar rates and pauses stay below the lease's margin, and fenced
//! by a token. The only variant here whose locks survive the server's restart, and which does not refuse a pooler that
//! lends sessions: it needs one that keeps prepared statements apart (PgBouncer from 1.21 on, `max_prepared_statements`),
//! and waiters are not woken there, but try when the lease ends.
//!
//! **Token.** `nextval` of the sequence `lockbench_fence` in the same statement.
//!
//! **Crash release.** ttl, plus up to 20 ms.
//!
//! Sources: PostgreSQL documentation, "INSERT" (ON CONFLICT), "NOTIFY"; cirello-io/pglock (a lease table, polled).

use std::sync::Arc;

use super::client;
use super::requests::Postgres;
use crate::backends::sql::LeaseTable;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Survives, Variant};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "pg-lease",
    summary: "a table of leases on the database's clock; waiters woken by NOTIFY",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: Survives {
        node_crash: "free after the ttl",
        server_kill: "kept, with synchronous_commit on",
        power_loss: "kept, with synchronous_commit and fsync on",
    },
    open: |endpoint| Ok(Box::new(over(client::at(endpoint)?))),
};

/// The variant over whatever answers its requests.
fn over(server: Arc<dyn Postgres>) -> LeaseTable {
    LeaseTable(server)
}
