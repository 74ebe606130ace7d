//! Collects the events of a run while it goes on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Event, What};

/// Collects the events of a run. One short lock: an append costs less than a channel's.
#[derive(Debug, Default)]
pub struct Recorder {
    events: Mutex<Vec<Event>>,
    progress: Arc<Progress>,
}

/// Counts that move while a run goes on.
#[derive(Debug, Default)]
pub struct Progress {
    /// Tasks started.
    pub started: AtomicU64,
    /// Tasks that returned, however they ended.
    pub returned: AtomicU64,
}

impl Recorder {
    /// One that moves the counts as it goes.
    #[must_use]
    pub fn new(progress: Arc<Progress>) -> Self {
        Self { events: Mutex::default(), progress }
    }

    /// Appends an event.
    pub fn record(&self, event: Event) {
        if event.step.step == 0 && event.node.is_some() {
            match event.what {
                What::Invoked => drop(self.progress.started.fetch_add(1, Ordering::Relaxed)),
                What::Returned { .. } => drop(self.progress.returned.fetch_add(1, Ordering::Relaxed)),
                _ => {}
            }
        }
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }

    /// Takes the events out, in the order of their recording.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the events out, in order of time. Events of one stamp keep the order of their recording.
    #[must_use]
    pub fn finish(&self) -> Vec<Event> {
        let mut events = self.take();
        events.sort_by_key(|event| event.at_ns);
        events
    }
}
