//! Steps at which a task can be made to stand still, so that a fault meets it there.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::model::Point;

/// The steps that the tasks of one process pass. A mechanism that has some calls [`Gate::pass`] at each; a fault that is
/// aimed at one has the next task that comes there stand still until it is told to go on, or its process is killed.
#[derive(Debug)]
pub struct Gate {
    closed: watch::Sender<Option<Point>>,
    /// Whether somebody stands there since it was closed.
    taken: AtomicBool,
    stands: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            closed: watch::Sender::new(None),
            taken: AtomicBool::new(false),
            stands: watch::Sender::new(false),
        }
    }
}

impl Gate {
    /// Comes to a step. Cancel safe.
    pub async fn pass(&self, point: Point) {
        let mut closed = self.closed.subscribe();
        if *closed.borrow_and_update() != Some(point) || self.taken.swap(true, Ordering::SeqCst) {
            return;
        }
        self.stands.send_replace(true);
        // The sender lives as long as this.
        while closed.changed().await.is_ok() && *closed.borrow_and_update() == Some(point) {}
    }

    /// Has the next task that comes to this step stand still there; `None`: opens it again.
    pub(crate) fn close(&self, at: Option<Point>) {
        self.stands.send_replace(false);
        self.taken.store(false, Ordering::SeqCst);
        self.closed.send_replace(at);
    }

    /// Returns when a task stands there. Cancel safe.
    pub(crate) async fn stands(&self) {
        // The sender lives as long as this.
        drop(self.stands.subscribe().wait_for(|stands| *stands).await);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_task_stands_still_at_the_step_where_it_is_closed_until_it_is_opened() {
        let gate = Arc::new(Gate::default());
        gate.pass(Point::Begun).await;
        gate.close(Some(Point::FirstPrepared));
        gate.pass(Point::Begun).await;
        assert!(gate.stands().now_or_never().is_none());
        let mut passing = tokio::task::JoinSet::new();
        let there = Arc::clone(&gate);
        passing.spawn(async move { there.pass(Point::FirstPrepared).await });
        gate.stands().await;
        gate.pass(Point::FirstPrepared).await;
        assert!(passing.try_join_next().is_none(), "the first of them alone stands there");
        gate.close(None);
        passing.join_next().await.unwrap().unwrap();
        assert!(gate.stands().now_or_never().is_none());
    }
}
