//! What a part of a run takes of its process.

use std::sync::{Arc, Weak};

use super::clock::{Clock, process_cpu_ns};
use super::mechanism::Mechanism;
use super::part_ret::Spent;
use super::recorder::Recorder;
use crate::model::Operations;

/// Tells what a part has taken since it began.
#[derive(Debug)]
pub(super) struct Meter {
    clock: Clock,
    mechanism: Weak<dyn Mechanism>,
    cpu_before_ns: u64,
    timer_before_ns: u64,
    operations_before: Option<Operations>,
}

impl Meter {
    pub(super) fn start(clock: &Clock, mechanism: &Arc<dyn Mechanism>) -> Self {
        Self {
            clock: clock.clone(),
            mechanism: Arc::downgrade(mechanism),
            cpu_before_ns: process_cpu_ns(),
            timer_before_ns: clock.timer_cpu_ns(),
            operations_before: mechanism.operations(),
        }
    }

    pub(super) fn spent(&self) -> Spent {
        let operations = self.mechanism.upgrade().and_then(|mechanism| mechanism.operations());
        let operations = operations.zip(self.operations_before).map(|(now, before)| now - before);
        let timer_cpu_ns = self.clock.timer_cpu_ns().saturating_sub(self.timer_before_ns);
        let cpu_ns = process_cpu_ns().saturating_sub(self.cpu_before_ns);
        Spent { process_cpu_ns: cpu_ns.saturating_sub(timer_cpu_ns), timer_cpu_ns, operations }
    }

    /// Writes it down, where what is known here may be lost at any moment.
    pub(super) fn note(&self, recorder: &Recorder) {
        if let Some(words) = recorder.words() {
            words.spent(&self.spent());
        }
    }
}
