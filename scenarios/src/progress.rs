//! What a user sees while a batch runs: bars on a terminal, plain lines elsewhere.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use harness::engine::Progress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::batch::Show;

/// Shows progress on standard error.
#[derive(Debug, Default)]
pub struct Display {
    /// The run in progress: its title and, on a terminal, its bar.
    current: Mutex<Option<(String, ProgressBar)>>,
}

impl Display {
    fn current(&self) -> std::sync::MutexGuard<'_, Option<(String, ProgressBar)>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Show for Display {
    fn line(&self, text: &str) {
        eprintln!("{text}");
    }

    fn begin(&self, title: &str, tasks: u64, progress: Arc<Progress>) {
        // Drawn only on a terminal; indicatif hides it elsewhere.
        let counts = move |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let (started, returned) =
                (progress.started.load(Ordering::Relaxed), progress.returned.load(Ordering::Relaxed));
            let done = 24 * returned / state.len().unwrap_or(1).max(1);
            let bar: String = (0..24).map(|place| if place < done { '█' } else { '░' }).collect();
            // A terminal that cannot be written to is indicatif's business.
            let _shown =
                write!(out, "{bar} {returned} returned, {} open", started.saturating_sub(returned)).is_ok();
        };
        let style = ProgressStyle::with_template("{spinner} {msg:<28} {counts}")
            .expect("the template is a constant")
            .with_key("counts", counts);
        let bar = ProgressBar::new(tasks).with_style(style).with_message(title.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        *self.current() = Some((title.to_owned(), bar));
    }

    fn end(&self, summary: &str) {
        if let Some((title, bar)) = self.current().take() {
            bar.finish_and_clear();
            eprintln!("{title:<28} {summary}");
        }
    }
}
