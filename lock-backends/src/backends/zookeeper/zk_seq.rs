//! `zk-seq`: waiters queue as ephemeral sequential nodes; each watches the one before it.
//!
//! **Protocol.** Acquire creates `/lockbench/<key>/<owner>-<sequence>` and lists the queue in the same
//! flight: the session's requests are answered in order, so the list shows the new node. Nobody before it:
//! granted. Otherwise read and watch the nearest predecessor, and the one before that: when it is deleted, list again. Once
//! the list shows the nearest alone, its deletion is the grant. Nodes before mine can only vanish. Release deletes the
//! node.
//!
//! ```text
//!  node A  0000000004 ── delete ──┐
//!  node B  0000000005 watches 4 ◀─┘ deleted: granted, no further request
//!  node C  0000000006 watches 5, and 4: lists again when 4 is deleted, and knows that 5 is the last
//! ```
//!
//! **A lost answer**: the node is found again by its name, or proven absent; see file `queue`.
//!
//! **Round trips.** 1 to acquire (a write and a read together), 1 to release. The first use of a key makes
//! its parent, a container that the server removes when it has been empty for a while. Waiting: two reads to watch and
//! a list, none of them between the predecessor's release and the grant if it held for as long as a list takes. Renewal: a
//! read for the session and one for each node held, pipelined.
//!
//! **Safety class F**: exclusive while clocks run at similar rates and pauses stay below the margin, and
//! fenced by a token.
//!
//! **Token.** The `czxid` of the owner's node: transaction ids rise with the sequence numbers, and on beyond
//! the life of a parent, when sequence numbers start again.
//!
//! **Crash release.** After the session timeout, rounded up to the server's tick. Closing TCP frees nothing.
//!
//! Sources: ZooKeeper documentation, "Recipes and Solutions" (locks) and "Programmer's Guide" (sessions,
//! watches, container nodes).

use std::sync::Arc;

use super::node::Node;
use super::queue::Watching;
use super::session::{NodeRecipe, SURVIVES, Zookeeper};
use crate::backends::common::Recipe;
use crate::session::{
    BoxFuture, Capabilities, Grant, Least, LocalFifo, LockError, Request, SafetyClass, Variant,
};

/// The variant as registered.
pub(super) const VARIANT: Variant = Variant {
    name: "zk-seq",
    summary: "ephemeral sequential nodes; each waiter watches its predecessor",
    class: SafetyClass::Fenced,
    least: Least::Writes,
    capabilities: Capabilities {
        local_fifo: LocalFifo::Optional,
        native_level: false,
        native_many: false,
        token: true,
        shared_mode: false,
        lease: true,
        fair: true,
    },
    survives: SURVIVES,
    open: |endpoint| Zookeeper::open(endpoint, || Box::new(Seq(Watching::Nearest))),
};

/// Takes a place in the queue, and watches those before it in this way.
#[derive(Debug)]
pub(super) struct Seq(pub(super) Watching);

impl NodeRecipe for Seq {}

impl Recipe<Node> for Seq {
    fn acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move {
            let place = node.enqueue(name, request).await?;
            let token = place.token;
            if let Err(error) = node.wait_turn(name, place, self.0, request).await {
                node.withdraw(name, &request.owner).await?;
                return Err(error);
            }
            node.grant(name, request, Some(token))
        })
    }

    fn try_acquire<'a>(
        &'a self,
        node: &'a Node,
        name: &'a Arc<str>,
        request: &'a Request,
    ) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(async move {
            let place = node.enqueue(name, request).await?;
            if place.before.is_empty() {
                return node.grant(name, request, Some(place.token)).map(Some);
            }
            node.withdraw(name, &request.owner).await?;
            Ok(None)
        })
    }
}
