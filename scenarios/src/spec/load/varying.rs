//! Tasks that arrive independently of each other at a rate that changes: a ramp, a sine, steps.

use std::f64::consts::TAU;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Exp};

use super::shape::{Load, MOST_TASKS, MOST_WINDOW_S, Shape, Start, few};
use crate::spec::arrivals::ShapeWord;
use crate::spec::error::{Wrong, within};
use crate::spec::units::nanos;

pub(super) const SHAPE: Shape = Shape {
    fields: "duration_s with `arrivals = { shape = \"ramp\", to_per_s = … }` or `{ shape = \"sine\", swing = …, period_s = … }` and rate_per_s, or \
             with `{ shape = \"steps\", rates_per_s = […] }`",
    asked: |spec| {
        let arrivals = spec.arrivals.as_ref()?;
        let duration_s = spec.duration_s.filter(|_| spec.burst.is_none() && spec.burst_every_s.is_none())?;
        let rate = match (arrivals.shape, spec.rate_per_s) {
            (ShapeWord::Ramp, Some(from)) => Rate::Ramp { from, to: arrivals.to_per_s? },
            (ShapeWord::Sine, Some(mean)) => {
                Rate::Sine { mean, swing: arrivals.swing?, period_s: arrivals.period_s? }
            }
            (ShapeWord::Steps, None) => {
                Rate::Steps(arrivals.rates_per_s.clone().filter(|rates| !rates.is_empty())?)
            }
            _ => return None,
        };
        Some(Box::new(Varying { rate, duration_s }))
    },
};

#[derive(Debug)]
struct Varying {
    rate: Rate,
    duration_s: f64,
}

/// Tasks a second, by time.
#[derive(Debug)]
enum Rate {
    Ramp { from: f64, to: f64 },
    Sine { mean: f64, swing: f64, period_s: f64 },
    Steps(Vec<f64>),
}

impl Rate {
    fn at(&self, at_s: f64, duration_s: f64) -> f64 {
        match self {
            Self::Ramp { from, to } => from + (to - from) * at_s / duration_s,
            Self::Sine { mean, swing, period_s } => mean * (1.0 + swing * (TAU * at_s / period_s).sin()),
            Self::Steps(rates) => {
                let step = (at_s / duration_s * rates.len() as f64) as usize;
                rates[step.min(rates.len() - 1)]
            }
        }
    }

    fn most(&self) -> f64 {
        match self {
            Self::Ramp { from, to } => from.max(*to),
            Self::Sine { mean, swing, .. } => mean * (1.0 + swing),
            Self::Steps(rates) => rates.iter().copied().fold(0.0, f64::max),
        }
    }
}

impl Load for Varying {
    fn validate(&self) -> Result<(), Wrong> {
        within("duration_s", self.duration_s, 1e-6, MOST_WINDOW_S)?;
        match &self.rate {
            Rate::Ramp { from, to } => {
                within("rate_per_s", *from, 0.0, MOST_TASKS)?;
                within("to_per_s", *to, 0.0, MOST_TASKS)?;
            }
            Rate::Sine { mean, swing, period_s } => {
                within("rate_per_s", *mean, 1e-6, MOST_TASKS)?;
                within("swing", *swing, 0.0, 1.0)?;
                within("period_s", *period_s, 1e-3, MOST_WINDOW_S)?;
            }
            Rate::Steps(rates) => {
                for rate in rates {
                    within("rates_per_s", *rate, 0.0, MOST_TASKS)?;
                }
                within("rates_per_s", rates.len() as f64, 1.0, 1_000.0)?;
            }
        }
        within("arrivals", self.rate.most(), 1e-6, 2.0 * MOST_TASKS)?;
        few("arrivals", self.rate.most() * self.duration_s)
    }

    fn window_ns(&self) -> u64 {
        nanos(self.duration_s)
    }

    fn is_paced(&self) -> bool {
        true
    }

    /// By thinning (Lewis and Shedler, Simulation of nonhomogeneous Poisson processes by thinning, 1979): as many as at the highest
    /// rate, of which those stay that the rate of their time allows.
    fn starts<'a>(&'a self, rng: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = Start> + 'a> {
        let most = self.rate.most();
        let gap = Exp::new(most).expect("the rate was found to be within");
        let mut at_s = 0.0;
        let candidates = std::iter::from_fn(move || {
            at_s += gap.sample(rng);
            let stays = rng.random::<f64>() * most < self.rate.at(at_s, self.duration_s);
            (at_s < self.duration_s).then_some((at_s, stays))
        });
        let stay = candidates.filter(|(_, stays)| *stays);
        Box::new(stay.map(|(at_s, _)| Start { at_ns: nanos(at_s), turn: None, entry: None }))
    }
}
