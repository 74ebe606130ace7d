//! `redis-queue`: waiters stand in line at the server, and the script that releases hands the lock to the first.
//!
//! Protocol, on one RESP3 connection per node that carries commands and pushes (folder `redis`):
//! - *acquire*, 1 round trip: nobody holds it and nobody waits → token and key as in `redis-fenced`; else the script
//!   puts the owner in the line and answers how long the first lease runs. For level N it looks for a free one of N
//!   keys, which share one line.
//! - *release*, 1 round trip: compare the owner, take the first out of the line, draw its token, set the key to it
//!   and tell its node on the node's channel, all in one script; with nobody in line, delete.
//! - *wait*: for that message. Whoever waits also asks again when the first lease should have ended, plus jitter, and
//!   when the connection was lost; asking hands a free lock on, so a crashed holder or a lost message delays the line
//!   and never stops it. *Renew*: one script per 100 keys.
//!
//! ```text
//!  node A  holds k ····· release k: first in line is B: token 8, key = B ──▶ 1
//!  node B  ask k: in line ················· message "k is yours, token 8" ◀──┘   no further request
//! ```
//!
//! Pair: 2 round trips, contended too, and 2 commands per grant; fewer where many callers of a node ask at once, as in
//! `redis-fenced`. First come, first served over all nodes.
//!
//! A waiter cannot know when its message was sent, so the script dates it, and the validity counts from there: each
//! answer to a renewal or a question relates the server's clock to the node's, no later than the truth while both run
//! alike. A lock that is handed over is claimed for half the ttl only, until the holder's first renewal. A node that is
//! gone is passed over in the script itself, since nobody hears its message.
//!
//! Safety class F, token, unknown outcomes: as `redis-fenced`. Crash release: ttl, plus half a ttl for each waiter
//! ahead whose node is silent without being gone, plus up to 20 ms of jitter.
//!
//! Sources: `redis-fenced`; Redisson `RedissonFairLock` (a line in the server; structure only); Redis documentation of
//! PUBLISH (its answer) and of script atomicity.

use super::hand_over::HandOver;
use super::node::SURVIVES;
use super::requests::Redis;
use super::server;
use crate::session::{Capabilities, Least, LocalFifo, SafetyClass, Variant};

pub(super) const VARIANT: Variant = Variant {
    name: "redis-queue",
    summary: "waiters in line at the server; the release script hands the lock and its token to the first",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: true,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: true,
    },
    survives: SURVIVES,
    open: |endpoint| Ok(Box::new(over(server::at(endpoint)))),
};

/// The variant over whatever answers its requests.
pub(super) fn over(server: Box<dyn Redis>) -> HandOver {
    HandOver(server)
}
