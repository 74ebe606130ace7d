//! Callers who ask one task after the other.

use harness::model::Closed;
use rand_chacha::ChaCha8Rng;

use super::shape::{Load, MOST_TASKS, MOST_WINDOW_S, Shape, Start};
use crate::spec::arrivals::ShapeWord;
use crate::spec::error::{Wrong, within};
use crate::spec::units::nanos;

pub(super) const SHAPE: Shape = Shape {
    fields: "duration_s with `arrivals = { shape = \"closed\", callers = … }`",
    asked: |spec| {
        let arrivals = spec.arrivals.as_ref()?;
        match (arrivals.shape, spec.rate_per_s, spec.duration_s, spec.burst, spec.burst_every_s) {
            (ShapeWord::Closed, None, Some(duration_s), None, None) => Some(Box::new(Callers {
                callers: arrivals.callers?,
                nodes: spec.nodes,
                think_ms: arrivals.think_ms.unwrap_or(0.0),
                tasks: arrivals.tasks.unwrap_or_else(|| usual_tasks(duration_s)),
                breaks: !spec.faults.is_empty(),
                duration_s,
            })),
            _ => None,
        }
    },
};

/// What callers can come to at most, where nothing else is said: what the bench itself is to carry, and no more than is drawn in a few
/// seconds.
fn usual_tasks(duration_s: f64) -> u32 {
    (200_000.0 * duration_s).clamp(10_000.0, 1_000_000.0) as u32
}

/// More are no closed loop that anybody has.
const MOST_CALLERS: f64 = 100_000.0;

/// So many callers, for so long or until there are no more tasks. Whoever answers slowly is asked less: that flatters everybody who
/// stands still.
#[derive(Debug)]
struct Callers {
    callers: u32,
    nodes: u16,
    think_ms: f64,
    /// At most.
    tasks: u32,
    /// Whether the scenario breaks anything on purpose.
    breaks: bool,
    duration_s: f64,
}

impl Load for Callers {
    fn validate(&self) -> Result<(), Wrong> {
        within("callers", f64::from(self.callers), f64::from(self.nodes).max(1.0), MOST_CALLERS)?;
        within("think_ms", self.think_ms, 0.0, 3_600_000.0)?;
        within("tasks", f64::from(self.tasks), 1.0, MOST_TASKS)?;
        within("duration_s", self.duration_s, 1e-6, MOST_WINDOW_S)?;
        if self.breaks {
            let what = "callers of a closed loop who are stuck ask for nothing more, so that hardly anything of a fault would show: give a \
                        rate instead, or leave it out with `faults=[]`";
            return Err(Wrong { key: "faults", what: what.to_owned() });
        }
        Ok(())
    }

    fn window_ns(&self) -> u64 {
        nanos(self.duration_s)
    }

    fn is_paced(&self) -> bool {
        false
    }

    fn is_steady(&self) -> bool {
        true
    }

    fn closed(&self) -> Option<Closed> {
        Some(Closed { callers: self.callers, think_ns: nanos(self.think_ms / 1e3) })
    }

    /// When each comes hangs on how long those before it take.
    fn starts<'a>(&'a self, _: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = Start> + 'a> {
        Box::new(std::iter::repeat_n(Start { at_ns: 0, turn: None, entry: None }, self.tasks as usize))
    }
}
