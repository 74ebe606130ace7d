//! Collects the events of a run while it goes on.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::history::History;
use super::last_words::LastWords;
use super::progress::Progress;
use super::spill::Writer;
use crate::model::{Event, TaskId, What};

/// Events that are held before they are written: about 10 MB. Shorter histories stay in memory.
const HELD: usize = 1 << 17;

/// Collects the events of a run. One short lock: an append costs less than a channel's.
#[derive(Debug)]
pub struct Recorder {
    recorded: Mutex<Recorded>,
    progress: Arc<Progress>,
    /// Where events go when there are too many of them; `None`: nowhere.
    spill: Option<PathBuf>,
    held: usize,
    /// Where each is written at once, for the case that this process is killed.
    words: Option<LastWords>,
    /// Events after this stamp are none of the run.
    ended_ns: AtomicU64,
}

/// What a task's node has told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Told {
    #[default]
    Nothing,
    Invoked,
    Returned,
}

#[derive(Debug, Default)]
struct Recorded {
    events: Vec<Event>,
    /// By task, as far as any was told of.
    tasks: Vec<Told>,
    writer: Option<io::Result<Writer>>,
}

impl Default for Recorder {
    fn default() -> Self {
        let ended_ns = AtomicU64::new(u64::MAX);
        Self {
            recorded: Mutex::default(),
            progress: Arc::default(),
            spill: None,
            held: HELD,
            words: None,
            ended_ns,
        }
    }
}

impl Recorder {
    /// One that moves the counts as it goes, and writes to a file in this folder what is too much to be held.
    #[must_use]
    pub fn new(progress: Arc<Progress>, folder: PathBuf) -> Self {
        Self { progress, spill: Some(folder), ..Self::default() }
    }

    /// One of a process that may be killed: what it has recorded is not lost then.
    pub(crate) fn with_last_words(words: Option<LastWords>) -> Self {
        Self { words, ..Self::default() }
    }

    /// What can be seen of the run.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Where this process writes what must not die with it.
    pub(crate) fn words(&self) -> Option<&LastWords> {
        self.words.as_ref()
    }

    /// What happens after this stamp is none of the run any more: it was stopped, and what is open is dropped, so that whoever
    /// waited may be let in while the agent has not heard of who was inside.
    pub(crate) fn end(&self, at_ns: u64) {
        self.ended_ns.store(at_ns, Ordering::Relaxed);
    }

    /// Whether a stamp is none of the run any more.
    pub(crate) fn is_past_the_end(&self, at_ns: u64) -> bool {
        at_ns > self.ended_ns.load(Ordering::Relaxed)
    }

    /// Appends an event.
    pub fn record(&self, event: Event) {
        if self.is_past_the_end(event.at_ns) {
            return;
        }
        let root = event.step.step == 0 && event.node.is_some() && !event.step.task.is_bystander();
        let told = match event.what {
            What::Invoked if root => Told::Invoked,
            What::Returned { .. } if root => Told::Returned,
            _ => Told::Nothing,
        };
        match told {
            Told::Nothing => {}
            Told::Invoked => self.progress.count(&self.progress.started),
            Told::Returned => {
                if let What::Returned { outcome } = &event.what {
                    self.progress.task_returned(event.step.task, event.at_ns, outcome);
                }
            }
        }
        let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        let Recorded { events, tasks, writer } = &mut *recorded;
        if told != Told::Nothing {
            let task = event.step.task.0 as usize;
            if tasks.len() <= task {
                tasks.resize(task + 1, Told::Nothing);
            }
            // A task returns once, and its invocation may be told after that.
            if tasks[task] != Told::Returned {
                tasks[task] = told;
            }
        }
        if let Some(words) = &self.words {
            words.event(&event);
        }
        events.push(event);
        // Where the disk is behind, it is asked again after as many events.
        if let Some(folder) = self.spill.as_ref().filter(|_| events.len().is_multiple_of(self.held)) {
            let writer = writer.get_or_insert_with(|| Writer::start(folder.clone()));
            if let Ok(writer) = writer {
                let next = writer.spare().unwrap_or_else(|| Vec::with_capacity(self.held));
                let full = std::mem::replace(events, next);
                if let Some(back) = writer.offer(full) {
                    *events = back;
                }
            }
        }
    }

    /// What was told of a task so far.
    pub(crate) fn told(&self, task: TaskId) -> Told {
        let recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        recorded.tasks.get(task.0 as usize).copied().unwrap_or_default()
    }

    /// Takes the events out that are held, in the order of their recording: all, where none is written.
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.recorded.lock().unwrap_or_else(PoisonError::into_inner).events)
    }

    /// Takes the history out. Events of one stamp keep the order of their recording. Waits for the disk where some are
    /// written.
    #[must_use]
    pub fn finish(&self) -> History {
        let recorded = std::mem::take(&mut *self.recorded.lock().unwrap_or_else(PoisonError::into_inner));
        match recorded.writer {
            None => History::held(recorded.events),
            Some(writer) => History::written(writer.and_then(|writer| writer.finish(recorded.events))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Events as _, NodeId, Outcome, StepRef};

    fn recorder(held: usize, folder: PathBuf) -> Recorder {
        Recorder { held, ..Recorder::new(Arc::default(), folder) }
    }

    fn event(at_ns: u64, task: u32, what: What) -> Event {
        Event { at_ns, node: Some(NodeId(0)), step: StepRef { task: TaskId(task), step: 0 }, what }
    }

    #[test]
    fn a_long_history_is_written_and_the_same_as_if_it_were_held() {
        let folder = tempfile::tempdir().unwrap();
        let (long, short) =
            (recorder(7, folder.path().to_owned()), recorder(1_000, folder.path().to_owned()));
        for number in 0..100 {
            // Late by up to 20 places, two of each stamp.
            let event = event(u64::from(number / 2 + number % 10 * 3), number, What::Invoked);
            long.record(event.clone());
            short.record(event);
        }
        let (long, short) = (long.finish(), short.finish());
        assert!(!long.is_held() && short.is_held());
        assert_eq!(long.to_vec().unwrap(), short.to_vec().unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn an_event_is_recorded_without_memory_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(1_000, folder.path().to_owned());
        let record = |range: std::ops::Range<u32>| {
            range.for_each(|number| {
                recorder.record(event(u64::from(number), number, What::Invoked));
                recorder.record(event(
                    u64::from(number),
                    number,
                    What::Returned { outcome: Outcome::Completed },
                ));
            });
        };
        record(0..10_000);
        // What was told of so many tasks grows by doubling. A buffer comes back, or one is made, or this one grows, per thousand.
        let allocated = allocation_counter::measure(|| record(10_000..60_000));
        assert!(allocated.count_total <= 2 * 100 + 10, "{allocated:?}");
        assert_eq!(recorder.finish().to_vec().unwrap().len(), 120_000);
    }

    #[test]
    fn a_history_that_could_not_be_written_says_so_and_is_not_taken_for_a_short_one() {
        let recorder = recorder(2, PathBuf::from("/nonexistent"));
        (0..9).for_each(|number| recorder.record(event(1, number, What::Invoked)));
        let error = recorder.finish().pass(&mut |_, _| ()).unwrap_err();
        assert!(error.to_string().starts_with("the history could not be written"), "{error}");
    }

    #[test]
    fn what_was_told_of_a_task_is_known_also_when_its_events_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let recorder = recorder(2, folder.path().to_owned());
        let returned = || What::Returned { outcome: Outcome::Completed };
        for (task, what) in
            [(0, What::Invoked), (1, What::Invoked), (1, returned()), (3, returned()), (3, What::Invoked)]
        {
            recorder.record(event(1, task, what));
        }
        let told: Vec<Told> = (0..5).map(|task| recorder.told(TaskId(task))).collect();
        assert_eq!(told, [Told::Invoked, Told::Returned, Told::Nothing, Told::Returned, Told::Nothing]);
    }
}
