//! When tasks arrive, as a scenario says it: at a rate, all at once, or in bursts.

use super::{Scenario, ScenarioSpec, SpecError};

/// The most tasks of one run.
const MOST_TASKS: f64 = 10_000_000.0;

/// How tasks arrive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arrivals {
    /// Independent of each other, so many a second for so long.
    Poisson {
        /// Tasks per second.
        rate_per_s: f64,
        /// How long.
        duration_s: f64,
    },
    /// So many at once, and nothing else.
    Burst(u32),
    /// A burst again and again, each on one resource, the next one each time.
    Bursts {
        /// Tasks of a burst.
        tasks: u32,
        /// From one to the next.
        every_s: f64,
        /// The first is at the beginning of this, the last within it.
        duration_s: f64,
    },
}

impl ScenarioSpec {
    /// How tasks arrive; `None` where the fields do not go together.
    #[must_use]
    pub fn arrivals(&self) -> Option<Arrivals> {
        match (self.rate_per_s, self.duration_s, self.burst, self.burst_every_s) {
            (Some(rate_per_s), Some(duration_s), None, None) => {
                Some(Arrivals::Poisson { rate_per_s, duration_s })
            }
            (None, None, Some(tasks), None) => Some(Arrivals::Burst(tasks)),
            (None, Some(duration_s), Some(tasks), Some(every_s)) => {
                Some(Arrivals::Bursts { tasks, every_s, duration_s })
            }
            _ => None,
        }
    }
}

impl Scenario {
    pub(super) fn validate_arrivals(&self) -> Result<(), SpecError> {
        let few = |key: &str, tasks: f64| match tasks <= MOST_TASKS {
            true => Ok(()),
            false => Err(self.error_of(key, "more than 10 million tasks in one run; lower it or duration_s")),
        };
        let burst = |tasks: u32| match tasks {
            1..=1_000_000 => Ok(()),
            _ => Err(self.error_of("burst", "must be from 1 to 1,000,000")),
        };
        match self.spec.arrivals() {
            Some(Arrivals::Poisson { rate_per_s, duration_s }) => {
                self.positive("rate_per_s", rate_per_s)?;
                self.positive("duration_s", duration_s)?;
                few("rate_per_s", rate_per_s * duration_s)
            }
            Some(Arrivals::Burst(tasks)) => burst(tasks),
            Some(Arrivals::Bursts { tasks, every_s, duration_s }) => {
                burst(tasks)?;
                self.positive("burst_every_s", every_s)?;
                self.positive("duration_s", duration_s)?;
                few("burst", f64::from(tasks) * (duration_s / every_s).ceil())
            }
            None => Err(self.error_of(
                "name",
                "the scenario needs either rate_per_s and duration_s, or burst, or burst with burst_every_s and duration_s",
            )),
        }
    }
}
