//! How far one machine's clock is ahead of another's.

/// A question and its answer: when each was sent, and when it came, by the clock of whoever stamped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) sent_ns: u64,
    /// By the other clock.
    pub(super) came_ns: u64,
    /// By the other clock.
    pub(super) answered_ns: u64,
    pub(super) back_ns: u64,
}

/// How far our clock is ahead of the other, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Offset {
    pub(super) ahead_ns: i64,
    /// It is not further off than this: the other's stamps lie between ours, however the way there and the way back
    /// differ.
    pub(super) bound_ns: u64,
}

impl Offset {
    /// By the exchange that took least, since it leaves least room (Cristian, *Probabilistic clock synchronization*, 1989). `None`
    /// of none that is possible.
    pub(super) fn of(exchanges: impl IntoIterator<Item = Exchange>) -> Option<Self> {
        exchanges.into_iter().filter_map(Self::of_one).min_by_key(|offset| offset.bound_ns)
    }

    fn of_one(exchange: Exchange) -> Option<Self> {
        let Exchange { sent_ns, came_ns, answered_ns, back_ns } = exchange;
        let on_the_way_ns = back_ns.checked_sub(sent_ns)?.checked_sub(answered_ns.checked_sub(came_ns)?)?;
        let middle = |from: u64, to: u64| i128::from(from) + i128::from(to);
        let ahead_ns = (middle(sent_ns, back_ns) - middle(came_ns, answered_ns)) / 2;
        // The halves were cut off.
        Some(Self { ahead_ns: i64::try_from(ahead_ns).ok()?, bound_ns: on_the_way_ns / 2 + 1 })
    }

    /// How far the truth may be from this offset, by what was found of it later.
    pub(super) fn may_differ_by(self, later: Self) -> u64 {
        self.ahead_ns.abs_diff(later.ahead_ns) + later.bound_ns
    }

    /// How far the truth has certainly moved from this offset, by what was found of it later.
    pub(super) fn differs_by(self, later: Self) -> u64 {
        self.ahead_ns.abs_diff(later.ahead_ns).saturating_sub(later.bound_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The other clock counts from another start.
    fn exchange(ahead_ns: i64, sent_ns: u64, there_ns: u64, thought_ns: u64, back_ns: u64) -> Exchange {
        let came_ns = (sent_ns + there_ns).checked_add_signed(-ahead_ns).unwrap();
        Exchange {
            sent_ns,
            came_ns,
            answered_ns: came_ns + thought_ns,
            back_ns: sent_ns + there_ns + thought_ns + back_ns,
        }
    }

    proptest! {
        #[test]
        fn the_truth_is_within_the_bound_however_ways_differ(
            ahead_ns in -1_000_000_000_000_i64..1_000_000_000_000,
            ways in prop::collection::vec((0..20_000_000_u64, 0..1_000_000_u64, 0..20_000_000_u64), 1..20),
        ) {
            let mut sent_ns = 2_000_000_000_000;
            let exchanges: Vec<_> = ways
                .iter()
                .map(|(there_ns, thought_ns, back_ns)| {
                    sent_ns += 100_000_000;
                    exchange(ahead_ns, sent_ns, *there_ns, *thought_ns, *back_ns)
                })
                .collect();
            let offset = Offset::of(exchanges).unwrap();
            prop_assert!(offset.ahead_ns.abs_diff(ahead_ns) <= offset.bound_ns, "{offset:?}");
            let least = ways.iter().map(|(there_ns, _, back_ns)| there_ns + back_ns).min().unwrap();
            prop_assert!(offset.bound_ns <= least / 2 + 1);
        }
    }

    #[test]
    fn a_step_of_the_other_clock_shows_as_far_as_the_later_offset_is_certain() {
        let (before, after) =
            (Offset { ahead_ns: 1_000, bound_ns: 50 }, Offset { ahead_ns: 500_900, bound_ns: 60 });
        assert_eq!(before.differs_by(after), 499_840);
        assert_eq!(after.differs_by(after), 0);
        assert_eq!(before.may_differ_by(after), 499_960);
    }

    #[test]
    fn what_cannot_have_been_is_no_exchange() {
        assert_eq!(Offset::of([Exchange { sent_ns: 5, came_ns: 9, answered_ns: 8, back_ns: 6 }]), None);
        assert_eq!(Offset::of([Exchange { sent_ns: 5, came_ns: 1, answered_ns: 9, back_ns: 6 }]), None);
        assert_eq!(Offset::of([]), None);
    }
}
