//! The slots of one key: which are taken, since when, and which is the lowest free one.

/// Slots numbered from 0 without an upper bound; the level is the caller's business.
///
/// Slot 0 lies inline, so that a key of level 1 allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Since when slot 0 is taken, in ns.
    first: Option<u64>,
    /// The same for slots 1 and up.
    rest: Vec<Option<u64>>,
    taken: u32,
    /// Every slot of `rest` before this index is taken.
    rest_taken_before: usize,
}

impl Slots {
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// Takes the lowest free slot.
    pub(super) fn take(&mut self, since_ns: u64) -> u32 {
        self.taken += 1;
        if self.first.is_none() {
            self.first = Some(since_ns);
            return 0;
        }
        let free = self.rest[self.rest_taken_before..].iter().position(Option::is_none);
        let index = match free {
            Some(offset) => self.rest_taken_before + offset,
            None => {
                self.rest.push(None);
                self.rest.len() - 1
            }
        };
        self.rest[index] = Some(since_ns);
        self.rest_taken_before = index + 1;
        u32::try_from(index + 1).expect("slots are fewer than the level, a u32")
    }

    /// Frees a taken slot.
    pub(super) fn free(&mut self, slot: u32) {
        let since = match slot.checked_sub(1) {
            None => self.first.take(),
            Some(index) => {
                let index = index as usize;
                self.rest_taken_before = self.rest_taken_before.min(index);
                self.rest[index].take()
            }
        };
        assert!(since.is_some(), "a free slot was freed. slot={slot}");
        self.taken -= 1;
    }

    /// The taken slots, lowest first, each with the time since when.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        (0..)
            .zip([&self.first].into_iter().chain(&self.rest))
            .filter_map(|(slot, since)| Some((slot, (*since)?)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_lowest_free_slot_is_taken(steps in proptest::collection::vec(proptest::option::of(0_usize..8), 0..80)) {
            let mut slots = Slots::default();
            let mut taken = BTreeSet::new();
            for step in steps {
                let freed = step.and_then(|index| taken.iter().nth(index).copied());
                if let Some(slot) = freed {
                    slots.free(slot);
                    taken.remove(&slot);
                } else {
                    let lowest = (0..).find(|slot| !taken.contains(slot)).unwrap();
                    prop_assert_eq!(slots.take(0), lowest);
                    taken.insert(lowest);
                }
                prop_assert_eq!(slots.taken() as usize, taken.len());
                prop_assert!(slots.iter().map(|(slot, _)| slot).eq(taken.iter().copied()));
            }
        }
    }
}
