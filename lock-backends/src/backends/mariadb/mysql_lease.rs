//! `mysql-lease`: a table of leases on the database's clock; any connection will do.
//!
//! **Protocol.** A row per name: owner, token, expiry. Acquire is one upsert that takes the row if its lease is over, answers
//! the same token to the same owner, and says who has it now. The row's lock orders contenders. Refused: one read tells how
//! long the lease has to run, and the waiter tries again then, or after 10 to 20 ms: nothing announces a release. Release
//! ends the lease if the owner still has it. Renewal is one statement for all, and one more only where somebody has lost
//! his, on a connection that does nothing else.
//!
//! Each request is one statement and its own transaction, so that no row stays locked over a round trip, and there is
//! nothing for `SKIP LOCKED` to skip.
//!
//! **Round trips.** 1 to acquire, 1 to release, each a commit: on disk before it is acknowledged in the durable profile.
//! Refused: 2 per poll.
//!
//! **Safety class F**: exclusive while clocks run at similar rates and pauses stay below the lease's margin, and fenced by a
//! token. Survives the server's restart, and works through a pooler.
//!
//! **Token.** A counter in the row, committed with the grant; rows are never deleted.
//!
//! **Crash release.** ttl, plus a poll.
//!
//! **Names** up to 3072 bytes, byte by byte; longer ones are refused.
//!
//! Sources: MariaDB documentation, "INSERT ON DUPLICATE KEY UPDATE", "INSERT...RETURNING", "SYSDATE".

use super::client;
use crate::backends::sql::LeaseTable;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Survives, Variant};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "mysql-lease",
    summary: "a table of leases on the database's clock; waiters poll",
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
        server_kill: "kept, with innodb_flush_log_at_trx_commit at 1",
        power_loss: "kept, with innodb_flush_log_at_trx_commit at 1",
    },
    open: |endpoint| Ok(Box::new(LeaseTable(client::at(endpoint)?))),
};
