//! State of many of which few are under way at a time.

use hashbrown::HashMap;

/// What is known of a step or a task, which comes down to a few bytes when nothing is under way.
pub(super) trait Settles: Copy + Default {
    /// Those few bytes. Their default is that of the state.
    type Brief: Copy + Default;

    /// The state in brief; `None` while there is more to it.
    fn brief(&self) -> Option<Self::Brief>;

    /// The state that this is the brief of. It must answer all that can still be asked as the one from which it was made would.
    fn from_brief(brief: Self::Brief) -> Self;
}

/// Fewer under way than this are not worth a look; without optimisation even few are, so that all tests of figures and
/// checks show that a state is as good in brief.
const FEW: usize = if cfg!(debug_assertions) { 2 } else { 4_096 };

/// A state each, whole of those that are under way, in brief of all others.
pub(super) struct Settled<T: Settles> {
    live: HashMap<usize, T>,
    briefs: Vec<T::Brief>,
    /// How many of the whole ones there may be before they are looked through.
    enough: usize,
}

impl<T: Settles> Settled<T> {
    pub(super) fn new(count: usize) -> Self {
        Self { live: HashMap::new(), briefs: vec![T::Brief::default(); count], enough: FEW }
    }

    /// The state at a place that there is.
    pub(super) fn get(&self, place: usize) -> T {
        self.live.get(&place).copied().unwrap_or_else(|| T::from_brief(self.briefs[place]))
    }

    /// The places of those that are whole, in their order: all that are under way, and some that are not.
    pub(super) fn whole(&self) -> Vec<usize> {
        let mut places: Vec<usize> = self.live.keys().copied().collect();
        places.sort_unstable();
        places
    }

    /// The state at a place that there is, to be changed.
    pub(super) fn at(&mut self, place: usize) -> &mut T {
        if self.live.len() >= self.enough {
            self.settle();
        }
        self.live.entry(place).or_insert_with(|| T::from_brief(self.briefs[place]))
    }

    /// Keeps in brief what can be. As many as are left must come before it is worth another look.
    fn settle(&mut self) {
        let briefs = &mut self.briefs;
        self.live.retain(|place, state| {
            let brief = state.brief();
            if let Some(brief) = brief {
                briefs[*place] = brief;
            }
            brief.is_none()
        });
        self.enough = FEW.max(2 * self.live.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Counts, and is brief when it is even and small.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
    struct Count(u64);

    impl Settles for Count {
        type Brief = u8;

        fn brief(&self) -> Option<u8> {
            u8::try_from(self.0).ok().filter(|count| count % 2 == 0)
        }

        fn from_brief(brief: u8) -> Self {
            Self(brief.into())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_state_is_the_same_whole_or_in_brief(steps in prop::collection::vec((0_usize..20_000, 0_u64..300), 0..12_000)) {
            let (mut settled, mut whole) = (Settled::<Count>::new(20_000), vec![Count(0); 20_000]);
            for (place, more) in steps {
                settled.at(place).0 += more;
                whole[place].0 += more;
            }
            prop_assert_eq!((0..20_000).map(|place| settled.get(place)).collect::<Vec<_>>(), whole);
        }
    }

    #[test]
    fn those_that_are_over_are_not_held_whole() {
        let mut settled = Settled::<Count>::new(1_000_000);
        for place in 0..1_000_000 {
            settled.at(place).0 = 1;
            settled.at(place).0 = 2;
        }
        assert!(settled.live.len() <= FEW, "{}", settled.live.len());
    }

    #[test]
    fn those_that_are_over_are_not_held_whole_beside_some_that_are_under_way() {
        const UNDER_WAY: usize = 10;
        let mut settled = Settled::<Count>::new(100_000);
        (0..UNDER_WAY).for_each(|place| settled.at(place).0 = 1);
        for place in UNDER_WAY..100_000 {
            settled.at(place).0 = 1;
            settled.at(place).0 = 2;
        }
        assert!(settled.live.len() <= FEW.max(3 * UNDER_WAY), "{}", settled.live.len());
    }
}
