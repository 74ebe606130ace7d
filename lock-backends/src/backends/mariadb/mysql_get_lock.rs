//! `mysql-get-lock`: `GET_LOCK`, which waits in the server; a connection for each holder and each waiter. It is the lock
//! that the original system takes where its design needs one: ZStack's `GLock`, at a dozen places, such as the one that
//! finds or creates the virtual router of a network.
//!
//! **Protocol.** Acquire is `GET_LOCK(name, seconds until the deadline)` on a connection of its own, a try the same with 0.
//! A caller that leaves has its connection killed, and the server's list of connections proves the withdrawal. Release is
//! `RELEASE_LOCK`, and the connection serves the next attempt of the node. Since MariaDB 10.0.2 a connection may hold
//! several; here it holds one, so that no holder waits behind another's request.
//!
//! **Round trips.** 1 to acquire, also while waiting, 1 to release, and nothing is written; a new connection where none is
//! idle. Up to 64
//! connections a node, of which 32 stay open; more holders and waiters wait in the node, and when none comes back for a
//! second they get [`LockError::Unavailable`](crate::session::LockError::Unavailable), so that holders who ask for more
//! cannot wait for each other; a try gets it at once. Renewal is a ping on each holder's connection.
//!
//! **Safety class T**: exclusive while the holder's connection lives, and nothing else protects. The server frees the key the
//! moment it sees the connection end, also by `wait_timeout`, which sessions of ours raise to a year, or by `KILL`; an idle
//! client notices only at its next ping, a third of the ttl later at most. ZStack's notices when it releases.
//!
//! **Token.** None: the server has none to give, and so the resource cannot tell a late holder.
//!
//! **Crash release.** No lease: a killed process frees its keys at once, a vanished host when the server's TCP keep-alive
//! gives up, which only the server's own setting can shorten (`tcp_keepalive_time`).
//!
//! **Not fair** as far as anybody promises, and without shared mode.
//!
//! **Keys** are 128-bit hashes of the names, in hexadecimal: the server takes capitals for small letters, and no name longer
//! than 64 characters (MySQL) or 192 bytes (MariaDB). The names are the server's, not the database's.
//!
//! Sources: MariaDB documentation, "GET_LOCK", "KILL"; ZStack, `core/src/main/java/org/zstack/core/db/GLock.java`.

use super::client;
use crate::backends::sql::PerHolder;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Survives, Variant};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "mysql-get-lock",
    summary: "GET_LOCK, which waits in the server, a connection for each holder and waiter; ZStack's lock",
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
    survives: Survives {
        node_crash: "no lease: a killed process frees its keys at once; a paused one keeps them; a vanished host until \
                     TCP keep-alive gives up",
        server_kill: "nothing: named locks live in the server's memory",
        power_loss: "nothing: named locks live in the server's memory",
    },
    open: |endpoint| Ok(Box::new(PerHolder { server: client::at(endpoint)?, shared: false })),
};
