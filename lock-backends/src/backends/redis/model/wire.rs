//! The requests of a node, carried to the model of the server and back.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::state::{Owned, State, in_line};
use crate::backends::redis::requests::{
    Announce, AskRet, Channel, HandedOver, Heard, Hears, IfHeld, Redis, RenewRet, Requests, Tokens, Wanted,
};
use crate::backends::redis::scripts::Care;
use crate::backends::redis::{redis_fenced, redis_naive, redis_poll, redis_pubsub, redis_queue};
use crate::session::{
    AtKill, BoxFuture, Carried, Grant, LockBackend, LockError, Modelled, OwnerId, Passage, Token, Variant,
};

/// A server in memory.
pub(in crate::backends::redis) fn server(at_kill: AtKill) -> Arc<dyn Modelled> {
    Arc::new(Model(Arc::new(Mutex::new(State::new(at_kill)))))
}

/// Makes a backend of a variant over whatever answers its requests.
type Over = fn(Box<dyn Redis>) -> Box<dyn LockBackend>;

/// Those that run over the model: all of one server.
const VARIANTS: &[(&Variant, Care, Over)] = &[
    (&redis_poll::VARIANT, Care::OfOwners, |server| Box::new(redis_poll::over(server))),
    (&redis_pubsub::VARIANT, Care::OfOwners, |server| Box::new(redis_pubsub::over(server))),
    (&redis_fenced::VARIANT, Care::OfOwners, |server| Box::new(redis_fenced::over(server))),
    (&redis_queue::VARIANT, Care::OfOwners, |server| Box::new(redis_queue::over(server))),
    (&redis_naive::VARIANT, Care::None, |server| Box::new(redis_naive::over(server))),
];

#[derive(Clone)]
struct Model(Arc<Mutex<State>>);

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Model")
    }
}

impl Modelled for Model {
    fn variants(&self) -> Vec<&'static str> {
        VARIANTS.iter().map(|(variant, ..)| variant.name).collect()
    }

    fn open(&self, variant: &str, passage: Arc<dyn Passage>) -> Option<Box<dyn LockBackend>> {
        let (_, care, over) = VARIANTS.iter().find(|(known, ..)| known.name == variant)?;
        Some(over(Box::new(Way { model: self.clone(), care: *care, passage })))
    }
}

/// A node's way to the server.
#[derive(Debug)]
struct Way {
    model: Model,
    care: Care,
    passage: Arc<dyn Passage>,
}

impl Redis for Way {
    fn connect<'a>(
        &'a self,
        ttl: Duration,
        hears: Arc<dyn Hears>,
    ) -> BoxFuture<'a, Result<Box<dyn Requests>, LockError>> {
        let far: Arc<dyn Hears> =
            Arc::new(Far { hears: Arc::clone(&hears), passage: Arc::clone(&self.passage) });
        let wire = Wire {
            model: self.model.clone(),
            care: self.care,
            passage: Arc::clone(&self.passage),
            // As the client of a real server.
            patience: (ttl / 4).clamp(Duration::from_millis(100), Duration::from_secs(2)),
            hears,
            far,
        };
        Box::pin(std::future::ready(Ok(Box::new(wire) as Box<dyn Requests>)))
    }
}

/// A node's connection.
struct Wire {
    model: Model,
    care: Care,
    passage: Arc<dyn Passage>,
    patience: Duration,
    /// At the node.
    hears: Arc<dyn Hears>,
    /// As the server reaches it.
    far: Arc<dyn Hears>,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

/// What a node hears over its connection.
struct Far {
    hears: Arc<dyn Hears>,
    passage: Arc<dyn Passage>,
}

impl Hears for Far {
    fn hear(&self, heard: Heard<'_>) {
        let hears = Arc::clone(&self.hears);
        self.passage.push(match heard {
            Heard::Released { key } => {
                let key = key.to_owned();
                Box::new(move || hears.hear(Heard::Released { key: &key }))
            }
            Heard::HandedOver(HandedOver { owner, key, token, server_us }) => {
                let (owner, key): (String, String) = (owner.to_owned(), key.to_owned());
                Box::new(move || {
                    hears.hear(Heard::HandedOver(HandedOver { owner: &owner, key: &key, token, server_us }));
                })
            }
            Heard::Disconnected => Box::new(move || hears.hear(Heard::Disconnected)),
        });
    }
}

impl Wire {
    /// The way there, the server's step, the way back.
    fn round_trip<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> BoxFuture<'_, Result<T, LockError>> {
        Box::pin(async move {
            let answer = Arc::new(Mutex::new(None));
            let (model, passage) = (self.model.clone(), Arc::clone(&self.passage));
            let answered = Arc::clone(&answer);
            let carried = self.passage.carry(Box::new(move || {
                let mut state = model.0.lock().unwrap_or_else(PoisonError::into_inner);
                let ret = step(state.at(passage.server_ns(), passage.server_starts()));
                drop(state);
                *answered.lock().unwrap_or_else(PoisonError::into_inner) = Some(ret);
            }));
            let unknown = || Err(LockError::Unknown("no answer".into()));
            let Ok(carried) = timeout(self.patience, carried).await else { return unknown() };
            match carried {
                Carried::Answered => {
                    let answer = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
                    answer.map_or_else(unknown, Ok)
                }
                Carried::Unheard => unknown(),
                Carried::Broken => {
                    self.hears.hear(Heard::Disconnected);
                    unknown()
                }
                Carried::Unsent => Err(LockError::Unavailable("no connection".into())),
                Carried::Nonsense => Err(LockError::Protocol("nonsense".into())),
            }
        })
    }
}

impl Requests for Wire {
    fn acquire<'a>(&'a self, wanted: Wanted<'a>, tokens: Tokens) -> BoxFuture<'a, Result<AskRet, LockError>> {
        let (wanted, care) = (Owned::from(wanted), self.care);
        let drawn = move |_: &Token| tokens == Tokens::Drawn;
        self.round_trip(move |state| match state.acquire(&wanted, care) {
            AskRet::Granted(slot, token) => AskRet::Granted(slot, token.filter(drawn)),
            held @ AskRet::Held { .. } => held,
        })
    }

    fn ask<'a>(
        &'a self,
        wanted: Wanted<'a>,
        claim: Duration,
        if_held: IfHeld<'a>,
    ) -> BoxFuture<'a, Result<AskRet, LockError>> {
        let (wanted, node) = (Owned::from(wanted), in_line(if_held));
        self.round_trip(move |state| state.ask(wanted, claim, node))
    }

    fn release<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        announce: Announce,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        let (keys, owner, care) = (keys.to_vec(), owner.clone(), self.care);
        self.round_trip(move |state| state.release(&keys, &owner, announce == Announce::Yes, care))
    }

    fn pass_on<'a>(
        &'a self,
        keys: &'a [Arc<str>],
        owner: &'a OwnerId,
        node: &'a str,
        claim: Duration,
    ) -> BoxFuture<'a, Result<bool, LockError>> {
        let (keys, owner, node) = (keys.to_vec(), owner.clone(), node.to_owned());
        self.round_trip(move |state| state.pass_on(&keys, &owner, &node, claim))
    }

    fn renew<'a>(
        &'a self,
        grants: &'a [Arc<Grant>],
        ttl: Duration,
    ) -> BoxFuture<'a, Result<RenewRet, LockError>> {
        let (grants, care) = (grants.to_vec(), self.care);
        self.round_trip(move |state| state.renew(&grants, ttl, care))
    }

    fn holder<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>, LockError>> {
        let key = key.to_owned();
        self.round_trip(move |state| state.holder(&key))
    }

    fn subscribe<'a>(&'a self, channel: Channel<'a>) -> BoxFuture<'a, Result<(), LockError>> {
        let (Channel::Releases(name) | Channel::Node(name)) = channel;
        let (name, far) = (name.to_owned(), Arc::clone(&self.far));
        self.round_trip(move |state| state.subscribe(name, far))
    }

    fn unsubscribe<'a>(&'a self, keys: &'a [Arc<str>]) -> BoxFuture<'a, Result<(), LockError>> {
        let (keys, far) = (keys.to_vec(), Arc::clone(&self.far));
        self.round_trip(move |state| state.unsubscribe(&keys, &far))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::SERVER;
    use super::*;

    #[test]
    fn every_variant_of_one_server_runs_over_the_model() {
        let known: Vec<_> = VARIANTS.iter().map(|(variant, ..)| variant.name).collect();
        let of_one = SERVER.variants.iter().map(|variant| variant.name);
        let mut of_one: Vec<_> = of_one.filter(|name| !SERVER.of_a_quorum.contains(name)).collect();
        of_one.sort_by_key(|name| known.iter().position(|other| other == name));
        assert_eq!(known, of_one);
    }
}
