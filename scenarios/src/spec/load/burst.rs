//! Tasks that arrive all at once.

use rand_chacha::ChaCha8Rng;

use super::shape::{Load, Shape, Start, bounded_burst};
use crate::spec::error::Wrong;

pub(super) const SHAPE: Shape = Shape {
    fields: "burst",
    asked: |spec| match (spec.rate_per_s, spec.duration_s, spec.burst, spec.burst_every_s) {
        (None, None, Some(tasks), None) if spec.arrivals.is_none() => Some(Box::new(Burst { tasks })),
        _ => None,
    },
};

/// So many at once, and nothing else.
#[derive(Debug)]
struct Burst {
    tasks: u32,
}

impl Load for Burst {
    fn validate(&self) -> Result<(), Wrong> {
        bounded_burst(self.tasks)
    }

    fn window_ns(&self) -> u64 {
        1
    }

    fn is_paced(&self) -> bool {
        false
    }

    fn starts<'a>(&'a self, _: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = Start> + 'a> {
        Box::new(std::iter::repeat_n(Start { at_ns: 0, turn: None, entry: None }, self.tasks as usize))
    }
}
