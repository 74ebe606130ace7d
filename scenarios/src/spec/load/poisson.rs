//! Tasks that arrive independently of each other.

use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp};

use super::shape::{Load, MOST_TASKS, MOST_WINDOW_S, Shape, Start, few};
use crate::spec::error::{Wrong, within};
use crate::spec::units::nanos;

pub(super) const SHAPE: Shape = Shape {
    fields: "rate_per_s and duration_s",
    asked: |spec| match (spec.rate_per_s, spec.duration_s, spec.burst, spec.burst_every_s) {
        (Some(rate_per_s), Some(duration_s), None, None) if spec.arrivals.is_none() => {
            Some(Box::new(Poisson { rate_per_s, duration_s }))
        }
        _ => None,
    },
};

/// So many a second, for so long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Poisson {
    /// Tasks per second.
    pub rate_per_s: f64,
    /// How long.
    pub duration_s: f64,
}

impl Load for Poisson {
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

    fn starts<'a>(&'a self, rng: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = Start> + 'a> {
        let gap = Exp::new(self.rate_per_s).expect("the rate was found to be within");
        let mut at_s = 0.0;
        Box::new(std::iter::from_fn(move || {
            at_s += gap.sample(rng);
            (at_s < self.duration_s).then(|| Start { at_ns: nanos(at_s), turn: None, entry: None })
        }))
    }
}
