//! Tasks at equal distances.

use rand_chacha::ChaCha8Rng;

use super::shape::{Load, MOST_TASKS, MOST_WINDOW_S, Shape, Start, few};
use crate::spec::arrivals::ShapeWord;
use crate::spec::error::{Wrong, within};
use crate::spec::units::nanos;

pub(super) const SHAPE: Shape = Shape {
    fields: "rate_per_s and duration_s with `arrivals = { shape = \"constant\" }`",
    asked: |spec| {
        let word = spec.arrivals.as_ref()?.shape;
        match (word, spec.rate_per_s, spec.duration_s, spec.burst, spec.burst_every_s) {
            (ShapeWord::Constant, Some(rate_per_s), Some(duration_s), None, None) => {
                Some(Box::new(Constant { rate_per_s, duration_s }))
            }
            _ => None,
        }
    },
};

/// So many a second, for so long. What arrives so queues less than what arrives by itself: it flatters everybody.
#[derive(Debug)]
struct Constant {
    rate_per_s: f64,
    duration_s: f64,
}

impl Load for Constant {
    fn validate(&self) -> Result<(), Wrong> {
        within("rate_per_s", self.rate_per_s, 1e-6, MOST_TASKS)?;
        within("duration_s", self.duration_s, 1e-6, MOST_WINDOW_S)?;
        few("rate_per_s", self.rate_per_s * self.duration_s)
    }

    fn window_ns(&self) -> u64 {
        nanos(self.duration_s)
    }

    fn is_paced(&self) -> bool {
        true
    }

    fn is_steady(&self) -> bool {
        true
    }

    fn starts<'a>(&'a self, _: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = Start> + 'a> {
        let tasks = (self.rate_per_s * self.duration_s).floor() as u64;
        Box::new((0..tasks).map(|task| Start {
            at_ns: nanos(task as f64 / self.rate_per_s),
            turn: None,
            entry: None,
        }))
    }
}
