//! What the server decides: keys with leases, tokens, lines, and who listens to which channel. It knows no time but what it is told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::backends::redis::requests::{AskRet, HandedOver, Heard, Hears, IfHeld, RenewRet, Wanted};
use crate::backends::redis::scripts::Care;
use crate::session::{AtKill, Grant, OwnerId, Token, slot_key, split_slot};

/// A server.
pub(super) struct State {
    /// What its clock shows.
    now_ns: u64,
    at_kill: AtKill,
    /// How often it had been killed when it was asked last.
    starts: usize,
    locks: HashMap<String, Lock>,
    lines: HashMap<String, VecDeque<Waiter>>,
    last_token: u64,
    ears: Vec<(String, Arc<dyn Hears>)>,
}

struct Lock {
    owner: OwnerId,
    description: String,
    token: u64,
    until_ns: u64,
}

struct Waiter {
    owner: OwnerId,
    description: String,
    node: String,
}

/// [`Wanted`], to be kept until it arrives.
pub(super) struct Owned {
    pub(super) key: String,
    pub(super) slots: Vec<String>,
    pub(super) owner: OwnerId,
    pub(super) description: String,
    pub(super) ttl: Duration,
}

impl From<Wanted<'_>> for Owned {
    fn from(wanted: Wanted<'_>) -> Self {
        let slots = match wanted.level {
            1 => vec![wanted.key.to_owned()],
            level => (0..level).map(|slot| slot_key(wanted.key, slot)).collect(),
        };
        Self {
            key: wanted.key.to_owned(),
            slots,
            owner: wanted.owner.clone(),
            description: wanted.description.to_owned(),
            ttl: wanted.ttl,
        }
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl State {
    pub(super) fn new(at_kill: AtKill) -> Self {
        Self {
            now_ns: 0,
            at_kill,
            starts: 0,
            locks: HashMap::new(),
            lines: HashMap::new(),
            last_token: 0,
            ears: Vec::new(),
        }
    }

    /// What is decided now, at a server that has been killed so often.
    pub(super) fn at(&mut self, now_ns: u64, starts: usize) -> &mut Self {
        self.now_ns = now_ns;
        if starts != self.starts {
            self.starts = starts;
            if self.at_kill == AtKill::Forgets {
                self.locks.clear();
                self.lines.clear();
                // The counter is a key like any other.
                self.last_token = 0;
            }
        }
        self
    }

    fn held(&self, key: &str) -> Option<&Lock> {
        self.locks.get(key).filter(|lock| lock.until_ns > self.now_ns)
    }

    fn is_held_by(&self, key: &str, owner: &OwnerId) -> bool {
        self.held(key).is_some_and(|lock| lock.owner == *owner)
    }

    fn now_us(&self) -> u64 {
        self.now_ns / 1_000
    }

    /// The greater of the last one + 1 and the time: it rises also where everything was forgotten.
    fn draw(&mut self) -> u64 {
        self.last_token = (self.last_token + 1).max(self.now_us());
        self.last_token
    }

    fn tell(&self, channel: &str, heard: Heard<'_>) -> usize {
        let ears = self.ears.iter().filter(|(name, _)| name == channel);
        ears.map(|(_, hears)| hears.hear(heard)).count()
    }

    /// The owner's own slot, its lease anew, where it is known again, or the first free one where there is no line.
    fn take(&mut self, wanted: &Owned, care: Care, through: bool) -> Option<AskRet> {
        let until_ns = self.now_ns.saturating_add(ns(wanted.ttl));
        let own = |slot: &String| care == Care::OfOwners && self.is_held_by(slot, &wanted.owner);
        let own = wanted.slots.iter().position(own);
        let free = || wanted.slots.iter().position(|slot| self.held(slot).is_none());
        let place = own.or_else(|| free().filter(|_| through))?;
        let slot = &wanted.slots[place];
        let token = match own.and_then(|_| self.locks.get(slot)) {
            Some(lock) => lock.token,
            None => self.draw(),
        };
        let (owner, description) = (wanted.owner.clone(), wanted.description.clone());
        self.locks.insert(slot.clone(), Lock { owner, description, token, until_ns });
        let place = u32::try_from(place).unwrap_or(u32::MAX);
        Some(AskRet::Granted(place, Some(Token { generation: 0, sequence: token })))
    }

    fn left(&self, slots: &[String]) -> Duration {
        let left_ns = slots.iter().map(|slot| self.held(slot).map_or(0, |lock| lock.until_ns - self.now_ns));
        Duration::from_nanos(left_ns.min().unwrap_or(0))
    }

    /// Gives the lock to the first in line whose node listens, or frees it.
    fn pass(&mut self, key: &str, claim: Duration) {
        self.locks.remove(key);
        let base = split_slot(key).0.to_owned();
        while let Some(first) = self.lines.get_mut(&base).and_then(VecDeque::pop_front) {
            let sequence = self.draw();
            let Waiter { owner, description, node } = first;
            let until_ns = self.now_ns.saturating_add(ns(claim));
            let lock = Lock { owner: owner.clone(), description, token: sequence, until_ns };
            self.locks.insert(key.to_owned(), lock);
            let token = Token { generation: 0, sequence };
            let heard = HandedOver { owner: &owner.0, key, token, server_us: self.now_us() };
            if self.tell(&node, Heard::HandedOver(heard)) > 0 {
                return;
            }
            self.locks.remove(key);
        }
    }

    pub(super) fn acquire(&mut self, wanted: &Owned, care: Care) -> AskRet {
        let held = AskRet::Held { left: self.left(&wanted.slots), server_us: None };
        self.take(wanted, care, true).unwrap_or(held)
    }

    pub(super) fn ask(&mut self, wanted: Owned, claim: Duration, node: Option<String>) -> AskRet {
        let through = self.lines.get(&wanted.key).is_none_or(VecDeque::is_empty);
        if let Some(granted) = self.take(&wanted, Care::OfOwners, through) {
            return granted;
        }
        let Owned { key, slots, owner, description, .. } = wanted;
        let line = self.lines.entry(key).or_default();
        if let Some(node) = node
            && !line.iter().any(|waiter| waiter.owner == owner)
        {
            line.push_back(Waiter { owner, description, node });
        }
        for slot in &slots {
            if self.held(slot).is_none() {
                self.pass(slot, claim);
            }
        }
        AskRet::Held { left: self.left(&slots), server_us: Some(self.now_us()) }
    }

    /// Those of the keys that this owner holds; without care, that anybody does.
    fn of<'a>(&self, keys: &'a [Arc<str>], owner: &OwnerId, care: Care) -> Vec<&'a Arc<str>> {
        let theirs = |key: &&Arc<str>| match care {
            Care::OfOwners => self.is_held_by(key, owner),
            Care::None => self.held(key).is_some(),
        };
        keys.iter().filter(theirs).collect()
    }

    pub(super) fn release(&mut self, keys: &[Arc<str>], owner: &OwnerId, announce: bool, care: Care) -> bool {
        let held = self.of(keys, owner, care);
        for key in &held {
            self.locks.remove(&***key);
            let key = split_slot(key).0;
            if announce {
                self.tell(key, Heard::Released { key });
            }
        }
        !held.is_empty()
    }

    pub(super) fn pass_on(
        &mut self,
        keys: &[Arc<str>],
        owner: &OwnerId,
        node: &str,
        claim: Duration,
    ) -> bool {
        let held = self.of(keys, owner, Care::OfOwners);
        for key in &held {
            self.pass(key, claim);
        }
        if held.is_empty()
            && let Some(line) = keys.first().and_then(|key| self.lines.get_mut(split_slot(key).0))
        {
            line.retain(|waiter| waiter.owner != *owner || waiter.node != node);
        }
        !held.is_empty()
    }

    pub(super) fn renew(&mut self, grants: &[Arc<Grant>], ttl: Duration, care: Care) -> RenewRet {
        let until_ns = self.now_ns.saturating_add(ns(ttl));
        let mut renewed = |grant: &Arc<Grant>| {
            let Some(key) = self.of(&grant.keys[..1], &grant.owner, care).first().copied() else {
                return false;
            };
            self.locks.entry(key.to_string()).and_modify(|lock| lock.until_ns = until_ns);
            true
        };
        let held = grants.iter().map(&mut renewed).collect();
        RenewRet { held, server_us: self.now_us() }
    }

    pub(super) fn holder(&self, key: &str) -> Option<String> {
        self.held(key).map(|lock| lock.description.clone())
    }

    pub(super) fn subscribe(&mut self, channel: String, hears: Arc<dyn Hears>) {
        self.ears.push((channel, hears));
    }

    pub(super) fn unsubscribe(&mut self, keys: &[Arc<str>], hears: &Arc<dyn Hears>) {
        let meant = |name: &str, ear: &Arc<dyn Hears>| {
            Arc::ptr_eq(ear, hears) && keys.iter().any(|key| **key == *name)
        };
        self.ears.retain(|(name, ear)| !meant(name, ear));
    }
}

/// What a refused owner will do, as the server remembers it.
pub(super) fn in_line(if_held: IfHeld<'_>) -> Option<String> {
    match if_held {
        IfHeld::GoAway => None,
        IfHeld::Wait(node) => Some(node.to_owned()),
    }
}
