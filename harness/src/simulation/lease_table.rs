//! The decisions of a lease server: who holds which key until when. No time but what it is told, no messages.

use std::collections::BTreeMap;

use crate::model::ReleaseRet;

/// What a lease server checks; flawed ones check less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether a release must come from the owner.
    pub release_by_owner: bool,
    /// Whether a renewal must find the key held by its owner.
    pub renew_held: bool,
}

/// Leases by key. Stamps are of the server's clock.
///
/// Invariant: a key has at most one owner; tokens rise with every grant.
#[derive(Debug)]
pub struct LeaseTable {
    rules: Rules,
    held: BTreeMap<Key, Held>,
    granted: u64,
}

/// A resource's slot.
pub(super) type Key = (u32, u32);

#[derive(Debug, Clone, Copy)]
struct Held {
    owner: u64,
    /// `None`: until released.
    until_ns: Option<u64>,
}

/// Answer to a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extended {
    /// The lease counts from now.
    Extended,
    /// The key is not held by this owner.
    Gone,
}

impl LeaseTable {
    /// An empty one.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, held: BTreeMap::new(), granted: 0 }
    }

    /// Grants a free key, with a token; `None` while somebody holds it. Without a ttl it is held until released.
    pub fn acquire(&mut self, key: (u32, u32), owner: u64, now_ns: u64, ttl_ns: Option<u64>) -> Option<u64> {
        self.expire(key, now_ns);
        if self.held.contains_key(&key) {
            return None;
        }
        self.granted += 1;
        self.held.insert(key, Held { owner, until_ns: ttl_ns.map(|ttl_ns| now_ns + ttl_ns) });
        Some(self.granted)
    }

    /// Lets a lease count from now.
    pub fn renew(&mut self, key: (u32, u32), owner: u64, now_ns: u64, ttl_ns: u64) -> Extended {
        self.expire(key, now_ns);
        let held = self.held.get(&key).is_some_and(|held| held.owner == owner);
        if !held && self.rules.renew_held {
            return Extended::Gone;
        }
        self.held.insert(key, Held { owner, until_ns: Some(now_ns + ttl_ns) });
        Extended::Extended
    }

    /// Frees a key.
    pub fn release(&mut self, key: (u32, u32), owner: u64, now_ns: u64) -> ReleaseRet {
        self.expire(key, now_ns);
        match self.held.get(&key) {
            Some(held) if held.owner == owner || !self.rules.release_by_owner => {
                self.held.remove(&key);
                ReleaseRet::Released
            }
            _ => ReleaseRet::AlreadyLost,
        }
    }

    /// Frees every key, as a server does that keeps nothing and is killed; tokens go on rising.
    pub fn forget(&mut self) {
        self.held.clear();
    }

    fn expire(&mut self, key: Key, now_ns: u64) {
        if self.held.get(&key).and_then(|held| held.until_ns).is_some_and(|until_ns| until_ns <= now_ns) {
            self.held.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (3, 0);
    const STRICT: Rules = Rules { release_by_owner: true, renew_held: true };

    #[test]
    fn a_key_has_one_owner_until_it_is_released_or_its_lease_is_over() {
        let mut table = LeaseTable::new(STRICT);
        assert_eq!(table.acquire(KEY, 1, 0, Some(10)), Some(1));
        assert_eq!(table.acquire(KEY, 2, 9, Some(10)), None);
        assert_eq!(table.renew(KEY, 1, 9, 10), Extended::Extended);
        assert_eq!(table.acquire(KEY, 2, 18, Some(10)), None);
        assert_eq!(table.acquire(KEY, 2, 19, Some(10)), Some(2));
        assert_eq!(table.release(KEY, 1, 20), ReleaseRet::AlreadyLost);
        assert_eq!(table.renew(KEY, 1, 20, 10), Extended::Gone);
        assert_eq!(table.release(KEY, 2, 20), ReleaseRet::Released);
        assert_eq!(table.acquire(KEY, 1, 20, None), Some(3));
        assert_eq!(table.acquire(KEY, 2, u64::MAX, None), None, "held until released");
    }

    #[test]
    fn a_table_without_checks_lets_anybody_free_and_take_a_key() {
        let mut table = LeaseTable::new(Rules { release_by_owner: false, renew_held: false });
        assert_eq!(table.acquire(KEY, 1, 0, Some(10)), Some(1));
        assert_eq!(table.renew(KEY, 2, 1, 10), Extended::Extended);
        assert_eq!(table.release(KEY, 1, 2), ReleaseRet::Released);
        assert_eq!(table.acquire(KEY, 3, 2, Some(10)), Some(2));
    }
}
