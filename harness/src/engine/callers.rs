//! Callers who ask one task after the other: a closed loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;

use super::meter::Meter;
use super::node::Node;
use crate::model::{Closed, StepRef, TaskId};

/// Sets a node's callers to work, and waits for all of them.
pub(super) async fn callers(node: Arc<Node>, closed: Closed, meter: Arc<Meter>) {
    let mut open = JoinSet::new();
    let next = Arc::new(AtomicU32::new(0));
    for caller in closed.callers_at(node.id, node.plan.settings.nodes) {
        open.spawn(call(Arc::clone(&node), closed, caller, Arc::clone(&next), Arc::clone(&meter)));
    }
    while let Some(joined) = open.join_next().await {
        joined.expect("a caller does not panic");
    }
}

/// A caller takes the next task of its node, waits until it has returned, thinks, and so on until the window is over or there are no
/// more. `next`: where in the plan that is.
async fn call(node: Arc<Node>, closed: Closed, caller: u32, next: Arc<AtomicU32>, meter: Arc<Meter>) {
    let settings = node.plan.settings;
    let over_ns = node.origin_ns + settings.window_ns;
    node.clock.sleep_until(node.origin_ns + closed.first_thought_ns(settings.seed, caller)).await;
    while node.clock.now_ns() < over_ns {
        let task = loop {
            let task = TaskId(next.fetch_add(1, Ordering::Relaxed));
            match node.plan.tasks.get(task.0 as usize) {
                None => return,
                Some(planned) if planned.entry == node.id => break task,
                Some(_) => {}
            }
        };
        node.ask(StepRef { task, step: 0 }, node.deadline_ns(task)).await;
        meter.note(&node.recorder);
        match closed.thought_ns(settings.seed, task) {
            // Where an answer takes nothing either, the others have their turn.
            0 => tokio::task::coop::consume_budget().await,
            thought_ns => node.clock.sleep_until(node.clock.now_ns() + thought_ns).await,
        }
    }
}
