//! What it costs a key to change its owner: how long it stood still, read off the history.

use std::collections::BTreeSet;

use super::per::PerStep;
use crate::model::{Event, Facts, NodeId, What};

/// A key that was entered at another node than the time before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    /// When.
    pub(super) at_ns: u64,
    pub(super) resource: u32,
    /// How long before somebody had waited for it while nobody was inside.
    stall_ns: u64,
}

/// The keys that moved within some time.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Which.
    pub(super) resources: BTreeSet<u32>,
    /// The longest stall of one.
    pub(super) stall_ns: Option<u64>,
}

impl Moved {
    /// Those of the moves from one stamp to another.
    pub(super) fn within(moves: &[Move], from_ns: u64, to_ns: u64) -> Self {
        let mut moved = Self::default();
        for each in moves.iter().filter(|each| (from_ns..to_ns).contains(&each.at_ns)) {
            moved.resources.insert(each.resource);
            moved.stall_ns = moved.stall_ns.max(Some(each.stall_ns));
        }
        moved
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Step {
    /// Where it was granted.
    node: Option<NodeId>,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Before,
    Waiting,
    Inside,
    After,
}

#[derive(Debug, Clone, Copy, Default)]
struct Key {
    /// Where it was entered last.
    owner: Option<NodeId>,
    waiting: u32,
    inside: u32,
    /// Since when somebody has waited while nobody is inside.
    idle_since_ns: Option<u64>,
}

/// Every move of a run's keys. Of mechanisms that run a step where it was asked for this says nothing.
pub(super) struct Moving<'a> {
    facts: &'a Facts,
    keys: Vec<Key>,
    steps: PerStep<'a, Step>,
    moves: Vec<Move>,
}

impl<'a> Moving<'a> {
    pub(super) fn new(facts: &'a Facts) -> Self {
        let keys = vec![Key::default(); facts.plan.resources.len()];
        Self { facts, keys, steps: PerStep::new(&facts.plan), moves: Vec::new() }
    }

    /// The next event.
    pub(super) fn see(&mut self, event: &Event) {
        let resource = self.facts.plan.step(event.step).resource;
        let (key, step) = (&mut self.keys[resource as usize], &mut self.steps[event.step]);
        match (&event.what, step.phase) {
            (What::Invoked, Phase::Before) => {
                step.phase = Phase::Waiting;
                key.waiting += 1;
            }
            (What::Granted { .. }, _) => step.node = event.node,
            (What::Entered { .. }, Phase::Waiting) => {
                step.phase = Phase::Inside;
                key.waiting -= 1;
                key.inside += 1;
                if key.owner.is_some() && key.owner != step.node {
                    let stall_ns = key.idle_since_ns.map_or(0, |since_ns| event.at_ns - since_ns);
                    self.moves.push(Move { at_ns: event.at_ns, resource, stall_ns });
                }
                key.owner = step.node;
            }
            (What::Left { .. } | What::Abandoned, Phase::Inside) => {
                step.phase = Phase::After;
                key.inside -= 1;
            }
            (What::Returned { .. }, Phase::Waiting) => {
                step.phase = Phase::After;
                key.waiting -= 1;
            }
            _ => return,
        }
        key.idle_since_ns = match (key.waiting > 0 && key.inside == 0, key.idle_since_ns) {
            (true, None) => Some(event.at_ns),
            (true, since_ns) => since_ns,
            (false, _) => None,
        };
    }

    pub(super) fn finish(self) -> Vec<Move> {
        self.moves
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::{entered, granted, left, run};
    use crate::model::Outcome;

    /// Task 1 is granted at another node than task 0.
    fn history(table: &[(u64, u32, What)]) -> Vec<Move> {
        let mut run = run(1, 3, table);
        for event in run.events.iter_mut().filter(|event| event.step.task.0 == 1 && event.node.is_some()) {
            event.node = Some(NodeId(1));
        }
        let mut moving = Moving::new(&run.facts);
        run.events.iter().for_each(|event| moving.see(event));
        moving.finish()
    }

    #[test]
    fn a_key_stalls_from_when_it_was_free_and_wanted_until_its_new_owner_lets_somebody_in() {
        let moves = history(&[
            (1, 0, What::Invoked),
            (1, 0, granted(1)),
            (2, 0, entered(0, 0)),
            (5, 1, What::Invoked),
            (9, 0, left(1)),
            (29, 1, granted(2)),
            (30, 1, entered(0, 1)),
            (31, 1, left(2)),
        ]);
        assert_eq!(moves, [Move { at_ns: 30_000_000, resource: 0, stall_ns: 21_000_000 }]);
        let moved = Moved::within(&moves, 0, 30_000_001);
        assert_eq!((moved.resources.len(), moved.stall_ns), (1, Some(21_000_000)));
        assert_eq!(Moved::within(&moves, 0, 30_000_000).stall_ns, None);
    }

    #[test]
    fn a_key_that_nobody_wants_does_not_stall_nor_one_that_is_entered_while_another_is_inside() {
        let refused = What::Returned { outcome: Outcome::TimedOut };
        let unwanted = history(&[
            (1, 0, What::Invoked),
            (1, 0, granted(1)),
            (2, 0, entered(0, 0)),
            (3, 2, What::Invoked),
            (4, 2, refused),
            (9, 0, left(1)),
            (50, 1, What::Invoked),
            (50, 1, granted(2)),
            (51, 1, entered(0, 1)),
        ]);
        assert_eq!(unwanted, [Move { at_ns: 51_000_000, resource: 0, stall_ns: 1_000_000 }]);
        let race = history(&[
            (1, 0, What::Invoked),
            (1, 0, granted(1)),
            (2, 0, entered(0, 0)),
            (5, 1, What::Invoked),
            (5, 1, granted(2)),
            (6, 1, entered(0, 0)),
        ]);
        assert_eq!(race, [Move { at_ns: 6_000_000, resource: 0, stall_ns: 0 }]);
    }

    #[test]
    fn a_key_that_stays_does_not_move() {
        let table = [0, 2].into_iter().flat_map(|task| {
            let at = u64::from(task) * 10;
            [
                (at, task, What::Invoked),
                (at, task, granted(1)),
                (at + 1, task, entered(0, 0)),
                (at + 5, task, left(1)),
            ]
        });
        assert_eq!(history(&table.collect::<Vec<_>>()), []);
    }
}
