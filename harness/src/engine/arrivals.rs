//! The tasks of a node's users: started when they are due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::meter::Meter;
use super::node::Node;
use crate::model::{NodeId, StepRef, TaskId};

/// Users who come to a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whose {
    /// Where they would enter.
    pub(super) entry: NodeId,
    pub(super) from: First,
}

/// The first of them.
#[derive(Debug, Clone, Copy)]
pub(super) enum First {
    /// Due at this stamp or later.
    Stamp(u64),
    /// This one, or one behind it in the plan.
    Task(TaskId),
}

impl Whose {
    fn has(self, number: u32, entry: NodeId, intended_ns: u64) -> bool {
        entry == self.entry
            && match self.from {
                First::Stamp(from_ns) => intended_ns >= from_ns,
                First::Task(from) => number >= from.0,
            }
    }
}

/// Until when users of another node, which is down, are taken.
#[derive(Debug, Clone)]
pub(super) struct Until {
    over: CancellationToken,
    /// The first task that was not taken; with [`LEFT`] no more is.
    left: Arc<AtomicU32>,
}

/// A plan has fewer tasks.
const LEFT: u32 = TaskId::BYSTANDER;

impl Until {
    /// Of a node whose tasks are taken from this one on.
    pub(super) fn back(from: TaskId) -> Self {
        Self { over: CancellationToken::new(), left: Arc::new(AtomicU32::new(from.0)) }
    }

    /// The node is back; the first of its tasks that was not taken.
    pub(super) fn end(&self) -> TaskId {
        self.over.cancel();
        // In one step with what keeps others from being taken.
        TaskId(self.left.fetch_or(LEFT, Ordering::SeqCst))
    }

    /// Takes a task, unless the node that it belongs to is back.
    fn takes(&self, number: u32) -> bool {
        let took = |left: u32| (left & LEFT == 0).then_some(number + 1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, took).is_ok()
    }
}

/// Starts tasks at a node when they are due, and waits for all of them.
pub(super) async fn arrivals(node: Arc<Node>, whose: Whose, until: Option<Until>, meter: Arc<Meter>) {
    let mut open = JoinSet::new();
    for (number, task) in (0..).zip(node.plan.tasks.iter()) {
        let intended_ns = node.origin_ns + task.arrival_ns;
        if !whose.has(number, task.entry, intended_ns) {
            continue;
        }
        let due = node.clock.sleep_until(intended_ns);
        match &until {
            None => due.await,
            Some(until) => {
                if until.over.run_until_cancelled(due).await.is_none() || !until.takes(number) {
                    break;
                }
            }
        }
        let (node, meter) = (Arc::clone(&node), Arc::clone(&meter));
        open.spawn(async move {
            let task = TaskId(number);
            node.ask(StepRef { task, step: 0 }, node.deadline_ns(task)).await;
            meter.note(&node.recorder);
        });
        while let Some(joined) = open.try_join_next() {
            joined.expect("a task does not panic");
        }
    }
    while let Some(joined) = open.join_next().await {
        joined.expect("a task does not panic");
    }
}
