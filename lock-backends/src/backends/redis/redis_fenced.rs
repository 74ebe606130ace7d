//! `redis-fenced`: `SET NX PX` and a fencing token in one script, waiters woken by pub/sub.
//!
//! Protocol, on one RESP3 connection per node that carries commands and pushes (folder `redis`):
//! - *acquire*, 1 round trip: absent → take the next token and set the key to `token:owner` with its time to
//!   live; held by the same owner → the stored token again, time to live refreshed, so a retry after a lost
//!   answer is harmless; held by another → its remaining time to live. For level N the script looks for a free one
//!   of N keys.
//! - *wait*: subscribe to the lock's channel, try again (a release in between would be missed), then sleep
//!   until a message, a lost connection, or the end of the holder's lease plus jitter, the safety net. One
//!   subscription per lock that is fought for, kept until it was idle for a whole renewal period: a node
//!   hears only of locks that it waits for, and a hot lock pays for SUBSCRIBE and the second try once. A
//!   channel per node would need the server to know the waiters; that is `redis-queue`.
//! - *release*, 1 round trip: compare the owner, delete, publish. *Renew*: one script per 100 keys.
//!
//! Pair: 2 round trips; where many callers of a node ask at once, what waits goes together, as one script call of up to 64 locks.
//! Safety class F (`T` for resources that do not check tokens): exclusive while clocks
//! run at similar rates and the data set survives. Token: the greater of counter + 1 and the server's time in
//! µs, in the same script, so it rises over a restart without persistence unless the server's clock steps
//! back. One counter orders all locks. Crash release: ttl, plus up to 20 ms of jitter. In a Redis Cluster there
//! is a counter for each tag (file `names`), and what goes together is of one tag.
//!
//! Unknown outcomes: an answer can be lost with the connection. The script is run again until the deadline,
//! then the owner is withdrawn; that proves the withdrawal only on the same connection, where commands keep
//! their order.
//!
//! Sources: redis.io "Distributed Locks with Redis" (owner-checked release); Redisson `RedissonLock`,
//! `RedissonFencedLock` and its renewal in chunks (structure only); redis-rs 1.8 documentation of
//! `ConnectionManager`.

use super::node::SURVIVES;
use super::race::{Race, Wake};
use super::requests::{Redis, Tokens};
use super::server;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Variant};

pub(super) const VARIANT: Variant = Variant {
    name: "redis-fenced",
    summary: "SET NX PX and a fencing token in one script, waiters woken by pub/sub",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: true,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: SURVIVES,
    open: |endpoint| Ok(Box::new(over(server::at(endpoint)))),
};

/// The variant over whatever answers its requests.
pub(super) fn over(server: Box<dyn Redis>) -> Race {
    Race { server, wake: Wake::Message, tokens: Tokens::Drawn }
}
