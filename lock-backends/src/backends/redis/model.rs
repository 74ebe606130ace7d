//! A Redis server in memory and in virtual time, behind [`Requests`]: keys with leases, tokens, lines, channels, a
//! latency, and answers that get lost. The variants run over it as they are.

mod doubt;
mod sessions;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::requests::{
    Announce, AskRet, Channel, HandedOver, Heard, Hears, IfHeld, Redis, RenewRet, Requests, Tokens, Wanted,
};
use crate::session::{
    BoxFuture, Grant, LockBackend, LockError, LockSession, Now, OwnerId, Request, SessionOptions, SinceStart,
    Token, slot_key, split_slot,
};

/// One way; a request takes two.
const LATENCY: Duration = Duration::from_millis(1);
const TTL: Duration = Duration::from_secs(2);
/// How long a late request is on its way.
const LATE: Duration = Duration::from_secs(1);

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is executed, and the connection breaks before its answer.
    AnswerLost,
    /// It is executed, and nobody hears the answer; the connection goes on.
    Unheard,
    /// The connection breaks while it is on its way, and it is executed in the end.
    Late,
    /// It is not sent, since there is no connection.
    Unsent,
    /// The server answers what the protocol does not allow.
    Nonsense,
}

#[derive(Clone)]
struct Model(Arc<Mutex<State>>);

struct State {
    started: Instant,
    locks: HashMap<String, Lock>,
    lines: HashMap<String, VecDeque<Waiter>>,
    last_token: u64,
    ears: Vec<(String, Arc<dyn Hears>)>,
    fates: VecDeque<Option<Fate>>,
    /// Requests that are on their way for long.
    late: JoinSet<()>,
}

struct Lock {
    owner: OwnerId,
    description: String,
    token: u64,
    until: Instant,
}

struct Waiter {
    owner: OwnerId,
    description: String,
    node: String,
}

/// A node's connection.
struct Wire {
    model: Model,
    hears: Arc<dyn Hears>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

impl Model {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            started: Instant::now(),
            locks: HashMap::new(),
            lines: HashMap::new(),
            last_token: 0,
            ears: Vec::new(),
            fates: VecDeque::new(),
            late: JoinSet::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What becomes of the next requests, in order; after them, all are answered.
    fn foretell(&self, fates: &[Option<Fate>]) {
        self.state().fates.extend(fates);
    }
}

impl State {
    fn held(&self, key: &str) -> Option<&Lock> {
        self.locks.get(key).filter(|lock| lock.until > Instant::now())
    }

    fn is_held_by(&self, key: &str, owner: &OwnerId) -> bool {
        self.held(key).is_some_and(|lock| lock.owner == *owner)
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap()
    }

    fn tell(&self, channel: &str, heard: Heard<'_>) -> usize {
        let ears = self.ears.iter().filter(|(name, _)| name == channel);
        ears.map(|(_, hears)| hears.hear(heard)).count()
    }

    /// The owner's own slot, its lease anew, or the first free one where there is no line.
    fn take(&mut self, slots: &[String], wanted: &Owned, through: bool) -> Option<AskRet> {
        let until = Instant::now() + wanted.ttl;
        let own = slots.iter().position(|slot| self.is_held_by(slot, &wanted.owner));
        let slot =
            own.or_else(|| slots.iter().position(|slot| self.held(slot).is_none()).filter(|_| through))?;
        if own.is_some() {
            self.locks.get_mut(&slots[slot]).unwrap().until = until;
        } else {
            self.last_token += 1;
            let (owner, description) = (wanted.owner.clone(), wanted.description.clone());
            let lock = Lock { owner, description, token: self.last_token, until };
            self.locks.insert(slots[slot].clone(), lock);
        }
        let token = Token { generation: 0, sequence: self.locks[&slots[slot]].token };
        Some(AskRet::Granted(u32::try_from(slot).unwrap(), Some(token)))
    }

    fn left(&self, slots: &[String]) -> Duration {
        let left = slots
            .iter()
            .map(|slot| self.held(slot).map_or(Duration::ZERO, |lock| lock.until - Instant::now()));
        left.min().unwrap()
    }

    /// Gives the lock to the first in line whose node listens, or frees it.
    fn pass(&mut self, key: &str, claim: Duration) {
        self.locks.remove(key);
        let base = split_slot(key).0.to_owned();
        while let Some(first) = self.lines.get_mut(&base).and_then(VecDeque::pop_front) {
            self.last_token += 1;
            let token = Token { generation: 0, sequence: self.last_token };
            let Waiter { owner, description, node } = first;
            let until = Instant::now() + claim;
            let lock = Lock { owner: owner.clone(), description, token: self.last_token, until };
            self.locks.insert(key.to_owned(), lock);
            let server_us = self.now_us();
            let heard = HandedOver { owner: &owner.0, key, token, server_us };
            if self.tell(&node, Heard::HandedOver(heard)) > 0 {
                return;
            }
            self.locks.remove(key);
        }
    }
}

/// [`Wanted`], to be kept until it arrives.
#[derive(Clone)]
struct Owned {
    owner: OwnerId,
    description: String,
    ttl: Duration,
}

impl Owned {
    fn new(wanted: Wanted<'_>) -> (Vec<String>, Self) {
        let slots = match wanted.level {
            1 => vec![wanted.key.to_owned()],
            level => (0..level).map(|slot| slot_key(wanted.key, slot)).collect(),
        };
        let (owner, description) = (wanted.owner.clone(), wanted.description.to_owned());
        (slots, Self { owner, description, ttl: wanted.ttl })
    }
}

impl Redis for Model {
    fn connect<'a>(
        &'a self,
        _ttl: Duration,
        hears: Arc<dyn Hears>,
    ) -> BoxFuture<'a, Result<Box<dyn Requests>, LockError>> {
        let wire = Wire { model: self.clone(), hears };
        Box::pin(std::future::ready(Ok(Box::new(wire) as Box<dyn Requests>)))
    }
}

impl Wire {
    /// The way there, the server's step, the way back.
    fn round_trip<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> BoxFuture<'_, Result<T, LockError>> {
        Box::pin(async move {
            sleep(LATENCY).await;
            let fate = self.model.state().fates.pop_front().flatten();
            let unknown = || Err(LockError::Unknown("no answer".into()));
            let answer = match fate {
                None => Ok(step(&mut self.model.state())),
                Some(Fate::AnswerLost | Fate::Unheard) => {
                    step(&mut self.model.state());
                    unknown()
                }
                Some(Fate::Late) => {
                    let model = self.model.clone();
                    self.model.state().late.spawn(async move {
                        sleep(LATE).await;
                        step(&mut model.state());
                    });
                    unknown()
                }
                Some(Fate::Unsent) => Err(LockError::Unavailable("no connection".into())),
                Some(Fate::Nonsense) => Err(LockError::Protocol("nonsense".into())),
            };
            if matches!(fate, Some(Fate::AnswerLost | Fate::Late)) {
                self.hears.hear(Heard::Disconnected);
            }
            sleep(LATENCY).await;
            answer
        })
    }
}

impl Requests for Wire {
    fn acquire<'a>(&'a self, wanted: Wanted<'a>, tokens: Tokens) -> BoxFuture<'a, Result<AskRet, LockError>> {
        let (slots, wanted) = Owned::new(wanted);
        self.round_trip(move |state| {
            let held = |state: &State| AskRet::Held { left: state.left(&slots), server_us: None };
            match state.take(&slots, &wanted, true) {
                Some(AskRet::Granted(slot, token)) => {
                    AskRet::Granted(slot, token.filter(|_| tokens == Tokens::Drawn))
                }
                _ => held(state),
            }
        })
    }

    fn ask<'a>(
        &'a self,
        wanted: Wanted<'a>,
        claim: Duration,
        if_held: IfHeld<'a>,
    ) -> BoxFuture<'a, Result<AskRet, LockError>> {
        let key = wanted.key.to_owned();
        let (slots, wanted) = Owned::new(wanted);
        let node = match if_held {
            IfHeld::GoAway => None,
            IfHeld::Wait(node) => Some(node.to_owned()),
        };
        self.round_trip(move |state| {
            let through = state.lines.get(&key).is_none_or(VecDeque::is_empty);
            if let Some(granted) = state.take(&slots, &wanted, through) {
                return granted;
            }
            let line = state.lines.entry(key).or_default();
            if let Some(node) = node
                && !line.iter().any(|waiter| waiter.owner == wanted.owner)
            {
                line.push_back(Waiter { owner: wanted.owner, description: wanted.description, node });
            }
            for slot in &slots {
                if state.held(slot).is_none() {
                    state.pass(slot, claim);
                }
            }
            AskRet::Held { left: state.left(&slots), server_us: Some(state.now_us()) }
        })
    }

    fn release<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        announce: Announce,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        let (keys, owner) = (keys.to_vec(), owner.clone());
        self.round_trip(move |state| {
            let held: Vec<_> = keys.iter().filter(|key| state.is_held_by(key, &owner)).collect();
            for key in &held {
                state.locks.remove(&***key);
                let key = split_slot(key).0;
                if announce == Announce::Yes {
                    state.tell(key, Heard::Released { key });
                }
            }
            !held.is_empty()
        })
    }

    fn pass_on<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        node: &'a str,
        claim: Duration,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        let (keys, owner, node) = (keys.to_vec(), owner.clone(), node.to_owned());
        self.round_trip(move |state| {
            let held: Vec<_> = keys.iter().filter(|key| state.is_held_by(key, &owner)).collect();
            for key in &held {
                state.pass(key, claim);
            }
            if held.is_empty()
                && let Some(line) = state.lines.get_mut(split_slot(&keys[0]).0)
            {
                line.retain(|waiter| (&waiter.owner, &waiter.node) != (&owner, &node));
            }
            !held.is_empty()
        })
    }

    fn renew<'a>(
        &'a self,
        grants: &'a [Arc<Grant>],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<RenewRet, LockError>> {
        let grants = grants.to_vec();
        self.round_trip(move |state| {
            let until = Instant::now() + ttl;
            let held = grants.iter().map(|grant| {
                let held = state.is_held_by(&grant.keys[0], &grant.owner);
                if held {
                    state.locks.get_mut(&*grant.keys[0]).unwrap().until = until;
                }
                held
            });
            let held = held.collect();
            RenewRet { held, server_us: state.now_us() }
        })
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        let key = key.to_owned();
        self.round_trip(move |state| state.held(&key).map(|lock| lock.description.clone()))
    }

    fn subscribe<'a>(&'a self, channel: Channel<'a>) -> BoxFuture<'a, Result<(), LockError>> {
        let (Channel::Releases(name) | Channel::Node(name)) = channel;
        let ear = (name.to_owned(), Arc::clone(&self.hears));
        self.round_trip(move |state| state.ears.push(ear))
    }

    fn unsubscribe<'a>(&'a self, keys: &'a [Arc<str>]) -> BoxFuture<'a, Result<(), LockError>> {
        let (keys, hears) = (keys.to_vec(), Arc::clone(&self.hears));
        self.round_trip(move |state| {
            state
                .ears
                .retain(|(name, ear)| !(Arc::ptr_eq(ear, &hears) && keys.iter().any(|key| **key == **name)));
        })
    }
}

/// A server, and the clock of all nodes.
struct Bench {
    model: Model,
    now: Arc<dyn Now>,
}

const KEY: &str = "vm-1";

impl Bench {
    fn new() -> Self {
        Self { model: Model::new(), now: Arc::new(SinceStart::default()) }
    }

    fn backends(&self) -> [(&'static str, Box<dyn LockBackend>); 4] {
        let server = || Box::new(self.model.clone()) as Box<dyn Redis>;
        [
            ("redis-poll", Box::new(super::redis_poll::over(server()))),
            ("redis-pubsub", Box::new(super::redis_pubsub::over(server()))),
            ("redis-fenced", Box::new(super::redis_fenced::over(server()))),
            ("redis-queue", Box::new(super::redis_queue::over(server()))),
        ]
    }

    async fn node(&self, backend: &dyn LockBackend) -> Arc<dyn LockSession> {
        let options = SessionOptions { node: "n".into(), ttl: TTL, now: Arc::clone(&self.now) };
        backend.connect(options).await.unwrap()
    }

    fn ask(&self, owner: &str, wait: Duration) -> Request {
        let deadline_ns = self.now.now_ns() + u64::try_from(wait.as_nanos()).unwrap();
        Request::exclusive(KEY, OwnerId(owner.into()), deadline_ns)
    }
}

const LONG: Duration = Duration::from_secs(60);
