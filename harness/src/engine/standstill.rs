//! Times at which nodes of one process stand still: in virtual time there is no process to be stopped.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::model::NodeId;

/// tokio's paused time from 0, as a node knows it.
#[derive(Debug, Clone)]
pub(super) struct Paused {
    origin: Instant,
    standstills: Standstills,
    /// Whose time it is; `None`: nobody's who could stand still.
    node: Option<NodeId>,
}

impl Paused {
    /// From now on; these nodes, by their numbers, stand still at times.
    pub(super) fn new(standstills: Vec<Vec<Range<u64>>>) -> Self {
        Self { origin: Instant::now(), standstills: Standstills::new(standstills), node: None }
    }

    /// As that node knows it.
    pub(super) fn of(&self, node: NodeId) -> Self {
        Self { node: Some(node), ..self.clone() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Until the stamp, or until the node goes on that stands still then.
    pub(super) async fn sleep_until(&self, at_ns: u64) {
        sleep_until(self.origin + Duration::from_nanos(self.awake_ns(at_ns))).await;
    }

    /// At once, unless the node stands still.
    pub(super) async fn awake(&self) {
        let now_ns = self.elapsed().as_nanos() as u64;
        if self.awake_ns(now_ns) > now_ns {
            self.sleep_until(now_ns).await;
        }
    }

    fn awake_ns(&self, at_ns: u64) -> u64 {
        self.node.map_or(at_ns, |node| self.standstills.awake_ns(node, at_ns))
    }
}

/// When which nodes stand still, by the run's clock.
#[derive(Debug, Clone, Default)]
struct Standstills {
    /// By number of the node; each by time, apart from each other.
    of: Arc<[Vec<Range<u64>>]>,
}

impl Standstills {
    /// Of these nodes, by their numbers; those of one may overlap.
    fn new(of: Vec<Vec<Range<u64>>>) -> Self {
        Self { of: of.into_iter().map(apart).collect() }
    }

    /// When a node goes on that is to be awake at this stamp.
    fn awake_ns(&self, node: NodeId, at_ns: u64) -> u64 {
        let Some(times) = self.of.get(usize::from(node.0)) else { return at_ns };
        let next = times.partition_point(|time| time.end <= at_ns);
        times.get(next).filter(|time| time.start <= at_ns).map_or(at_ns, |time| time.end)
    }
}

/// The same times, those that overlap as one.
fn apart(mut times: Vec<Range<u64>>) -> Vec<Range<u64>> {
    times.sort_by_key(|time| time.start);
    let mut apart: Vec<Range<u64>> = Vec::with_capacity(times.len());
    for time in times {
        match apart.last_mut() {
            Some(last) if time.start <= last.end => last.end = last.end.max(time.end),
            _ => apart.push(time),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_stands_still_goes_on_when_the_last_of_what_overlaps_is_over() {
        let standstills = Standstills::new(vec![vec![30..40, 10..20, 15..25]]);
        let awake = |node, at_ns| standstills.awake_ns(NodeId(node), at_ns);
        let told: Vec<_> = [9, 10, 19, 24, 25, 29, 30, 40].map(|at_ns| awake(0, at_ns)).into();
        assert_eq!(told, [9, 25, 25, 25, 25, 29, 40, 40]);
        assert_eq!(awake(1, 15), 15, "of another node nothing is said");
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_stands_still_does_not_wake_and_others_do() {
        const MS: u64 = 1_000_000;
        let clock = Paused::new(vec![vec![5 * MS..20 * MS]]);
        let [paused, other] = [0, 1].map(|node| clock.of(NodeId(node)));
        other.sleep_until(6 * MS).await;
        assert_eq!(clock.elapsed().as_nanos() as u64, 6 * MS);
        other.awake().await;
        assert_eq!(clock.elapsed().as_nanos() as u64, 6 * MS);
        // It was due before, or is due now.
        paused.awake().await;
        assert_eq!(clock.elapsed().as_nanos() as u64, 20 * MS);
        paused.sleep_until(21 * MS).await;
        assert_eq!(clock.elapsed().as_nanos() as u64, 21 * MS);
    }
}
