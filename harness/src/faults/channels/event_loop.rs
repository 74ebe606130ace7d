//! The event loop of a node: everything on it waits.

use crate::faults::channel::{Blow, Channel, Done};
use crate::model::{Fault, FaultVerb, NodeId, Section};

/// All workers of a node's runtime, which is a process of its own. Whoever is inside stays so, and nothing renews its lease; it lasts
/// for its time, whoever is hit.
#[derive(Debug)]
pub(super) struct EventLoop;

impl Channel for EventLoop {
    fn name(&self) -> &'static str {
        "event_loop"
    }

    fn answers_for(&self, fault: &Fault) -> bool {
        fault.verb == FaultVerb::Stall
    }

    fn strike<'a>(&self, blow: Blow<'a>) -> Done<'a, Vec<Section>> {
        Box::pin(async move {
            let node = node(blow)?;
            blow.around.nodes.stall(node, blow.fault.for_ns).await?;
            Ok(blow.around.inside(node))
        })
    }

    /// It goes on by itself.
    fn let_go<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move {
            let around = blow.around;
            around.wait_until(around.clock.now_ns() + blow.fault.for_ns).await;
            around.nodes.goes_on(node(blow)?);
            Ok(())
        })
    }

    fn take_back<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move {
            blow.around.nodes.goes_on(node(blow)?);
            Ok(())
        })
    }
}

fn node(blow: Blow<'_>) -> Result<NodeId, String> {
    blow.victim.node().ok_or_else(|| "a server's event loop is its own".to_owned())
}
