//! The tasks of nodes that died: each has an outcome all the same.

use crate::engine::Told;
use crate::model::{Event, Outcome, StepRef, TaskId, What};
use crate::model::{Outage, Standstill};
use crate::placement::stage::Stage;

/// Accounts for the tasks that a dead node owes an end: those that had not arrived were refused, those under way may
/// have happened. Its last events may have died with it.
pub(super) fn account(stage: &Stage, origin_ns: u64, outages: &[Outage]) {
    for (number, planned) in stage.plan.tasks.iter().enumerate() {
        let (task, node) = (TaskId(number as u32), planned.entry);
        let intended_ns = origin_ns + planned.arrival_ns;
        let mut down =
            outages.iter().filter(|outage| outage.node == node && outage.state == Standstill::Down);
        let Some(outage) = down.find(|outage| intended_ns < outage.until_ns) else { continue };
        let told = stage.recorder.told(task);
        if told == Told::Returned {
            continue;
        }
        let (at_ns, outcome) = if intended_ns < outage.from_ns {
            (outage.from_ns, Outcome::Unknown(format!("node {} died", node.0)))
        } else {
            (intended_ns, Outcome::Refused(format!("node {} is down", node.0)))
        };
        let note = |at_ns, what| {
            let step = StepRef { task, step: 0 };
            stage.recorder.record(Event { at_ns, node: Some(node), step, what });
        };
        if told == Told::Nothing {
            note(intended_ns, What::Invoked);
        }
        note(at_ns, What::Returned { outcome });
    }
}
