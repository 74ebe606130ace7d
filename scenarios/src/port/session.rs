//! A program as a lock backend: its conversation in the words of a session.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use harness::program::{Program, Start};
use lock_backends::{
    BoxFuture, Capabilities, Endpoint, Grant, LocalFifo, LockBackend, LockError, LockSession, Mode, Now,
    Operations, OwnerId, ReleaseRet, Renewal, Request, SessionOptions, Token, Validity, slot_key, split_slot,
};
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::client::Client;
use super::conversation::{Conversation, Listening};
use super::message::{HowHeld, Promises, ToProgram, VERSION};
use super::table::{AcquireRet, ReleaseRet as Returned};

/// Before one that does not wait by itself is asked again, at most.
const AGAIN: Duration = Duration::from_millis(50);

/// The program of one node. Every session is one of the same program, which is started once: whatever ends it, it stays out.
#[derive(Debug)]
pub struct Port {
    client: Client,
    endpoint: Endpoint,
    log: Option<PathBuf>,
    listening: Listening,
    started: tokio::sync::Mutex<Option<Arc<Conversation>>>,
}

impl Port {
    /// Of a node that reaches the server at this address. Its log is appended to the file.
    #[must_use]
    pub fn new(client: Client, endpoint: Endpoint, log: Option<PathBuf>) -> Self {
        Self { client, endpoint, log, listening: Listening::Off, started: tokio::sync::Mutex::default() }
    }

    /// The same, and what is said is kept to be shown.
    #[must_use]
    pub(super) fn listened_to(self) -> Self {
        Self { listening: Listening::Keeps, ..self }
    }

    /// The conversation with its program, once that has said hello.
    pub(super) async fn conversation(&self) -> Option<Arc<Conversation>> {
        self.started.lock().await.clone()
    }

    async fn start(&self, options: &SessionOptions) -> Result<Arc<Conversation>, String> {
        let file = &self.client.file;
        let [program, args @ ..] = &file.command[..] else { return Err("it names no program".to_owned()) };
        let env = [
            ("LOCKBENCH_PORT", VERSION.to_string()),
            ("LOCKBENCH_ENDPOINT", self.endpoint.0.clone()),
            ("LOCKBENCH_NODE", options.node.clone()),
            ("LOCKBENCH_TTL_MS", options.ttl.as_millis().to_string()),
        ];
        let start = Start {
            program: program.into(),
            args: args.iter().map(Into::into).collect(),
            folder: self.client.folder.clone(),
            env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            log: self.log.clone(),
            account: self.client.account(),
        };
        let (program, pipes) = Program::spawn(start).await.map_err(|error| error.to_string())?;
        Conversation::begin(program, pipes, file.promises, self.listening).await
    }
}

impl LockBackend for Port {
    fn connect(&self, options: SessionOptions) -> BoxFuture<'_, Result<Arc<dyn LockSession>, LockError>> {
        Box::pin(async move {
            let mut started = self.started.lock().await;
            if let Some(former) = &*started {
                let why = former.why().unwrap_or("it was closed");
                return Err(LockError::Protocol(format!("{} is out: {why}", self.client.file.name)));
            }
            let begun = self.start(&options).await;
            let conversation = begun.map_err(|why| {
                LockError::Protocol(format!("{} did not begin: {why}", self.client.file.name))
            })?;
            *started = Some(Arc::clone(&conversation));
            let promises = self.client.file.promises;
            let session = PortSession {
                lost: conversation.over.clone(),
                conversation,
                promises,
                ttl: promises.lease.then_some(options.ttl),
                now: options.now,
                numbers: Mutex::default(),
            };
            Ok(Arc::new(session) as Arc<dyn LockSession>)
        })
    }
}

impl From<Promises> for Capabilities {
    fn from(promises: Promises) -> Self {
        Self {
            local_fifo: LocalFifo::Optional,
            native_level: promises.levels,
            native_many: promises.many,
            token: promises.token,
            shared_mode: promises.shared,
            lease: promises.lease,
            fair: promises.fair,
        }
    }
}

/// The session of a program.
#[derive(Debug)]
struct PortSession {
    conversation: Arc<Conversation>,
    promises: Promises,
    ttl: Option<Duration>,
    now: Arc<dyn Now>,
    lost: CancellationToken,
    /// Those of the requests whose grants stand, or may stand, by who asked and for which key.
    numbers: Mutex<HashMap<(OwnerId, Arc<str>), u64>>,
}

impl PortSession {
    /// Asks once; `None`: it was not granted in time.
    async fn ask(&self, request: &Request, within: Duration) -> Result<Option<Grant>, LockError> {
        let sent_ns = self.now.now_ns();
        let (id, ret) = self.conversation.acquire(|id| acquire(id, request, within)).await;
        let Some(ret) = ret else { return Err(self.session_lost()) };
        let key = request.keys.first().cloned().unwrap_or_default();
        let number = |session: &Self| session.numbers().insert((request.owner.clone(), key.clone()), id);
        match ret {
            AcquireRet::TimedOut => Ok(None),
            AcquireRet::Failed(why) => Err(LockError::Unavailable(why)),
            AcquireRet::Unknown(why) => {
                number(self);
                Err(LockError::Unknown(why))
            }
            AcquireRet::Granted { token, valid_ms, slot } => {
                number(self);
                if self.promises.token && token.is_none() {
                    return Err(self.broke(format!("the grant {id} has no token, and tokens are promised")));
                }
                let keys = match (request.level, slot) {
                    (1, _) => request.keys.clone(),
                    (level, Some(slot)) if slot < level => vec![slot_key(&key, slot).into()],
                    (level, _) => {
                        let slot =
                            slot.map_or_else(|| "no slot".to_owned(), |slot| format!("the slot {slot}"));
                        return Err(self.broke(format!("the grant {id} of level {level} names {slot}")));
                    }
                };
                let validity = match valid_ms {
                    // From the line on, not from the request: it may have waited. Never from before either was there.
                    Some(ms) => {
                        Validity::Until(self.now.now_ns().max(sent_ns).saturating_add(ms * 1_000_000))
                    }
                    None => Validity::NoLease,
                };
                let token = token.map(|sequence| Token { generation: 0, sequence });
                Ok(Some(Grant { keys, owner: request.owner.clone(), token, validity }))
            }
        }
    }

    fn broke(&self, what: String) -> LockError {
        self.conversation.end(what);
        self.session_lost()
    }

    fn session_lost(&self) -> LockError {
        LockError::SessionLost(self.conversation.why().unwrap_or("it was closed").to_owned())
    }

    /// That of the request whose grant this is.
    fn number(&self, grant: &Grant) -> Option<((OwnerId, Arc<str>), u64)> {
        let key = grant.keys.first()?;
        let numbers = self.numbers();
        let as_asked = (grant.owner.clone(), Arc::clone(key));
        // At a level that the program serves, the grant names a slot of what was asked for.
        let of_level = || (grant.owner.clone(), Arc::from(split_slot(key).0));
        let of = |key: (OwnerId, Arc<str>)| numbers.get(&key).copied().map(|number| (key, number));
        of(as_asked).or_else(|| of(of_level()))
    }

    fn numbers(&self) -> MutexGuard<'_, HashMap<(OwnerId, Arc<str>), u64>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn acquire(id: u64, request: &Request, within: Duration) -> ToProgram {
    ToProgram::Acquire {
        id,
        keys: request.keys.iter().map(ToString::to_string).collect(),
        mode: match request.mode {
            Mode::Exclusive => HowHeld::Exclusive,
            Mode::Shared => HowHeld::Shared,
        },
        level: request.level,
        // Up, so that the last part of a millisecond is none in which it is not waited for.
        within_ms: u64::try_from(within.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX),
    }
}

impl LockSession for PortSession {
    fn try_acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Option<Grant>, LockError>> {
        Box::pin(self.ask(request, Duration::ZERO))
    }

    fn acquire<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Grant, LockError>> {
        Box::pin(async move {
            for again in 0.. {
                let within = if self.promises.waits { request.remaining(&*self.now) } else { Duration::ZERO };
                if let Some(grant) = self.ask(request, within).await? {
                    return Ok(grant);
                }
                let left = request.remaining(&*self.now);
                if self.promises.waits || left.is_zero() {
                    break;
                }
                let pause = AGAIN / 2 + request.owner.spread(again, AGAIN / 2);
                tokio::select! {
                    biased;
                    () = request.left.cancelled() => break,
                    () = sleep(pause.min(left)) => {}
                }
            }
            Err(LockError::TimedOut)
        })
    }

    fn renew<'a>(&'a self, grants: &'a [Arc<Grant>]) -> BoxFuture<'a, Result<Renewal, LockError>> {
        // The program keeps its leases itself; what is asked here is what it has said of them.
        let stands = |grant: &Arc<Grant>| match self.number(grant) {
            Some((_, number)) if self.conversation.holds(number) => grant.validity,
            _ => Validity::Lost,
        };
        let grants = grants.iter().map(stands).collect();
        Box::pin(std::future::ready(Ok(Renewal { session: Validity::NoLease, grants })))
    }

    fn news(&self) -> Option<&Notify> {
        Some(&self.conversation.news)
    }

    fn release<'a>(&'a self, grant: &'a Grant) -> BoxFuture<'a, Result<ReleaseRet, LockError>> {
        Box::pin(async move {
            let Some((key, number)) = self.number(grant) else { return Ok(ReleaseRet::AlreadyLost) };
            let ret = match self.conversation.release(number).await {
                Some(Returned::Released) => ReleaseRet::Released,
                Some(Returned::AlreadyLost) => ReleaseRet::AlreadyLost,
                Some(Returned::Unknown(why)) => return Err(LockError::Unknown(why)),
                None => return Err(self.session_lost()),
            };
            self.numbers().remove(&key);
            Ok(ret)
        })
    }

    fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }

    fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    fn operations(&self) -> &Operations {
        &self.conversation.operations
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.conversation.close())
    }
}
