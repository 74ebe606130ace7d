//! The present view of a run's ring, and its changes.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::{FaultTarget, FaultVerb, NodeId, Plan, View};

/// The present view of a run: what the driver tells, not what a node has heard.
#[derive(Debug)]
pub(crate) struct Views(Mutex<View>);

impl Views {
    /// The first view: every node but those that are to join later.
    pub(crate) fn new(plan: &Plan) -> Self {
        let joins_later = |node: NodeId| {
            let mut joins = plan.faults.iter().filter(|fault| matches!(fault.verb, FaultVerb::Join { .. }));
            joins.any(|fault| fault.target == FaultTarget::Node(node))
        };
        let members = (0..plan.settings.nodes).map(NodeId).filter(|node| !joins_later(*node)).collect();
        Self(Mutex::new(View { epoch: 1, members }))
    }

    pub(crate) fn now(&self) -> View {
        self.lock().clone()
    }

    /// The view in which the node is a member.
    pub(crate) fn join(&self, node: NodeId) -> Result<View, String> {
        let mut view = self.lock();
        if view.members.contains(&node) {
            return Err(format!("node {} is a member of the ring already", node.0));
        }
        view.members.push(node);
        view.members.sort_unstable();
        view.epoch += 1;
        Ok(view.clone())
    }

    /// The view in which the node is none.
    pub(crate) fn leave(&self, node: NodeId) -> Result<View, String> {
        let mut view = self.lock();
        if !view.members.contains(&node) {
            return Err(format!("node {} is no member of the ring", node.0));
        }
        if view.members.len() == 1 {
            return Err(format!("node {} is the last member of the ring", node.0));
        }
        view.members.retain(|member| *member != node);
        view.epoch += 1;
        Ok(view.clone())
    }

    /// The same members under a new number: one of them was started again, and counts its tokens afresh.
    pub(crate) fn renew(&self) -> View {
        let mut view = self.lock();
        view.epoch += 1;
        view.clone()
    }

    fn lock(&self) -> MutexGuard<'_, View> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture;
    use crate::model::{Fault, LinkTo};

    fn views(nodes: u16, faults: Vec<Fault>) -> Views {
        let plan = Plan::clone(&fixture::run(1, 1, &[]).facts.plan).with_faults(faults);
        let settings = crate::model::PlanSettings { nodes, ..plan.settings };
        Views::new(&Plan { settings, ..plan })
    }

    #[test]
    fn a_node_that_is_to_join_is_outside_at_first_and_every_change_has_the_next_number() {
        let (verb, target) = (FaultVerb::Join { late: None }, FaultTarget::Node(NodeId(1)));
        let views = views(3, vec![Fault { at_ns: 5, for_ns: 5, verb, target, link: LinkTo::Server }]);
        assert_eq!(views.now(), View { epoch: 1, members: vec![NodeId(0), NodeId(2)] });
        let all = vec![NodeId(0), NodeId(1), NodeId(2)];
        assert_eq!(views.join(NodeId(1)), Ok(View { epoch: 2, members: all.clone() }));
        assert!(views.join(NodeId(1)).is_err());
        assert_eq!(views.renew(), View { epoch: 3, members: all });
        assert_eq!(views.leave(NodeId(0)).unwrap().members, [NodeId(1), NodeId(2)]);
        assert!(views.leave(NodeId(0)).is_err());
        assert_eq!(views.now().epoch, 4, "what is refused changes nothing");
    }

    #[test]
    fn the_last_member_cannot_leave() {
        let views = views(1, Vec::new());
        assert!(views.leave(NodeId(0)).is_err());
        assert_eq!(views.now(), View { epoch: 1, members: vec![NodeId(0)] });
    }
}
