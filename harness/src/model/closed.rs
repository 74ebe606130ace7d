//! A closed loop: so many callers, each of whom asks again when it has been answered and has thought.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde::{Deserialize, Serialize};

use super::id::{NodeId, TaskId};
use super::seed::splitmix;

/// Who asks, where tasks do not arrive by themselves: a fixed number of callers, dealt out to the nodes in turns. Each takes the next
/// task of its node as soon as its last one has returned and it has thought. So whoever is slow is asked less: what would have
/// arrived meanwhile is not in any figure (coordinated omission).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Closed {
    /// How many; at least one a node.
    pub callers: u32,
    /// How long each thinks between two tasks, the mean of an exponential distribution; 0: not at all.
    pub think_ns: u64,
}

impl Closed {
    /// Where a caller, counted from 0, asks.
    #[must_use]
    pub fn node_of(self, caller: u32, nodes: u16) -> NodeId {
        NodeId((caller % u32::from(nodes.max(1))) as u16)
    }

    /// Those who ask at a node.
    pub fn callers_at(self, node: NodeId, nodes: u16) -> impl Iterator<Item = u32> {
        (u32::from(node.0)..self.callers).step_by(usize::from(nodes.max(1)))
    }

    /// How long a caller thinks before its first task.
    #[must_use]
    pub fn first_thought_ns(self, seed: u64, caller: u32) -> u64 {
        self.drawn_ns(splitmix(seed ^ FIRST) ^ u64::from(caller))
    }

    /// How long whoever had this task thinks after it.
    #[must_use]
    pub fn thought_ns(self, seed: u64, after: TaskId) -> u64 {
        self.drawn_ns(splitmix(seed ^ NEXT) ^ u64::from(after.0))
    }

    fn drawn_ns(self, seed: u64) -> u64 {
        if self.think_ns == 0 {
            return 0;
        }
        // Of (0, 1], so that its logarithm is finite.
        let uniform = ((splitmix(seed) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        (-uniform.ln() * self.think_ns as f64) as u64
    }
}

/// Keep thoughts apart from each other and from all else that is drawn.
const FIRST: u64 = 0xC1_05ED;
const NEXT: u64 = 0xC1_05EE;

/// When callers ask if nobody ever waits: the earliest that each task can begin.
#[derive(Debug)]
pub struct Unhindered {
    closed: Closed,
    seed: u64,
    /// When each asks next; the first of them takes the next task.
    next: BinaryHeap<Reverse<(u64, u32)>>,
    taken: u32,
}

impl Unhindered {
    /// Before the first task.
    #[must_use]
    pub fn new(closed: Closed, seed: u64) -> Self {
        let next = (0..closed.callers).map(|caller| Reverse((closed.first_thought_ns(seed, caller), caller)));
        Self { closed, seed, next: next.collect(), taken: 0 }
    }

    /// When the next task is asked for, and by which caller, who is inside for so long then. Never earlier than the one before.
    pub fn take(&mut self, inside_ns: u64) -> Option<(u64, u32)> {
        let Reverse((at_ns, caller)) = self.next.pop()?;
        let thought_ns = self.closed.thought_ns(self.seed, TaskId(self.taken));
        self.taken += 1;
        self.next.push(Reverse((at_ns.saturating_add(inside_ns).saturating_add(thought_ns), caller)));
        Some((at_ns, caller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_caller_is_at_one_node() {
        let closed = Closed { callers: 8, think_ns: 0 };
        let at = |node| closed.callers_at(NodeId(node), 3).collect::<Vec<_>>();
        assert_eq!([at(0), at(1), at(2)], [vec![0, 3, 6], vec![1, 4, 7], vec![2, 5]]);
        assert!((0..8).all(|caller| at(closed.node_of(caller, 3).0).contains(&caller)));
    }

    #[test]
    fn thoughts_are_exponential_and_follow_from_the_seed() {
        let closed = Closed { callers: 1, think_ns: 1_000_000 };
        let thoughts: Vec<u64> = (0..20_000).map(|task| closed.thought_ns(7, TaskId(task))).collect();
        let mean = thoughts.iter().sum::<u64>() as f64 / thoughts.len() as f64;
        // The standard error is 1 / √20,000 = 0.7 %.
        assert!((mean / 1e6 - 1.0).abs() < 0.03, "{mean}");
        let longer = thoughts.iter().filter(|ns| **ns > 1_000_000).count() as f64 / thoughts.len() as f64;
        assert!((longer - (-1.0_f64).exp()).abs() < 0.015, "{longer}");
        assert_eq!(thoughts[5], closed.thought_ns(7, TaskId(5)));
        assert_ne!(thoughts[5], closed.thought_ns(8, TaskId(5)));
    }

    #[test]
    fn who_never_waits_asks_when_it_has_worked_and_thought() {
        let mut two = Unhindered::new(Closed { callers: 2, think_ns: 0 }, 1);
        let asked: Vec<_> = [30, 10, 10, 10].map(|inside_ns| two.take(inside_ns).unwrap()).into();
        assert_eq!(asked, [(0, 0), (0, 1), (10, 1), (20, 1)]);
        assert_eq!(two.take(5), Some((30, 0)));
    }
}
