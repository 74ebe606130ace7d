//! `zk-herd`: as `zk-seq`, but every waiter watches the holder's node instead of its predecessor's.
//!
//! **Protocol.** The nodes, the lost answers and the release are those of `zk-seq`. A release wakes all who wait: each lists the
//! queue again, one of them finds itself the first, and the others watch the new holder. It excludes as `zk-seq` does; what it shows
//! is what a hand-over costs a server with many waiters, of whom each hears of each release (ZooKeeper's documentation calls that
//! the herd effect and its recipes avoid it).
//!
//! ```text
//! queue     0000000004 A holds        0000000005 B       0000000006 C
//! watches                             4                  4: both are woken when A leaves, both list
//! ```
//!
//! **Round trips.** 1 to acquire, 1 to release; for each waiter and each release before its own turn, a list and a read to
//! watch. The waiters of one node line up in it, so a herd is one of nodes.
//!
//! **Safety class F, token, crash release.** As `zk-seq`.
//!
//! Sources: ZooKeeper documentation, "Recipes and Solutions" (locks, herd effect).

use super::queue::Watching;
use super::session::Zookeeper;
use super::zk_seq::{self, Seq};
use crate::session::Variant;

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "zk-herd",
    summary: "ephemeral sequential nodes; all waiters watch the holder, and a release wakes all of them",
    open: |endpoint| Zookeeper::open(endpoint, || Box::new(Seq(Watching::Holder))),
    ..zk_seq::VARIANT
};
