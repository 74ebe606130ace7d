//! `redis-naive`, **unsafe on purpose**: the lock of many first tries, `SET NX PX` and a plain `DEL`.
//!
//! Protocol, as `redis-poll`, but nobody looks whose lock it is:
//! - *acquire*: `SET key owner NX PX ttl`. The same owner is refused like any other, so that a retry after a lost answer waits
//!   for the end of its own lease.
//! - *release*: `DEL key`. Whoever was overtaken deletes its successor's lock, and a third is let in beside that one.
//! - *renew*: `PEXPIRE key ttl`. Whoever was overtaken is told that it still holds, and keeps its successor's lock alive for it.
//!
//! Safety class U. It breaks the contracts that are named in [`VARIANT`], and shows what one compare in the script is worth.
//!
//! Sources: redis.io "Distributed Locks with Redis", which warns of it; redlock-rb issue 36 (extended after its end); ShedLock
//! issue 74 (released by another).

use super::node::SURVIVES;
use super::race::{Race, Wake};
use super::requests::{Redis, Tokens};
use super::server;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Variant};

pub(super) const VARIANT: Variant = Variant {
    name: "redis-naive",
    summary: "unsafe on purpose: SET NX PX and a plain DEL, whoever's lock it is by then",
    class: SafetyClass::Unsafe {
        breaks: &[
            // Its release deletes the other's key.
            "a_vanished_session_frees_its_keys_and_its_holder_is_told",
        ],
        // What gives an unanswered attempt back deletes the lock of whoever has the key by the time it arrives.
        by_chance: &[
            "an_expired_waiter_is_never_granted",
            "an_acquire_on_a_silent_link_ends_and_frees_its_key",
            "a_try_over_a_cut_link_tells_the_truth_and_leaves_nothing",
            "a_try_over_a_silent_link_tells_the_truth_and_leaves_nothing",
        ],
    },
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
    open: |endpoint| {
        let server = server::naively_at(endpoint);
        Ok(Box::new(over(server)))
    },
};

/// The variant over whatever answers its requests, without a look at owners.
pub(super) fn over(server: Box<dyn Redis>) -> Race {
    Race { server, wake: Wake::Poll, tokens: Tokens::None }
}
