//! When which node stood still or was down.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{NodeId, Outage, Standstill};

/// Those of a run.
#[derive(Debug, Default)]
pub(super) struct Outages(Mutex<Vec<Outage>>);

impl Outages {
    /// Notes the beginning of an outage by a fault.
    pub(super) fn begin(&self, node: NodeId, from_ns: u64, state: Standstill) {
        self.lock().push(Outage { node, from_ns, until_ns: u64::MAX, state, unplanned: None });
    }

    /// Notes the end of a node's last outage by a fault.
    pub(super) fn end(&self, node: NodeId, until_ns: u64, state: Standstill) {
        if let Some(outage) = last(&mut self.lock(), node, state) {
            outage.until_ns = until_ns;
        }
    }

    /// Notes a death that no fault has caused, and how; of a node that is down anyway nothing.
    pub(super) fn died(&self, node: NodeId, from_ns: u64, how: String) {
        let (mut outages, state) = (self.lock(), Standstill::Down);
        if last(&mut outages, node, state).is_none_or(|outage| outage.until_ns < u64::MAX) {
            outages.push(Outage { node, from_ns, until_ns: u64::MAX, state, unplanned: Some(how) });
        }
    }

    /// Notes that nobody knows what a node did before it went down, which was therefore not as planned.
    pub(super) fn doubt(&self, node: NodeId, why: String) {
        if let Some(outage) = last(&mut self.lock(), node, Standstill::Down) {
            outage.unplanned.get_or_insert(why);
        }
    }

    /// All of them.
    pub(super) fn take(&self) -> Vec<Outage> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn last(outages: &mut [Outage], node: NodeId, state: Standstill) -> Option<&mut Outage> {
    outages.iter_mut().rev().find(|outage| outage.node == node && outage.state == state)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(1);

    #[test]
    fn who_is_down_by_a_fault_does_not_die_of_itself_and_who_came_back_may() {
        let outages = Outages::default();
        outages.begin(NODE, 10, Standstill::Down);
        outages.died(NODE, 11, "signal 9".to_owned());
        outages.end(NODE, 20, Standstill::Down);
        outages.died(NODE, 30, "signal 11".to_owned());
        let told: Vec<_> =
            outages.take().into_iter().map(|one| (one.from_ns, one.until_ns, one.unplanned)).collect();
        assert_eq!(told, [(10, 20, None), (30, u64::MAX, Some("signal 11".to_owned()))]);
    }

    #[test]
    fn a_planned_death_whose_last_words_are_lost_was_not_as_planned() {
        let outages = Outages::default();
        outages.begin(NODE, 10, Standstill::Down);
        outages.begin(NodeId(0), 12, Standstill::Down);
        outages.doubt(NODE, "lost".to_owned());
        let told: Vec<_> = outages.take().into_iter().map(|one| one.unplanned).collect();
        assert_eq!(told, [Some("lost".to_owned()), None]);
    }
}
