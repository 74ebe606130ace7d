//! Where what goes on is shown: a line that is drawn again on a terminal, lines in a log, JSON for programs, or nowhere.

use std::io::IsTerminal as _;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use clap::ValueEnum;
use harness::engine::monotonic_ns;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::seen::{Seen, Watched};
use super::words::{Paint, words};
use crate::batch::{Begins, Show};

/// Between two looks at a run: what is measured must not feel that it is watched.
const TICK: Duration = Duration::from_secs(1);

/// In a log there is a line after so many looks.
const LINE_EVERY: u64 = 10;

/// How what goes on is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Form {
    /// On a terminal a line that is drawn again each second, elsewhere as `plain`.
    #[default]
    Auto,
    /// A line every ten seconds, and one for each run.
    Plain,
    /// A JSON object a line on standard error, each second (docs/schemas/progress.json).
    Json,
    /// Nothing but what came out.
    None,
}

/// A line of `--progress json`.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Told<'a> {
    /// Words.
    Line {
        text: &'a str,
    },
    /// What came out, in words.
    Conclusion {
        text: &'a str,
    },
    RunBegins {
        run: &'a str,
        tasks: u64,
        window_s: f64,
    },
    Tick(Seen),
    RunEnds {
        run: &'a str,
        summary: &'a str,
    },
}

impl Told<'_> {
    fn write(&self) {
        eprintln!("{}", serde_json::to_string(self).expect("nothing in it can fail"));
    }
}

/// Shows what goes on, on standard error.
#[derive(Debug)]
pub struct Display {
    form: Form,
    paint: Paint,
    current: Mutex<Option<Current>>,
    /// What comes after the batch takes so long, about.
    beyond_s: Mutex<Option<f64>>,
}

/// The run in progress.
#[derive(Debug)]
struct Current {
    title: String,
    /// Drawn on a terminal; elsewhere it hides itself.
    bar: ProgressBar,
    /// Dropped to end the looks.
    looking: SyncSender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Default for Display {
    fn default() -> Self {
        Self::new(Form::default())
    }
}

impl Display {
    /// One of this form.
    #[must_use]
    pub fn new(form: Form) -> Self {
        let form = match form {
            Form::Auto if !std::io::stderr().is_terminal() => Form::Plain,
            form => form,
        };
        // https://no-color.org: whatever its value, unless it is empty.
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let paint = if form == Form::Auto && wanted { Paint::Colours } else { Paint::Plain };
        Self { form, paint, current: Mutex::default(), beyond_s: Mutex::new(Some(0.0)) }
    }

    /// What comes after the batch that is about to run takes so long, about; `None` where that is not known.
    pub fn then(&self, beyond_s: Option<f64>) {
        *lock(&self.beyond_s) = beyond_s;
    }

    /// Over what is drawn.
    fn print(&self, text: &str) {
        match &*lock(&self.current) {
            Some(current) => current.bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn tick(form: Form, paint: Paint, bar: &ProgressBar, tick: u64, seen: Seen) {
        match form {
            Form::Auto => bar.set_message(words(&seen, paint)),
            Form::Plain if tick.is_multiple_of(LINE_EVERY) => eprintln!("{}", words(&seen, paint)),
            Form::Json => Told::Tick(seen).write(),
            Form::Plain | Form::None => {}
        }
    }
}

impl Show for Display {
    fn line(&self, text: &str) {
        match self.form {
            Form::Auto | Form::Plain => self.print(text),
            Form::Json => Told::Line { text }.write(),
            Form::None => {}
        }
    }

    fn conclude(&self, text: &str) {
        match self.form {
            Form::Json => Told::Conclusion { text }.write(),
            Form::Auto | Form::Plain | Form::None => self.print(text),
        }
    }

    fn begin(&self, run: Begins) {
        let title = run.title.clone();
        if self.form == Form::Json {
            Told::RunBegins { run: &title, tasks: run.tasks, window_s: run.window_s }.write();
        }
        let bar = match self.form {
            Form::Auto => ProgressBar::new_spinner(),
            Form::Plain | Form::Json | Form::None => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("the template is a constant");
        let bar = bar.with_style(style);
        let mut watched = Watched::new(run, *lock(&self.beyond_s), monotonic_ns());
        let (looking, ended) = sync_channel(0);
        let (form, paint, drawn) = (self.form, self.paint, bar.clone());
        // A thread of its own: what the run does to its runtime must not stop the clock that a user looks at.
        let looks = move || {
            Self::tick(form, paint, &drawn, 1, watched.look(monotonic_ns()));
            for tick in 1.. {
                match ended.recv_timeout(TICK) {
                    Err(RecvTimeoutError::Timeout) => {
                        Self::tick(form, paint, &drawn, tick, watched.look(monotonic_ns()));
                    }
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let named = std::thread::Builder::new().name("progress".to_owned());
        // Without it nothing is shown meanwhile, and the run is what it would be.
        let thread = (form != Form::None).then(|| named.spawn(looks).ok()).flatten();
        let current = Current { title, bar, looking, thread };
        if let Some(former) = lock(&self.current).replace(current) {
            former.end();
        }
    }

    fn end(&self, summary: &str) {
        let Some(current) = lock(&self.current).take() else { return };
        let title = current.end();
        match self.form {
            Form::Auto | Form::Plain => eprintln!("{title:<28} {summary}"),
            Form::Json => Told::RunEnds { run: &title, summary }.write(),
            Form::None => {}
        }
    }
}

impl Current {
    /// No look any more, and nothing drawn; its title.
    fn end(self) -> String {
        let Self { title, bar, looking, thread } = self;
        drop(looking);
        if let Some(thread) = thread {
            // It has nothing to say, and panics with what it shows only.
            let _panicked = thread.join().is_err();
        }
        bar.finish_and_clear();
        title
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
