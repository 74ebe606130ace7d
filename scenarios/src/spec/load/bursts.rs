//! A burst again and again, each on one resource, the next one each time.

use rand_chacha::ChaCha8Rng;

use super::shape::{Load, MOST_WINDOW_S, Shape, Start, bounded_burst, few};
use crate::spec::error::{Wrong, within};
use crate::spec::units::nanos;

pub(super) const SHAPE: Shape = Shape {
    fields: "burst with burst_every_s and duration_s",
    asked: |spec| match (spec.rate_per_s, spec.duration_s, spec.burst, spec.burst_every_s) {
        (None, Some(duration_s), Some(tasks), Some(every_s)) if spec.arrivals.is_none() => {
            Some(Box::new(Bursts { tasks, every_s, duration_s }))
        }
        _ => None,
    },
};

#[derive(Debug)]
struct Bursts {
    /// Of a burst.
    tasks: u32,
    /// From one to the next.
    every_s: f64,
    /// The first is at the beginning of this, the last within it.
    duration_s: f64,
}

impl Load for Bursts {
    fn validate(&self) -> Result<(), Wrong> {
        bounded_burst(self.tasks)?;
        within("burst_every_s", self.every_s, 1e-6, MOST_WINDOW_S)?;
        within("duration_s", self.duration_s, 1e-6, MOST_WINDOW_S)?;
        few("burst", f64::from(self.tasks) * (self.duration_s / self.every_s).ceil())
    }

    fn window_ns(&self) -> u64 {
        nanos(self.duration_s)
    }

    fn is_paced(&self) -> bool {
        false
    }

    fn starts<'a>(&'a self, _: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = Start> + 'a> {
        let bursts = (self.duration_s / self.every_s).ceil() as u32;
        let burst =
            |turn| Start { at_ns: nanos(f64::from(turn) * self.every_s), turn: Some(turn), entry: None };
        Box::new((0..bursts).flat_map(move |turn| std::iter::repeat_n(burst(turn), self.tasks as usize)))
    }
}
