//! The clock of a server is set ahead.

use std::time::Duration;

use crate::faults::channel::{Blow, Channel, Done};
use crate::model::{Fault, FaultVerb, Section};

/// The time of day that a server goes by, where it has a clock of its own. Looked at after it was set: a server that does not go by it
/// is not hit, and the fault did not come about. Nobody is inside there, so nobody is hit.
#[derive(Debug)]
pub(super) struct Clock;

impl Channel for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn answers_for(&self, fault: &Fault) -> bool {
        matches!(fault.verb, FaultVerb::Jump { .. })
    }

    fn strike<'a>(&self, blow: Blow<'a>) -> Done<'a, Vec<Section>> {
        Box::pin(async move {
            let FaultVerb::Jump { ahead_ns } = blow.fault.verb else { return Ok(Vec::new()) };
            blow.around.server().await?.set_clock(Duration::from_nanos(ahead_ns)).await?;
            Ok(Vec::new())
        })
    }

    fn take_back<'a>(&self, blow: Blow<'a>) -> Done<'a> {
        Box::pin(async move { blow.around.server().await?.set_clock(Duration::ZERO).await })
    }
}
