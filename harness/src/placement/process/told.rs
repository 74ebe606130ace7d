//! What the driver tells nodes while they run, and whom it sends elsewhere when one of them is down.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::Reception;
use super::elsewhere::Errand;
use super::frame::ToNode;
use super::seat::{Phase, Seat};
use crate::model::{EntryPolicy, NodeId, Point};

/// For a frame to be taken, and for a node to answer one.
const HEARD: Duration = Duration::from_secs(15);

impl Reception {
    pub(super) async fn tell_one(&self, node: NodeId, frame: ToNode) {
        let to = self.seats.look(|seats| seats[usize::from(node.0)].control.clone());
        self.tell(to, frame).await;
    }

    /// To a node that has just died, nothing can be told; its death is noted where its connection ends.
    pub(super) async fn tell(&self, to: Option<mpsc::Sender<ToNode>>, frame: ToNode) {
        if let Some(to) = to {
            drop(timeout(HEARD, to.send(frame)).await);
        }
    }

    /// Has the next task that comes to a step stand still there, at whatever node but this one; `None`: lets all go on.
    pub(super) async fn halt_all_at(&self, point: Option<Point>, but: Option<NodeId>) {
        for node in (0..self.plan.settings.nodes).map(NodeId).filter(|node| Some(*node) != but) {
            self.seats.change(node, |seat| seat.halted = false);
            self.tell_one(node, ToNode::HaltAt(point)).await;
        }
    }

    /// The node at which one stands. Cancel safe.
    pub(super) async fn halted(&self) -> NodeId {
        let stands = |seats: &[Seat]| seats.iter().position(|seat| seat.halted && seat.phase.is_at_work());
        NodeId(self.seats.until(stands).await as u16)
    }

    /// Sends the users of a node that is down to the next one that lives.
    pub(super) async fn send_elsewhere(&self, down: NodeId) {
        let Reception { plan, recorder, seats, elsewhere, .. } = self;
        let count = plan.settings.nodes;
        let lives = |seats: &[Seat], node: NodeId| seats[usize::from(node.0)].phase.is_at_work();
        let mut others = (1..count).map(|step| NodeId((down.0 + step) % count));
        let next = seats.look(|seats| others.find(|node| lives(seats, *node)));
        let Some(by) = next.filter(|_| plan.entry != EntryPolicy::Sticky) else { return };
        let Errand { from, again } = elsewhere.stand_in(plan, recorder, down, (by, self.clock.now_ns()));
        let advance = |seat: &mut Seat| {
            seat.errands += 1;
            // It may have been through with its own.
            if seat.phase == Phase::Returned {
                seat.phase = Phase::Running;
            }
        };
        seats.change(by, advance);
        self.tell_one(by, ToNode::StandIn { down, from, again }).await;
    }

    /// Has users come to a node again that is about to be back.
    pub(super) async fn call_back(&self, back: NodeId) -> Result<(), String> {
        let Reception { seats, elsewhere, .. } = self;
        let Some(by) = elsewhere.stand_in_of(back) else { return Ok(()) };
        self.tell_one(by, ToNode::StandDown(back)).await;
        let heard = seats.until(|_| elsewhere.stand_in_of(back).is_none().then_some(()));
        let silent = |_| format!("node {} does not say which of its users it has taken", by.0);
        timeout(HEARD, heard).await.map_err(silent)
    }
}
