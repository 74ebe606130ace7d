//! The program's side of the port, with one of our own locks behind it: what a lock costs that is asked for over the port, and with
//! nothing behind it, what the port itself costs.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use lock_backends::{ClientOptions, Endpoint, Guard, LockClient, LockError, Mode, SessionOptions, Variant};
use tokio::net::unix::pipe;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::flaw::Flaw;
use super::lines::{Lines, OUTBOX, write};
use super::message::{FromProgram, HowHeld, Promises, ToProgram, VERSION, line};

/// What stands behind the port.
#[derive(Debug, Clone, Copy)]
pub enum Served {
    /// Nothing: everything is granted at once.
    Noop,
    /// One of our own locks.
    Lock(&'static Variant),
}

impl Served {
    /// What it can do.
    #[must_use]
    pub fn promises(self) -> Promises {
        let able = Promises { levels: true, many: true, waits: true, ..Promises::default() };
        match self {
            Self::Noop => Promises { shared: true, ..able },
            Self::Lock(variant) => {
                let can = variant.capabilities;
                Promises {
                    fair: can.fair,
                    token: can.token,
                    shared: can.shared_mode,
                    lease: can.lease,
                    reports_loss: true,
                    counts: true,
                    ..able
                }
            }
        }
    }
}

/// Speaks the port on this process's standard input and output, until it is told to close.
///
/// # Errors
/// When one of the two is no pipe, the environment does not say what it must, or the lock's server cannot be reached.
pub async fn serve(served: Served, flaw: Option<Flaw>) -> anyhow::Result<()> {
    let own = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
    let from = own(std::io::stdin().as_fd()).and_then(pipe::Receiver::from_owned_fd);
    let to = own(std::io::stdout().as_fd()).and_then(pipe::Sender::from_owned_fd);
    let piped = "the port is spoken over pipes: lockbench starts this itself";
    let (mut lines, to) = (Lines::of(from.context(piped)?), to.context(piped)?);
    let (out, waiting) = mpsc::channel(OUTBOX);
    let closing = CancellationToken::new();
    let mut writer = JoinSet::new();
    writer.spawn(write(to, waiting, closing.clone()));
    let lock = match served {
        Served::Noop => None,
        Served::Lock(variant) => Some(Arc::new(Lock::connect(variant, flaw, out.clone()).await?)),
    };
    let hello =
        FromProgram::Hello { version: VERSION, capabilities: served.promises(), library: Some(library()) };
    say(&out, &hello).await;
    let mut holding = JoinSet::new();
    while let Some(text) = lines.next().await.map_err(anyhow::Error::msg)? {
        let told: ToProgram = serde_json::from_str(&text).with_context(|| format!("told {text}"))?;
        if matches!(told, ToProgram::Close) {
            break;
        }
        match &lock {
            Some(lock) => lock.hear(told, &mut holding).await,
            None => say(&out, &granted_at_once(&told)).await,
        }
        // Those that have ended are forgotten.
        while holding.try_join_next().is_some() {}
    }
    holding.shutdown().await;
    if let Some(lock) = lock {
        lock.client.lock().await.close().await;
    }
    closing.cancel();
    writer.join_next().await;
    Ok(())
}

fn library() -> String {
    format!("lockbench {}", env!("CARGO_PKG_VERSION"))
}

/// Where nothing has to be asked for.
fn granted_at_once(told: &ToProgram) -> FromProgram {
    match told {
        ToProgram::Acquire { id, level, .. } => {
            let slot = (*level > 1).then(|| (*id % u64::from(*level)) as u32);
            FromProgram::Granted { id: *id, token: None, valid_ms: None, slot }
        }
        ToProgram::Release { id } => FromProgram::Released { id: *id },
        ToProgram::Counts | ToProgram::Close => FromProgram::Counts { requests: 0, connections: 0 },
    }
}

async fn say(out: &mpsc::Sender<Vec<u8>>, message: &FromProgram) {
    // Whoever does not read any more is gone, which the next line that is to be read tells.
    drop(out.send(line(message)).await);
}

/// One of our own locks, and the requests that hold it or wait for it.
#[derive(Debug)]
struct Lock {
    variant: &'static Variant,
    flaw: Option<Flaw>,
    endpoint: Endpoint,
    node: String,
    ttl: Duration,
    /// Followed by another when its session is lost.
    client: tokio::sync::Mutex<LockClient>,
    /// How many there have been.
    sessions: AtomicU64,
    /// Requests of those that were lost.
    before: AtomicU64,
    out: mpsc::Sender<Vec<u8>>,
    /// Told when a request is to be released.
    releases: Mutex<HashMap<u64, Arc<Notify>>>,
    /// What was not given back, by its flaw.
    kept: Mutex<Vec<Guard>>,
    last_token: AtomicU64,
}

/// A request.
#[derive(Debug)]
struct Asked {
    id: u64,
    keys: Vec<String>,
    mode: HowHeld,
    level: u32,
    within: Duration,
}

impl Lock {
    async fn connect(
        variant: &'static Variant,
        flaw: Option<Flaw>,
        out: mpsc::Sender<Vec<u8>>,
    ) -> anyhow::Result<Self> {
        let of = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        let (endpoint, node) = (Endpoint(of("LOCKBENCH_ENDPOINT")?), of("LOCKBENCH_NODE")?);
        let ttl = of("LOCKBENCH_TTL_MS")?.parse().context("LOCKBENCH_TTL_MS is no number")?;
        let ttl = Duration::from_millis(ttl);
        let client = connect(variant, &endpoint, &node, ttl).await?;
        Ok(Self {
            variant,
            flaw,
            endpoint,
            node,
            ttl,
            client: tokio::sync::Mutex::new(client),
            sessions: AtomicU64::new(1),
            before: AtomicU64::new(0),
            out,
            releases: Mutex::default(),
            kept: Mutex::default(),
            last_token: AtomicU64::new(0),
        })
    }

    async fn hear(self: &Arc<Self>, told: ToProgram, holding: &mut JoinSet<()>) {
        match told {
            ToProgram::Acquire { id, keys, mode, level, within_ms } => {
                let asked = Asked { id, keys, mode, level, within: Duration::from_millis(within_ms) };
                let released = Arc::new(Notify::new());
                self.releases().insert(id, Arc::clone(&released));
                let lock = Arc::clone(self);
                holding.spawn(async move {
                    lock.hold(asked, &released).await;
                    lock.releases().remove(&id);
                });
            }
            ToProgram::Release { id } => {
                let released = self.releases().get(&id).cloned();
                match released {
                    Some(released) => released.notify_one(),
                    None => self.say(&FromProgram::AlreadyLost { id }).await,
                }
            }
            ToProgram::Counts => {
                let requests = self.client.lock().await.counts().operations;
                let requests = requests + self.before.load(Ordering::Relaxed);
                self.say(&FromProgram::Counts { requests, connections: 1 }).await;
            }
            ToProgram::Close => {}
        }
    }

    /// From the request to the answer of its release.
    async fn hold(&self, asked: Asked, released: &Notify) {
        let id = asked.id;
        if self.flaw == Some(Flaw::GrantsTwice) && id.is_multiple_of(2) {
            let token = self.variant.capabilities.token;
            let token = token.then(|| self.last_token.fetch_add(1, Ordering::Relaxed) + 1);
            let slot = (asked.level > 1).then_some(0);
            self.say(&FromProgram::Granted { id, token, valid_ms: None, slot }).await;
            released.notified().await;
            return self.say(&FromProgram::Released { id }).await;
        }
        let guard = match self.acquire(asked).await {
            Ok(guard) => guard,
            Err(answer) => {
                self.say(&answer).await;
                if matches!(answer, FromProgram::Unknown { .. }) {
                    // The client withdraws what may stand by itself.
                    released.notified().await;
                    self.say(&FromProgram::AlreadyLost { id }).await;
                }
                return;
            }
        };
        let lost = guard.lost();
        let honest = self.flaw != Some(Flaw::LiesAboutLoss);
        tokio::select! {
            biased;
            () = released.notified() => {}
            () = lost.cancelled() => {
                if honest {
                    let why = "the lease or the session ended".to_owned();
                    self.say(&FromProgram::Lost { id: Some(id), why }).await;
                }
                released.notified().await;
            }
        }
        if self.flaw == Some(Flaw::ForgetsRelease) {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(guard);
            return self.say(&FromProgram::Released { id }).await;
        }
        let answer = match guard.release().await {
            Ok(()) => FromProgram::Released { id },
            Err(LockError::AlreadyLost) if honest => FromProgram::AlreadyLost { id },
            Err(LockError::AlreadyLost) => FromProgram::Released { id },
            Err(error) => {
                // The client goes on giving it back.
                self.say(&FromProgram::Unknown { id, why: error.to_string() }).await;
                released.notified().await;
                FromProgram::AlreadyLost { id }
            }
        };
        self.say(&answer).await;
    }

    /// A guard, which has been told of; or the answer that there is none.
    async fn acquire(&self, asked: Asked) -> Result<Guard, FromProgram> {
        let Asked { id, keys, mode, level, within } = asked;
        let failed = |error: LockError| match error {
            LockError::TimedOut => FromProgram::TimedOut { id },
            LockError::Unknown(_) => FromProgram::Unknown { id, why: error.to_string() },
            error => FromProgram::Failed { id, why: error.to_string() },
        };
        let client = self.client().await.map_err(failed)?;
        let mut request = client.request("", within).at_level(level);
        request.keys = keys.into_iter().map(Into::into).collect();
        request.slot_seed = id;
        request.mode = match mode {
            HowHeld::Exclusive => Mode::Exclusive,
            HowHeld::Shared => Mode::Shared,
        };
        let granted = match within.is_zero() {
            true => client.try_acquire_request(request).await,
            false => client.acquire_request(request).await.map(Some),
        };
        let guard = granted.map_err(failed)?.ok_or(FromProgram::TimedOut { id })?;
        let token = guard.token().map(|token| token.sequence);
        self.last_token.fetch_max(token.unwrap_or(0), Ordering::Relaxed);
        let slot = (level > 1).then_some(guard.slot());
        let granted = FromProgram::Granted { id, token, valid_ms: None, slot };
        self.say(&granted).await;
        if self.flaw == Some(Flaw::AnswersTwice) {
            self.say(&granted).await;
        }
        Ok(guard)
    }

    /// The client; another one where its session is lost.
    async fn client(&self) -> Result<LockClient, LockError> {
        let mut client = self.client.lock().await;
        if client.lost().is_cancelled() {
            let number = self.sessions.fetch_add(1, Ordering::Relaxed);
            let node = format!("{}-{number}", self.node);
            let next = connect(self.variant, &self.endpoint, &node, self.ttl).await?;
            let former = std::mem::replace(&mut *client, next);
            self.before.fetch_add(former.counts().operations, Ordering::Relaxed);
        }
        Ok(client.clone())
    }

    async fn say(&self, message: &FromProgram) {
        say(&self.out, message).await;
    }

    fn releases(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Notify>>> {
        self.releases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connect(
    variant: &'static Variant,
    endpoint: &Endpoint,
    node: &str,
    ttl: Duration,
) -> Result<LockClient, LockError> {
    LockClient::connect(variant, endpoint, SessionOptions::new(node, ttl), ClientOptions::default()).await
}
