//! The slots of one key: which are taken, by what, and which is the lowest free one.

use tokio_util::sync::CancellationToken;

/// What is known of a taken slot.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) since_ns: u64,
    /// When the task counts as done with an error, in ns; `u64::MAX` = never.
    pub(super) until_ns: u64,
    /// Sequence of the task's token: tells it from an earlier task in this slot.
    pub(super) sequence: u64,
    pub(super) lost: Loss,
}

/// Whether a started task's node still owns the key.
#[derive(Debug, Default)]
pub(super) enum Loss {
    /// It does, and nobody has asked to be told.
    #[default]
    Held,
    /// It does; to be cancelled when it does not.
    Watched(CancellationToken),
    Lost,
}

/// Slots numbered from 0 without an upper bound; the level is the caller's business.
///
/// Slot 0 lies inline, so that a key of level 1 allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Slots {
    first: Option<Taken>,
    /// Slots 1 and up.
    rest: Vec<Option<Taken>>,
    taken: u32,
    /// Every slot of `rest` before this index is taken.
    rest_taken_before: usize,
}

impl Slots {
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// Takes the lowest free slot.
    pub(super) fn take(&mut self, taken: Taken) -> u32 {
        self.taken += 1;
        if self.first.is_none() {
            self.first = Some(taken);
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
        self.rest[index] = Some(taken);
        self.rest_taken_before = index + 1;
        u32::try_from(index + 1).expect("slots are fewer than the level, a u32")
    }

    /// Frees a slot if the task of this sequence has it.
    pub(super) fn free(&mut self, slot: u32, sequence: u64) -> Option<Taken> {
        let place = self.place(slot)?;
        let taken = place.take_if(|taken| taken.sequence == sequence)?;
        if let Some(index) = slot.checked_sub(1) {
            self.rest_taken_before = self.rest_taken_before.min(index as usize);
        }
        self.taken -= 1;
        Some(taken)
    }

    /// Whether the task of this sequence has the slot.
    pub(super) fn holds(&self, slot: u32, sequence: u64) -> bool {
        let place = match slot.checked_sub(1) {
            None => self.first.as_ref(),
            Some(index) => self.rest.get(index as usize).and_then(Option::as_ref),
        };
        place.is_some_and(|taken| taken.sequence == sequence)
    }

    /// What is known of a slot, if the task of this sequence has it.
    pub(super) fn get_mut(&mut self, slot: u32, sequence: u64) -> Option<&mut Taken> {
        self.place(slot)?.as_mut().filter(|taken| taken.sequence == sequence)
    }

    fn place(&mut self, slot: u32) -> Option<&mut Option<Taken>> {
        match slot.checked_sub(1) {
            None => Some(&mut self.first),
            Some(index) => self.rest.get_mut(index as usize),
        }
    }

    /// The taken slots, lowest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Taken)> {
        (0..)
            .zip([&self.first].into_iter().chain(&self.rest))
            .filter_map(|(slot, taken)| Some((slot, taken.as_ref()?)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Taken> {
        self.first.iter_mut().chain(self.rest.iter_mut().flatten())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn taken(sequence: u64) -> Taken {
        Taken { since_ns: 0, until_ns: u64::MAX, sequence, lost: Loss::Held }
    }

    #[test]
    fn only_the_task_that_has_a_slot_frees_it() {
        let mut slots = Slots::default();
        for (slot, sequence) in [(0, 7), (1, 8)] {
            assert_eq!(slots.take(taken(sequence)), slot);
            assert!(slots.free(slot, sequence - 1).is_none(), "that was an earlier task");
            assert!(slots.free(slot + 1, sequence).is_none(), "nobody has that slot");
        }
        assert!(slots.free(0, 7).is_some() && slots.free(0, 7).is_none());
        assert_eq!(slots.taken(), 1);
    }

    proptest! {
        #[test]
        fn the_lowest_free_slot_is_taken(steps in proptest::collection::vec(proptest::option::of(0_usize..8), 0..80)) {
            let mut slots = Slots::default();
            let mut inside = BTreeSet::new();
            for step in steps {
                let freed = step.and_then(|index| inside.iter().nth(index).copied());
                if let Some(slot) = freed {
                    prop_assert!(slots.free(slot, 1).is_some());
                    inside.remove(&slot);
                } else {
                    let lowest = (0..).find(|slot| !inside.contains(slot)).unwrap();
                    prop_assert_eq!(slots.take(taken(1)), lowest);
                    inside.insert(lowest);
                }
                prop_assert_eq!(slots.taken() as usize, inside.len());
                prop_assert!(slots.iter().map(|(slot, _)| slot).eq(inside.iter().copied()));
            }
        }
    }
}
