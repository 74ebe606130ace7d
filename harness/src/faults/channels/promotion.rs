//! The copy of a server takes the place of its primary.

use crate::faults::channel::{Blow, Channel, Done};
use crate::model::{Fault, FaultVerb, Section};

/// The copy of a server, which is told of writes after they were acknowledged. It is cut off for a while, the primary goes on alone
/// and is killed, and the copy takes its place: where clients connect, they come to it. Nobody is inside a server, so nobody is hit.
#[derive(Debug)]
pub(super) struct Promotion;

impl Channel for Promotion {
    fn name(&self) -> &'static str {
        "promotion"
    }

    fn answers_for(&self, fault: &Fault) -> bool {
        matches!(fault.verb, FaultVerb::Promote { .. })
    }

    fn strike<'a>(&self, blow: Blow<'a>) -> Done<'a, Vec<Section>> {
        Box::pin(async move {
            let FaultVerb::Promote { behind_ns } = blow.fault.verb else { return Ok(Vec::new()) };
            let around = blow.around;
            around.server().await?.leave_behind().await?;
            // Cut short by the end of the run.
            around.wait_until(around.clock.now_ns() + behind_ns).await;
            Ok(Vec::new())
        })
    }

    fn complete<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move {
            let links = blow.around.links.ok_or_else(|| "there is no link before the server".to_owned())?;
            let primary = blow.around.server().await?.promote().await?;
            links.iter().flatten().for_each(|link| link.turn_to(primary));
            Ok(())
        })
    }

    fn take_back<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move { blow.around.server().await?.restart_as_copy().await })
    }
}
