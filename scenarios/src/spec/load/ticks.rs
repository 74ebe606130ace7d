//! A scheduled job: every node asks for it at every tick, by its own clock.

use rand_chacha::ChaCha8Rng;

use super::shape::{Load, MOST_WINDOW_S, Shape, Start, few};
use crate::spec::error::{Wrong, within};
use crate::spec::units::nanos;

pub(super) const SHAPE: Shape = Shape {
    fields: "tick_every_s and duration_s",
    asked: |spec| match (spec.rate_per_s, spec.duration_s, spec.burst, spec.burst_every_s) {
        (None, Some(duration_s), None, None) if spec.arrivals.is_none() => Some(Box::new(Ticks {
            every_s: spec.tick_every_s?,
            duration_s,
            nodes: spec.nodes,
            behind_s: spec.clocks_ms.iter().map(|ms| ms / 1e3).collect(),
        })),
        _ => None,
    },
};

/// One task a node at each tick, all on that tick's resource.
#[derive(Debug)]
struct Ticks {
    every_s: f64,
    /// The last tick is within this.
    duration_s: f64,
    nodes: u16,
    /// How far each node's clock is behind: so much later it sees a tick.
    behind_s: Vec<f64>,
}

/// How far clocks may differ, at most.
const MOST_SKEW_S: f64 = 3_600.0;

impl Load for Ticks {
    fn validate(&self) -> Result<(), Wrong> {
        within("tick_every_s", self.every_s, 1e-3, MOST_WINDOW_S)?;
        within("duration_s", self.duration_s, 1e-6, MOST_WINDOW_S)?;
        if self.behind_s.len() > usize::from(self.nodes) {
            let what = format!("has {} clocks for {} nodes", self.behind_s.len(), self.nodes);
            return Err(Wrong { key: "clocks_ms", what });
        }
        for behind_s in &self.behind_s {
            within("clocks_ms", *behind_s * 1e3, 0.0, MOST_SKEW_S * 1e3)?;
        }
        few("tick_every_s", (self.duration_s / self.every_s).ceil() * f64::from(self.nodes))
    }

    fn window_ns(&self) -> u64 {
        nanos(self.duration_s)
    }

    fn is_paced(&self) -> bool {
        false
    }

    fn starts<'a>(&'a self, _: &'a mut ChaCha8Rng) -> Box<dyn Iterator<Item = Start> + 'a> {
        let ticks = (self.duration_s / self.every_s).ceil() as u32;
        let seen = |turn: u32, node: u16| {
            let behind_s = self.behind_s.get(usize::from(node)).copied().unwrap_or(0.0);
            let at_ns = nanos(f64::from(turn) * self.every_s + behind_s);
            Start { at_ns, turn: Some(turn), entry: Some(node) }
        };
        let all = (0..ticks).flat_map(|turn| (0..self.nodes).map(move |node| (turn, node)));
        let mut starts: Vec<Start> = all.map(|(turn, node)| seen(turn, node)).collect();
        // Whose clock is behind by more than a tick sees one after others have seen the next.
        starts.sort_by_key(|start| start.at_ns);
        let window_ns = self.window_ns();
        starts.retain(|start| start.at_ns < window_ns);
        Box::new(starts.into_iter())
    }
}
