//! What is said between us and a program: lines out, lines in, and who waits for which answer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use harness::program::{Pipes, Program};
use lock_backends::{Operations, Purpose};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::lines::{Lines, OUTBOX, write};
use super::message::{FromProgram, Promises, ToProgram, VERSION, line, quoted};
use super::table::{AcquireRet, Asked, ReleaseRet, Table};

/// From the start of a program until it says hello; a virtual machine takes its time.
const HELLO: Duration = Duration::from_secs(20);

/// For a program that was told to close, to end; then it is killed.
const CLOSE: Duration = Duration::from_millis(1_500);

/// How often a program is asked what it has counted, while something is asked of it.
const COUNTS: Duration = Duration::from_millis(100);

/// For the system to tell how a program ended whose output did.
const REAPED: Duration = Duration::from_millis(200);

/// Lines that are kept to be shown.
const KEPT: usize = 40;

/// A conversation with a program that runs.
#[derive(Debug)]
pub(super) struct Conversation {
    outbox: mpsc::Sender<Vec<u8>>,
    table: Mutex<Table>,
    /// Told when something was lost.
    pub(super) news: Notify,
    /// Fires when nothing more will be said.
    pub(super) over: CancellationToken,
    /// Why, where it was not asked to close.
    why: OnceLock<String>,
    /// What it has counted.
    pub(super) operations: Operations,
    /// Fires when it was asked to close.
    closing: CancellationToken,
    program: tokio::sync::Mutex<Option<Program>>,
    /// The tasks that write and read.
    tasks: Mutex<JoinSet<()>>,
    /// What was said last, where somebody wants to see it.
    said: Option<Mutex<VecDeque<String>>>,
    /// What it is made of, as it says.
    pub(super) library: Option<String>,
}

/// Whether what is said is kept to be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listening {
    /// It is not.
    Off,
    /// The last lines are.
    Keeps,
}

impl Conversation {
    /// Begins with the program's hello, which must promise the same as was promised for it.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) async fn begin(
        mut program: Program,
        pipes: Pipes,
        promised: Promises,
        listening: Listening,
    ) -> Result<Arc<Self>, String> {
        let mut lines = Lines::of(pipes.from);
        let first = match timeout(HELLO, lines.next()).await {
            Ok(Ok(Some(first))) => first,
            Ok(Ok(None)) => return Err(told_end(&mut program).await),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                return Err(with_log(format!("it said no hello within {} s", HELLO.as_secs()), &program));
            }
        };
        let library = greeted(&first, promised)?;
        let (outbox, out) = mpsc::channel(OUTBOX);
        let conversation = Arc::new(Self {
            outbox,
            table: Mutex::default(),
            news: Notify::new(),
            over: CancellationToken::new(),
            why: OnceLock::new(),
            operations: Operations::default(),
            closing: CancellationToken::new(),
            program: tokio::sync::Mutex::new(Some(program)),
            tasks: Mutex::default(),
            said: (listening == Listening::Keeps).then(Mutex::default),
            library,
        });
        conversation.note("<", &first);
        let mut tasks = JoinSet::new();
        let closing = conversation.closing.clone();
        tasks.spawn(write(pipes.to, out, closing));
        // Not one that owns the conversation: it ends when nobody else has it.
        let (weak, over) = (Arc::downgrade(&conversation), conversation.over.clone());
        tasks.spawn(async move {
            let why = loop {
                let next = tokio::select! {
                    biased;
                    () = over.cancelled() => break None,
                    next = lines.next() => next,
                };
                let Some(conversation) = weak.upgrade() else { return };
                let heard = match next {
                    Ok(Some(line)) => conversation.hear(&line),
                    Ok(None) => Err(conversation.how_it_ended().await),
                    Err(error) => Err(error),
                };
                if let Err(why) = heard {
                    break Some(why);
                }
            };
            let Some(conversation) = weak.upgrade() else { return };
            if let Some(why) = why {
                conversation.end(why);
            }
            // Nobody would give back what it holds, so it must not be kept either.
            if !conversation.closing.is_cancelled() {
                conversation.kill().await;
            }
        });
        if promised.counts {
            let weak = Arc::downgrade(&conversation);
            tasks.spawn(async move {
                let mut asking = interval(COUNTS);
                asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    asking.tick().await;
                    let Some(conversation) = weak.upgrade() else { return };
                    let moved = conversation.table().has_moved();
                    if moved {
                        conversation.say(&ToProgram::Counts).await;
                    }
                }
            });
        }
        *conversation.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
        Ok(conversation)
    }

    /// Asks for a lock; the number of the request, and its answer once it has come. `None`: nothing more will come.
    pub(super) async fn acquire(&self, ask: impl FnOnce(u64) -> ToProgram) -> (u64, Option<AcquireRet>) {
        let (id, answered) = self.table().ask();
        self.say(&ask(id)).await;
        (id, self.answer(answered).await)
    }

    /// Gives back what a request was granted; `None`: nothing more will come.
    pub(super) async fn release(&self, id: u64) -> Option<ReleaseRet> {
        let (to_be_said, answered) = self.table().release(id)?;
        if to_be_said {
            self.say(&ToProgram::Release { id }).await;
        }
        self.answer(answered).await
    }

    /// Whether the program still says that it is held.
    pub(super) fn holds(&self, id: u64) -> bool {
        self.table().holds(id)
    }

    /// Why nothing more will be said; `None` while it goes on, and after [`Conversation::close`].
    pub(super) fn why(&self) -> Option<&str> {
        self.why.get().map(String::as_str)
    }

    /// What was said last, a line each, `>` by us and `<` by the program.
    pub(super) fn said(&self) -> Vec<String> {
        let said = self.said.as_ref().map(|said| said.lock().unwrap_or_else(PoisonError::into_inner));
        said.map(|said| said.iter().cloned().collect()).unwrap_or_default()
    }

    /// Ends it because of what the program said or did.
    pub(super) fn end(&self, why: String) {
        if !self.closing.is_cancelled() {
            tracing::debug!(why, "a client contender is out");
            drop(self.why.set(why));
        }
        self.over.cancel();
        // Whoever waits hears that nothing will come.
        self.table().clear();
    }

    /// Has the program give everything back and end, at most for a while; then it is killed.
    pub(super) async fn close(&self) {
        // One that does not read any more is not told.
        drop(timeout(CLOSE, self.say(&ToProgram::Close)).await);
        self.closing.cancel();
        let program = self.program.lock().await.take();
        if let Some(mut program) = program {
            drop(timeout(CLOSE, program.wait()).await);
            drop(tokio::task::spawn_blocking(move || drop(program)).await);
        }
        self.end(String::new());
    }

    /// Kills the program, as a node's death does.
    pub(super) async fn kill(&self) {
        if let Some(program) = self.program.lock().await.as_mut() {
            drop(program.kill().await);
        }
    }

    /// Stops the program, or lets it go on.
    pub(super) async fn pause(&self, stands: bool) {
        if let Some(program) = self.program.lock().await.as_ref() {
            match stands {
                true => drop(program.pause().await),
                false => program.resume(),
            }
        }
    }

    async fn say(&self, message: &ToProgram) {
        let line = line(message);
        if self.said.is_some() {
            self.note(">", String::from_utf8_lossy(&line).trim_end());
        }
        tokio::select! {
            biased;
            () = self.over.cancelled() => {}
            sent = self.outbox.send(line) => drop(sent),
        }
    }

    async fn answer<T>(&self, answered: oneshot::Receiver<T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = answered => answer.ok(),
            () = self.over.cancelled() => None,
        }
    }

    /// Takes a line; or says what is wrong with it.
    fn hear(&self, text: &str) -> Result<(), String> {
        if self.said.is_some() {
            self.note("<", text);
        }
        let said = FromProgram::parse(text)
            .map_err(|error| format!("it said what is no line of the port: {error}"))?;
        let mut table = self.table();
        let heard = match said {
            FromProgram::Hello { .. } => Err("it says hello twice"),
            FromProgram::Granted { id, token, valid_ms, slot } => {
                table.acquired(id, AcquireRet::Granted { token, valid_ms, slot })
            }
            FromProgram::TimedOut { id } => table.acquired(id, AcquireRet::TimedOut),
            FromProgram::Failed { id, why } => table.acquired(id, AcquireRet::Failed(why)),
            FromProgram::Unknown { id, why } if table.is_releasing(id) => {
                table.released(id, ReleaseRet::Unknown(why))
            }
            FromProgram::Unknown { id, why } => table.acquired(id, AcquireRet::Unknown(why)),
            FromProgram::Released { id } => table.released(id, ReleaseRet::Released),
            FromProgram::AlreadyLost { id } => table.released(id, ReleaseRet::AlreadyLost),
            FromProgram::Lost { id, why } => {
                tracing::debug!(?id, why, "a client contender has lost");
                self.news.notify_one();
                table.lost(id)
            }
            FromProgram::Counts { requests, .. } => {
                table.counted(requests).map(|Asked { work, probes }| {
                    self.operations.add(work);
                    // Ready at once: the purpose is all that it is for.
                    Purpose::Probe.scope(async { self.operations.add(probes) }).now_or_never();
                })
            }
        };
        heard.map_err(|what| format!("{what}: it said {}", quoted(text)))
    }

    async fn how_it_ended(&self) -> String {
        // One that is being closed has been taken out.
        match self.program.lock().await.as_mut() {
            Some(program) => told_end(program).await,
            None => "it was closed".to_owned(),
        }
    }

    fn note(&self, whose: &str, text: &str) {
        let Some(said) = &self.said else { return };
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() == KEPT {
            said.pop_front();
        }
        said.push_back(format!("{whose} {text}"));
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks a hello; the library that it names.
fn greeted(text: &str, promised: Promises) -> Result<Option<String>, String> {
    let hello = FromProgram::parse(text).map_err(|error| format!("its first line is no hello: {error}"))?;
    let FromProgram::Hello { version, capabilities, library } = hello else {
        return Err(format!("its first line is no hello: it said {}", quoted(text)));
    };
    if version != VERSION {
        return Err(format!("it speaks version {version} of the port, and this lockbench {VERSION}"));
    }
    match capabilities.difference(&promised) {
        None => Ok(library),
        Some((name, said, promised)) => Err(format!(
            "its hello says {name} = {said}, and its contender.toml promises {name} = {promised}: it said {}",
            quoted(text)
        )),
    }
}

/// How a program whose output has ended did so itself.
async fn told_end(program: &mut Program) -> String {
    let status = timeout(REAPED, program.wait()).await.ok().and_then(Result::ok);
    let mut how = match status {
        Some(status) => format!("its program ended ({status})"),
        None => "its program closed its standard output".to_owned(),
    };
    // Those of shells and interpreters that cannot read or run what they are given.
    let cannot = status.and_then(|status| status.code()).is_some_and(|code| matches!(code, 2 | 126 | 127));
    if let Some(account) = program.account().filter(|_| cannot) {
        how = format!("{how}; it ran as `{account}`, who must be able to read and run it");
    }
    with_log(how, program)
}

fn with_log(how: String, program: &Program) -> String {
    let end = program.log_end();
    if end.is_empty() { how } else { format!("{how}; its log ends: {end}") }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.over.cancel();
    }
}
