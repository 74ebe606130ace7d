//! `redis-poll`: a key with a time to live, taken by whoever asks first; waiters ask again and again.
//!
//! Protocol, on one connection per node (folder `redis`):
//! - *acquire*, 1 round trip: a script sets the key with its time to live if it is absent; held by the same owner, it
//!   refreshes it, so a retry after a lost answer is harmless. For level N it looks for a free one of N keys.
//! - *wait*: tries again after a pause that doubles from 5 to 128 ms, drawn from its upper half.
//! - *release*, 1 round trip: compare the owner, delete. *Renew*: one script per 100 keys.
//!
//! Pair: 2 round trips; while waiting, 1 per try. Safety class T: exclusive while clocks run at similar rates,
//! pauses stay below the lease's margin and the data set survives. No token. Unfair: latency is the pause, and the
//! node that released is the first to ask again. Crash release: ttl, plus the pause.
//!
//! Sources: redis.io "Distributed Locks with Redis"; redsync and Redisson `SpinLock` (polling with back-off).

use super::node::SURVIVES;
use super::race::{Race, Wake};
use super::requests::{Redis, Tokens};
use super::server;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Variant};

pub(super) const VARIANT: Variant = Variant {
    name: "redis-poll",
    summary: "SET NX PX with an owner, no token; waiters poll with back-off",
    class: SafetyClass::Timed,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: true,
        native_many: false,
        token: false,
        shared_mode: false,
        lease: true,
        fair: false,
    },
    survives: SURVIVES,
    open: |endpoint| Ok(Box::new(over(server::at(endpoint)))),
};

/// The variant over whatever answers its requests.
pub(super) fn over(server: Box<dyn Redis>) -> Race {
    Race { server, wake: Wake::Poll, tokens: Tokens::None }
}
