//! The view of a ring: a node leaves it or joins it, and all are told.

use crate::faults::channel::{Blow, Channel, Done};
use crate::faults::surroundings::Surroundings;
use crate::model::{Fault, FaultVerb, Late, Section, View};

/// The view of a ring. Nothing is stopped, so whoever is inside stays so meanwhile, and a change that is aimed at a holder
/// cannot miss.
#[derive(Debug)]
pub(super) struct Ring;

impl Channel for Ring {
    fn name(&self) -> &'static str {
        "ring"
    }

    fn answers_for(&self, fault: &Fault) -> bool {
        fault.verb.is_of_ring()
    }

    fn strike<'a>(&self, blow: Blow<'a>) -> Done<'a, Vec<Section>> {
        Box::pin(async move {
            // Those at keys that did not move are left out where it is known who moved: in the history.
            let hit = blow.around.agent.inside();
            change(blow, blow.fault.verb).await?;
            Ok(hit)
        })
    }

    fn missed(&self, _hit: &[Section]) -> bool {
        false
    }

    fn take_back<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(change(blow, back(blow.fault.verb)))
    }

    /// A change of the ring is over when the next begins.
    fn until_ns(&self, before_ns: u64, _after_ns: u64) -> u64 {
        before_ns
    }
}

/// The change that takes one back.
fn back(verb: FaultVerb) -> FaultVerb {
    match verb {
        FaultVerb::Leave { late } => FaultVerb::Join { late },
        FaultVerb::Join { late } => FaultVerb::Leave { late },
        other => other,
    }
}

/// Takes the node into the ring, or out of it, and tells the others.
async fn change(blow: Blow<'_>, verb: FaultVerb) -> Result<(), String> {
    let node = blow.victim.node().ok_or_else(|| "a server is no member of the ring".to_owned())?;
    let views = blow.around.views;
    let (view, late) = match verb {
        FaultVerb::Join { late } => (views.join(node)?, late),
        FaultVerb::Leave { late } => (views.leave(node)?, late),
        other => return Err(format!("{other} is no change of the ring")),
    };
    announce(blow.around, view, late).await;
    Ok(())
}

/// Tells every node the view; him who hears late after his time, or at the end of the run if that is sooner.
async fn announce(around: &Surroundings<'_>, view: View, late: Option<Late>) {
    let since_ns = around.clock.now_ns();
    for node in around.every_node().filter(|node| late.is_none_or(|late| late.node != *node)) {
        around.nodes.tell(node, &view).await;
    }
    if let Some(Late { node, by_ns }) = late {
        around.wait_until(since_ns + by_ns).await;
        around.nodes.tell(node, &view).await;
    }
}
