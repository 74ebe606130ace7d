//! The process of a node: stopped, or killed and started again.

use crate::faults::channel::{Blow, Channel, Done};
use crate::model::{Fault, FaultTarget, FaultVerb, NodeId, Section};

/// The process of a node. One that is to be killed is stopped first, so that a holder is known to be inside.
#[derive(Debug)]
pub(super) struct Process;

impl Channel for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn answers_for(&self, fault: &Fault) -> bool {
        matches!(fault.verb, FaultVerb::Pause | FaultVerb::Kill)
            && matches!(fault.target, FaultTarget::Node(_) | FaultTarget::Holder | FaultTarget::At(_))
    }

    fn strike<'a>(&self, blow: Blow<'a>) -> Done<'a, Vec<Section>> {
        Box::pin(async move {
            let node = node(blow)?;
            blow.around.nodes.pause(node).await?;
            Ok(blow.around.inside(node))
        })
    }

    fn let_go<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move { blow.around.nodes.resume(node(blow)?).await })
    }

    fn complete<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move {
            match blow.fault.verb {
                FaultVerb::Kill => blow.around.nodes.kill(node(blow)?).await,
                _ => Ok(()),
            }
        })
    }

    fn take_back<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move {
            let node = node(blow)?;
            match blow.fault.verb {
                FaultVerb::Kill => blow.around.nodes.restart(node).await,
                _ => blow.around.nodes.resume(node).await,
            }
        })
    }
}

fn node(blow: Blow<'_>) -> Result<NodeId, String> {
    blow.victim.node().ok_or_else(|| "a server is no node".to_owned())
}
