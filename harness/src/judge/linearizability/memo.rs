//! The places that a search has been at.

use std::hash::{BuildHasher as _, Hash, Hasher as _};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

/// A place is (front, operations linearized ahead of the front, state, optional operations used). One from which no
/// way leads on need not be visited again, nor one that differs from it only in having used up more.
#[derive(Debug)]
pub(super) struct Memo<S> {
    table: HashTable<Slot>,
    /// The same each time, so that a search takes the same steps, and ends for its budget at the same place or nowhere.
    hasher: FixedState,
    fronts: Vec<u32>,
    states: Vec<S>,
    /// Bit sets of all places, one after the other: first the words ahead, then the words used.
    words: Vec<u64>,
    ahead_words: usize,
    used_words: usize,
    /// Comparisons so far.
    pub(super) compared: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u64,
    place: u32,
}

impl<S: Clone + Eq + Hash> Memo<S> {
    pub(super) fn new(ahead_words: usize, used_words: usize) -> Self {
        Self {
            table: HashTable::new(),
            hasher: FixedState::default(),
            fronts: Vec::new(),
            states: Vec::new(),
            words: Vec::new(),
            ahead_words,
            used_words,
            compared: 0,
        }
    }

    /// Remembers a place; `None` when it is no better than one seen before.
    pub(super) fn visit(&mut self, front: u32, ahead: &[u64], state: &S, used: &[u64]) -> Option<u32> {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(front);
        ahead.iter().for_each(|word| hasher.write_u64(*word));
        state.hash(&mut hasher);
        let hash = hasher.finish();
        let mut compared = 0;
        let seen = self.table.find(hash, |slot| {
            compared += 1;
            let place = slot.place;
            slot.hash == hash
                && self.fronts[place as usize] == front
                && self.ahead(place) == ahead
                && self.states[place as usize] == *state
                && self.used(place).iter().zip(used).all(|(fewer, more)| fewer & !more == 0)
        });
        self.compared += compared;
        if seen.is_some() {
            return None;
        }
        let place = u32::try_from(self.fronts.len()).ok()?;
        self.fronts.push(front);
        self.states.push(state.clone());
        self.words.extend_from_slice(ahead);
        self.words.extend_from_slice(used);
        self.table.insert_unique(hash, Slot { hash, place }, |slot| slot.hash);
        Some(place)
    }

    pub(super) fn front(&self, place: u32) -> u32 {
        self.fronts[place as usize]
    }

    pub(super) fn state(&self, place: u32) -> &S {
        &self.states[place as usize]
    }

    pub(super) fn ahead(&self, place: u32) -> &[u64] {
        let start = place as usize * (self.ahead_words + self.used_words);
        &self.words[start..start + self.ahead_words]
    }

    pub(super) fn used(&self, place: u32) -> &[u64] {
        let start = place as usize * (self.ahead_words + self.used_words) + self.ahead_words;
        &self.words[start..start + self.used_words]
    }

    /// Bytes taken, what a state may own elsewhere aside.
    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * 8
            + self.states.capacity() * size_of::<S>()
            + self.fronts.capacity() * 4
            + self.table.capacity() * size_of::<Slot>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_were_seen_are_compared_and_counted() {
        let mut memo = Memo::<u64>::new(1, 1);
        assert!(memo.visit(3, &[0b1], &7, &[0b01]).is_some());
        assert_eq!(memo.compared, 0);
        assert!(memo.visit(3, &[0b1], &7, &[0b11]).is_none(), "no better, since it used more");
        assert!(memo.visit(3, &[0b1], &7, &[0b10]).is_some(), "used another");
        assert_eq!(memo.compared, 2);
    }

    #[test]
    fn what_is_held_is_counted_by_the_byte() {
        let mut memo = Memo::<u64>::new(1, 1);
        for place in 0..1_000 {
            assert!(memo.visit(place, &[0], &0, &[0]).is_some());
        }
        // Two words, a state and a front each; vectors hold up to twice of what is in them.
        let each = 2 * 8 + 8 + 4;
        let table = memo.table.capacity() * size_of::<Slot>();
        let held = memo.bytes() - table;
        assert!((1_000 * each..=2_100 * each).contains(&held), "{held} bytes");
        assert!(table >= 16_000, "{table} bytes");
    }
}
