//! The run's clock, as mechanisms want it.

use harness::engine::Clock;

/// The clock of a run for lock clients, nodes of the ring and nodes of the job queue.
#[derive(Debug)]
pub(super) struct NodeClock(pub(super) Clock);

impl lock_backends::Now for NodeClock {
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}

impl queue_lockfree::Now for NodeClock {
    fn now_ns(&self) -> u64 {
        self.0.now_ns()
    }
}
