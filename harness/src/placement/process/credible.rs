//! A node's word, and whether it may be believed.

use super::connection::Reception;
use crate::engine::Told;
use crate::model::{EntryPolicy, Event, NodeId, What};

impl Reception {
    /// Events that a node's process has told.
    pub(super) fn heard(&self, node: NodeId) -> usize {
        self.seats.change(node, |seat| seat.heard).unwrap_or(0)
    }

    pub(super) fn take_in(
        &self,
        node: NodeId,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<(), String> {
        let bound_ns =
            self.seats.look(|seats| seats.get(usize::from(node.0)).map_or(0, |seat| seat.clock_bound_ns));
        // What was just now there may seem to be a little later here, and what has returned is stamped later still.
        let now_ns = self.clock.now_ns() + 2 * bound_ns;
        for event in events.into_iter().map(|event| event.certain(2 * bound_ns)) {
            self.is_credible(node, &event, now_ns)?;
            let begins = event.what == What::Invoked && event.step.step == 0;
            if begins && self.plan.entry != EntryPolicy::Sticky {
                self.elsewhere.taken(event.step.task, node, event.at_ns);
            }
            self.recorder.record(event);
        }
        Ok(())
    }

    /// A node tells of itself, of steps of the plan, and of what has happened in this run. It begins and ends the tasks that
    /// enter there, each once.
    fn is_credible(&self, node: NodeId, event: &Event, now_ns: u64) -> Result<(), String> {
        let Event { at_ns, step, .. } = *event;
        let planned = !step.task.is_bystander() && self.plan.contains(step);
        if event.node != Some(node) || !event.what.is_of_node() || !planned {
            return Err("it told of what is not its own".to_owned());
        }
        if !(self.opened_ns..=now_ns).contains(&at_ns) {
            return Err("it told of what was not in the time of this run".to_owned());
        }
        let before = match event.what {
            What::Invoked => Told::Nothing,
            What::Returned { .. } => Told::Invoked,
            _ => return Ok(()),
        };
        // What comes after the end of a run that was stopped is not recorded, so nobody knows what was before it.
        if step.step > 0 || self.recorder.is_past_the_end(at_ns) {
            return Ok(());
        }
        let entry = self.plan.tasks.get(step.task.0 as usize).map(|task| task.entry);
        if entry.is_none_or(|entry| !self.elsewhere.may_tell(node, step.task, entry)) {
            return Err("it told of what is not its own".to_owned());
        }
        if self.recorder.told(step.task) != before {
            return Err("it told of a task's beginning or end twice, or of its end first".to_owned());
        }
        Ok(())
    }

    /// Takes in what a node has done that is gone, as far as it has not told it: all its events are here, in their order.
    pub(super) fn hear_the_rest(&self, node: NodeId, events: Vec<Event>) -> Result<(), String> {
        self.take_in(node, events.into_iter().skip(self.heard(node)))
    }
}
