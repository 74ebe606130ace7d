//! Where chance comes from in a simulated run.

use std::ops::Range;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::model::splitmix;

/// What is drawn while a run goes on.
#[derive(Debug)]
pub(super) enum Chance {
    /// One stream, in the order of use.
    Stream(Box<ChaCha8Rng>),
    /// By the moment: what happened before changes nothing, so that a plan from which something is left out goes on as the whole one did.
    Moment {
        /// Of the run.
        seed: u64,
        /// The last moment at which something was drawn, and how often.
        last: (u64, u64),
    },
}

impl Chance {
    /// Whether something happens now that happens with this probability.
    pub(super) fn happens(&mut self, now_ns: u64, probability: f64) -> bool {
        match self {
            Self::Stream(rng) => rng.random_bool(probability),
            Self::Moment { seed, last } => {
                // 53 bits are what a float tells apart.
                let share = (draw(*seed, last, now_ns) >> 11) as f64 / (1_u64 << 53) as f64;
                share < probability
            }
        }
    }

    /// One of these, now.
    pub(super) fn of(&mut self, now_ns: u64, range: Range<u64>) -> u64 {
        match self {
            Self::Stream(rng) => rng.random_range(range),
            Self::Moment { seed, last } => {
                let length = (range.end - range.start).max(1);
                range.start + draw(*seed, last, now_ns) % length
            }
        }
    }
}

fn draw(seed: u64, last: &mut (u64, u64), now_ns: u64) -> u64 {
    *last = if last.0 == now_ns { (now_ns, last.1 + 1) } else { (now_ns, 0) };
    splitmix(splitmix(seed ^ splitmix(now_ns)) ^ last.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_at_a_moment_hangs_on_no_other() {
        let at = |moments: &[u64]| {
            let mut chance = Chance::Moment { seed: 7, last: (0, 0) };
            moments.iter().map(|now_ns| chance.of(*now_ns, 10..1_000_000)).collect::<Vec<_>>()
        };
        let all = at(&[5, 5, 8, 9]);
        assert_eq!(at(&[8, 9]), all[2..]);
        assert!(all[0] != all[1] && all.iter().all(|drawn| (10..1_000_000).contains(drawn)));
        let mut chance = Chance::Moment { seed: 7, last: (0, 0) };
        let share = (0..10_000).filter(|now_ns| chance.happens(*now_ns, 0.2)).count();
        assert!((1_900..2_100).contains(&share), "{share}");
    }
}
