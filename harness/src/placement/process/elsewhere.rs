//! Users whose node is down: where they go instead, and who may speak of their tasks.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::{Recorder, Told};
use crate::model::{EntryPolicy, NodeId, Plan, TaskId};

/// What is known of the users of nodes that were down.
#[derive(Debug, Default)]
pub(super) struct Elsewhere(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By task, where users may go elsewhere: who was asked last, and when.
    asked: HashMap<TaskId, (NodeId, u64)>,
    /// Who takes, or took, the users of whom.
    stood_in: HashSet<(NodeId, NodeId)>,
    /// By the node that is down: who takes its users now.
    stands_in: HashMap<NodeId, NodeId>,
    /// By node: the first task that those who stood in for it left.
    left: HashMap<NodeId, TaskId>,
}

/// What a node is to do for one that is down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Errand {
    /// The first of its tasks that nobody has taken.
    pub(super) from: TaskId,
    /// Tasks of users who ask again.
    pub(super) again: Vec<TaskId>,
}

impl Elsewhere {
    /// Notes that a node takes the users of one that is down, and returns what it is to do. The dead node has been heard to
    /// its last word.
    pub(super) fn stand_in(
        &self,
        plan: &Plan,
        recorder: &Recorder,
        down: NodeId,
        (by, now_ns): (NodeId, u64),
    ) -> Errand {
        let mut known = self.known();
        let all = || (0..).map(TaskId).zip(plan.tasks.iter());
        let again: Vec<TaskId> = all()
            .filter(|_| plan.entry == EntryPolicy::Failover)
            .filter(|(task, planned)| known.asked.get(task).map_or(planned.entry, |(node, _)| *node) == down)
            .filter(|(task, _)| recorder.told(*task) == Told::Invoked)
            .map(|(task, _)| task)
            .collect();
        // Behind the last that was begun: of those due together one may be begun before another that is ahead of it in the plan,
        // which then goes down with its node.
        let of_it = || all().filter(|(_, planned)| planned.entry == down);
        let last = of_it().map(|(task, _)| task).filter(|task| recorder.told(*task) != Told::Nothing).last();
        let untaken = of_it()
            .map(|(task, _)| task)
            .find(|task| Some(*task) > last)
            .unwrap_or(TaskId(plan.tasks.len() as u32));
        let from = known.left.get(&down).map_or(untaken, |left| untaken.max(*left));
        known.asked.extend(again.iter().map(|task| (*task, (by, now_ns))));
        known.stood_in.insert((by, down));
        known.stands_in.insert(down, by);
        Errand { from, again }
    }

    /// Who takes the users of a node; it does so until [`Self::stood_down`].
    pub(super) fn stand_in_of(&self, down: NodeId) -> Option<NodeId> {
        self.known().stands_in.get(&down).copied()
    }

    /// Notes that a node's users are left to it again, from this task on. Whether this one took them.
    pub(super) fn stood_down(&self, by: NodeId, back: NodeId, left: TaskId) -> bool {
        let mut known = self.known();
        let took = known.stands_in.get(&back) == Some(&by);
        if took {
            known.stands_in.remove(&back);
            known.left.insert(back, left);
        }
        took
    }

    /// The first task that is left to a node which is back, where somebody stood in for it.
    pub(super) fn left_to(&self, back: NodeId) -> Option<TaskId> {
        self.known().left.get(&back).copied()
    }

    /// Whether a node may tell of the beginning and the end of a task that was to enter there, or at another one.
    pub(super) fn may_tell(&self, node: NodeId, task: TaskId, entry: NodeId) -> bool {
        let known = self.known();
        match known.asked.get(&task) {
            Some((asked, _)) => *asked == node,
            None => entry == node || known.stood_in.contains(&(node, entry)),
        }
    }

    /// Notes who was asked for a task, and when.
    pub(super) fn taken(&self, task: TaskId, by: NodeId, at_ns: u64) {
        self.known().asked.insert(task, (by, at_ns));
    }

    /// The node that was asked for a task last, and since when; `None`: nobody was, or users know but one node.
    pub(super) fn asked(&self, task: TaskId) -> Option<(NodeId, u64)> {
        self.known().asked.get(&task).copied()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Arrival, Event, Holder, Mode, PlanSettings, Resource, ResourceKind, StepRef, StepTree, What,
    };

    const NODES: [NodeId; 3] = [NodeId(0), NodeId(1), NodeId(2)];

    /// Six tasks, one after the other at nodes 0 and 1.
    fn plan(entry: EntryPolicy) -> Plan {
        let settings =
            PlanSettings { seed: 1, nodes: 3, window_ns: 100, deadline_ns: 100, holder: Holder::Checks };
        let resource = Resource { kind: ResourceKind::Vm, id: 0, level: 1 };
        let root =
            StepTree { resource, mode: Mode::Exclusive, hold_ns: 1, create_ns: None, children: vec![] };
        let arrival = |number: u64| Arrival {
            kind: 0,
            at_ns: number,
            entry: NODES[number as usize % 2],
            root: root.clone(),
        };
        Plan::new(settings, vec!["vm".into()], (0..6).map(arrival)).unwrap().with_entry(entry)
    }

    fn tell(recorder: &Recorder, node: NodeId, task: u32, what: What) {
        recorder.record(Event {
            at_ns: 1,
            node: Some(node),
            step: StepRef { task: TaskId(task), step: 0 },
            what,
        });
    }

    #[test]
    fn who_waited_at_a_dead_node_asks_the_next_one_and_who_comes_goes_there() {
        let (plan, recorder, elsewhere) =
            (plan(EntryPolicy::Failover), Recorder::default(), Elsewhere::default());
        tell(&recorder, NODES[0], 0, What::Invoked);
        tell(&recorder, NODES[0], 0, What::Returned { outcome: crate::model::Outcome::Completed });
        tell(&recorder, NODES[0], 2, What::Invoked);
        let errand = elsewhere.stand_in(&plan, &recorder, NODES[0], (NODES[1], 5));
        assert_eq!(errand, Errand { from: TaskId(4), again: vec![TaskId(2)] });
        assert_eq!([2, 4].map(|task| elsewhere.may_tell(NODES[1], TaskId(task), NODES[0])), [true; 2]);
        assert!(!elsewhere.may_tell(NODES[0], TaskId(2), NODES[0]), "it is dead, and its user gone");
        assert!(!elsewhere.may_tell(NODES[2], TaskId(4), NODES[0]));
        assert_eq!(elsewhere.asked(TaskId(2)), Some((NODES[1], 5)));
        // It is back before anybody else came, and the one who stood in for it dies in its turn.
        assert!(!elsewhere.stood_down(NODES[2], NODES[0], TaskId(0)), "nobody asked that one");
        assert!(elsewhere.stood_down(NODES[1], NODES[0], TaskId(4)));
        assert_eq!(elsewhere.left_to(NODES[0]), Some(TaskId(4)));
        let errand = elsewhere.stand_in(&plan, &recorder, NODES[1], (NODES[2], 9));
        assert_eq!(errand, Errand { from: TaskId(1), again: vec![TaskId(2)] });
    }

    #[test]
    fn nobody_stands_in_for_what_was_begun_before_a_task_that_is_ahead_of_it() {
        let (plan, recorder, elsewhere) = (plan(EntryPolicy::Any), Recorder::default(), Elsewhere::default());
        tell(&recorder, NODES[0], 0, What::Invoked);
        tell(&recorder, NODES[0], 4, What::Invoked);
        let errand = elsewhere.stand_in(&plan, &recorder, NODES[0], (NODES[1], 5));
        assert_eq!(errand, Errand { from: TaskId(6), again: vec![] });
    }

    #[test]
    fn whose_users_ask_nobody_twice_leave_what_was_under_way() {
        let (plan, recorder, elsewhere) = (plan(EntryPolicy::Any), Recorder::default(), Elsewhere::default());
        tell(&recorder, NODES[0], 0, What::Invoked);
        let errand = elsewhere.stand_in(&plan, &recorder, NODES[0], (NODES[1], 5));
        assert_eq!(errand, Errand { from: TaskId(2), again: vec![] });
        assert_eq!(elsewhere.asked(TaskId(0)), None);
    }
}
