//! The tasks of nodes that died: each has an outcome all the same.

use super::elsewhere::Elsewhere;
use crate::engine::Told;
use crate::model::{Event, Outcome, StepRef, TaskId, What};
use crate::model::{Outage, Standstill};
use crate::placement::stage::Stage;

/// Accounts for the tasks that a dead node owes an end: those that had not arrived were refused, those under way may
/// have happened. Its last events may have died with it. Who asked elsewhere is owed it there.
pub(super) fn account(stage: &Stage, elsewhere: &Elsewhere, origin_ns: u64, outages: &[Outage]) {
    for (number, planned) in stage.plan.tasks.iter().enumerate() {
        let task = TaskId(number as u32);
        let told = stage.recorder.told(task);
        // In a closed loop nobody is owed what no caller has come to.
        if told == Told::Returned || told == Told::Nothing && stage.plan.closed.is_some() {
            continue;
        }
        let intended_ns = origin_ns + planned.arrival_ns;
        let (node, asked_ns) = elsewhere.asked(task).unzip();
        let node = node.unwrap_or(planned.entry);
        let mut down =
            outages.iter().filter(|outage| outage.node == node && outage.state == Standstill::Down);
        // Where users may go elsewhere, it is known when he was asked: what was before that is none of it.
        let owes = |outage: &&Outage| match asked_ns {
            Some(asked_ns) => asked_ns <= outage.from_ns,
            None => intended_ns < outage.until_ns,
        };
        let Some(outage) = down.find(owes) else { continue };
        let (at_ns, outcome) = if asked_ns.is_some() || intended_ns < outage.from_ns {
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
