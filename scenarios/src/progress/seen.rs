//! What is seen of a run at one moment.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use crate::batch::{Begins, Wrong};

/// What is seen of a run at one moment; as JSON it is what `--progress json` writes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Seen {
    /// Which run.
    pub(super) run: String,
    /// Since its first task was due; below 0 while it is being prepared.
    pub(super) at_s: f64,
    /// How much of the window is over, from 0 to 1.
    pub(super) over: f64,
    /// Tasks that have returned, of all.
    pub(super) returned: u64,
    pub(super) tasks: u64,
    /// Tasks started, and tasks that did all they should, each second since the look before.
    pub(super) offered_per_s: f64,
    pub(super) achieved_per_s: f64,
    /// Tasks that have started and not returned.
    pub(super) in_flight: u64,
    /// Response time since the run began, from when a task was due; absent while tasks are too few to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response_p99_ms: Option<f64>,
    /// Entries and writes that should not have been, as the agent saw them; the verdict is the history's.
    pub(super) overlaps: u64,
    pub(super) lost_updates: u64,
    /// Whether the run is of a control that excludes nobody, so that those are no violations.
    pub(super) control: bool,
    /// What is broken now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<String>,
    /// Until its window is over, and until all is done that was asked for, about.
    pub(super) left_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) all_left_s: Option<f64>,
}

/// A run that is looked at again and again.
#[derive(Debug)]
pub(super) struct Watched {
    begins: Begins,
    /// What comes after its batch takes so long, about.
    beyond_s: Option<f64>,
    /// Stamp and counts of the look before.
    before: (u64, u64, u64),
}

impl Watched {
    pub(super) fn new(begins: Begins, beyond_s: Option<f64>, now_ns: u64) -> Self {
        Self { begins, beyond_s, before: (now_ns, 0, 0) }
    }

    /// A look, at a stamp later than the one before.
    pub(super) fn look(&mut self, now_ns: u64) -> Seen {
        let Begins { title, tasks, window_s, then_s, wrong, progress } = &self.begins;
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (started, completed) = (get(&progress.started), get(&progress.completed));
        let returned = get(&progress.returned);
        let (before_ns, started_before, completed_before) =
            std::mem::replace(&mut self.before, (now_ns, started, completed));
        let since_s = now_ns.saturating_sub(before_ns).max(1) as f64 / 1e9;
        let per_s = |now: u64, before: u64| now.saturating_sub(before) as f64 / since_s;
        // Its origin is told beforehand, and not known at all while servers start and connections open.
        let origin_ns = get(&progress.origin_ns);
        let at_s = if origin_ns == 0 { -1.0 } else { (now_ns as f64 - origin_ns as f64) / 1e9 };
        let left_s = (window_s - at_s.max(0.0)).max(0.0);
        Seen {
            run: title.clone(),
            at_s,
            over: if *window_s > 0.0 { (at_s / window_s).clamp(0.0, 1.0) } else { 0.0 },
            returned,
            tasks: *tasks,
            offered_per_s: per_s(started, started_before),
            achieved_per_s: per_s(completed, completed_before),
            in_flight: started.saturating_sub(returned),
            response_p99_ms: progress.response_p99_ns().map(|ns| ns as f64 / 1e6),
            overlaps: get(&progress.overlaps),
            lost_updates: get(&progress.lost_updates),
            control: *wrong == Wrong::OfAControl,
            fault: progress.fault(),
            left_s,
            all_left_s: then_s.zip(self.beyond_s).map(|(then_s, beyond_s)| left_s + then_s + beyond_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use harness::engine::Progress;

    use super::*;

    #[test]
    fn rates_are_of_the_time_since_the_look_before_and_time_left_is_of_all_that_is_to_come() {
        let progress = Arc::new(Progress::default());
        let begins = Begins {
            title: "block 1/3 redis".to_owned(),
            tasks: 1_000,
            window_s: 10.0,
            then_s: Some(30.0),
            wrong: Wrong::Violations,
            progress: Arc::clone(&progress),
        };
        let mut watched = Watched::new(begins, Some(100.0), 5_000_000_000);
        let first = watched.look(6_000_000_000);
        assert_eq!((first.at_s, first.offered_per_s, first.left_s), (-1.0, 0.0, 10.0), "not begun yet");
        progress.origin_ns.store(6_000_000_000, Ordering::Relaxed);
        progress.started.store(250, Ordering::Relaxed);
        progress.returned.store(240, Ordering::Relaxed);
        progress.completed.store(230, Ordering::Relaxed);
        progress.lost_updates.store(2, Ordering::Relaxed);
        let second = watched.look(8_500_000_000);
        assert_eq!((second.at_s, second.over, second.left_s), (2.5, 0.25, 7.5));
        assert_eq!((second.offered_per_s, second.achieved_per_s, second.in_flight), (100.0, 92.0, 10));
        assert_eq!((second.lost_updates, second.response_p99_ms), (2, None));
        assert_eq!(second.all_left_s, Some(137.5));
        assert_eq!(watched.look(9_500_000_000).offered_per_s, 0.0, "nothing has started since");
    }
}
