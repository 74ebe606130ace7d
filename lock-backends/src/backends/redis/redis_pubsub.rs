//! `redis-pubsub`: a key with a time to live, taken by whoever asks first; a release wakes all who wait.
//!
//! Protocol: that of `redis-fenced` (see there) without the token: a message on the lock's channel wakes one waiter of
//! each node, or all of them without the local FIFO, and they race for the key.
//!
//! Pair: 2 round trips; per release of a contended lock one try by every node that waits. Safety class T: exclusive
//! while clocks run at similar rates, pauses stay below the lease's margin and the data set survives. No token.
//! Crash release: ttl, plus up to 20 ms of jitter.
//!
//! Sources: Redisson `RedissonLock` (structure only); redis.io "Distributed Locks with Redis".

use super::node::SURVIVES;
use super::race::{Race, Wake};
use super::requests::{Redis, Tokens};
use super::server;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Variant};

pub(super) const VARIANT: Variant = Variant {
    name: "redis-pubsub",
    summary: "SET NX PX with an owner, no token; waiters woken by pub/sub",
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
    Race { server, wake: Wake::Message, tokens: Tokens::None }
}
